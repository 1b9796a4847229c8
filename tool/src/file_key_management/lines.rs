//! The lines of a key file: `id;key` or, in Enterprise Server from 11.8 on, `id;version;key`, the key in hexadecimal digits.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use aws_key_management::keystore::offline::NewKey;
use aws_key_management::keystore::{KeyName, KeyVersion};
use zeroize::Zeroizing;

/// The keys, in order. No error tells more of a line than its number.
pub fn keys(text: &[u8]) -> Result<Vec<NewKey>> {
    let mut keys: BTreeMap<KeyName, Zeroizing<Vec<u8>>> = BTreeMap::new();
    // The server reads up to the first zero byte.
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        let line = line.trim_ascii_start();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let (name, key) = parse(line).with_context(|| format!("line {number}"))?;
        if let Some(other) = keys.get(&name) {
            // Which one a server has used depends on its version.
            ensure!(
                *other == key,
                "line {number}: {name} is there twice, with another key. Remove the one that is not in use"
            );
        }
        keys.insert(name, key);
    }
    Ok(keys.into_iter().map(|(name, key)| NewKey { name, key }).collect())
}

fn parse(line: &[u8]) -> Result<(KeyName, Zeroizing<Vec<u8>>)> {
    let (id, rest) = number(line).context("it begins with no key id")?;
    let (version, digits) = number(rest).unwrap_or((KeyVersion::FIRST.value(), rest));
    let name =
        KeyName::new(id, version).context("a key id is from 1 to 4294967295, and a version from 1 to 4294967294")?;
    // Whatever stands behind the key is a comment.
    let length = digits.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let digits = &digits[..length];
    if ![32, 48, 64].contains(&length) {
        bail!("{name}: its key has {length} hexadecimal digits; 32, 48 or 64 are needed");
    }
    let mut key = Zeroizing::new(Vec::with_capacity(length / 2));
    key.extend(digits.chunks_exact(2).map(|pair| (value(pair[0]) << 4) | value(pair[1])));
    Ok((name, key))
}

/// A number that ends with a semicolon, and what comes behind that.
fn number(text: &[u8]) -> Option<(u32, &[u8])> {
    let end = text.iter().position(|byte| *byte == b';')?;
    let digits = text.get(..end).filter(|digits| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit))?;
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((number, text.get(end + 1..)?))
}

fn value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit.to_ascii_lowercase() - b'a') + 10,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)] // clippy sees no tests in the helpers

    use super::*;

    const KEY: &str = "000102030405060708090a0b0c0d0e0f";

    fn read(text: &str) -> Vec<(u32, u32, Vec<u8>)> {
        let keys = keys(text.as_bytes()).expect("keys");
        keys.into_iter().map(|it| (it.name.id.value(), it.name.version.value(), it.key.to_vec())).collect()
    }

    fn error(text: &str) -> String {
        format!("{:#}", keys(text.as_bytes()).err().expect("refused"))
    }

    #[test]
    fn all_that_the_server_reads_is_read() {
        let key: Vec<u8> = (0..16).collect();
        let long: Vec<u8> = (0..16).chain(0..16).collect();
        let middle: Vec<u8> = (0..16).chain(0..8).collect();
        assert_eq!(read(&format!("1;{KEY}")), [(1, 1, key.clone())]);
        let upper = KEY.to_uppercase();
        let text = format!(
            "# comment\r\n\r\n  \n 4294967295;{upper}{KEY}\r\n2;{KEY}0001020304050607 a comment\n7;3;{KEY}\n\
             7;1;{KEY}{KEY};x\n1;{KEY}\n1;{KEY}\0;;"
        );
        assert_eq!(
            read(&text),
            [(1, 1, key.clone()), (2, 1, middle), (7, 1, long.clone()), (7, 3, key), (u32::MAX, 1, long),]
        );
        // Ten digits and a semicolon are a version; hexadecimal digits are not.
        assert_eq!(read(&format!("1;{}", "1".repeat(32))), [(1, 1, vec![0x11; 16])]);
    }

    #[test]
    fn what_is_wrong_is_told_by_the_number_of_its_line_and_without_its_text() {
        for (text, what) in [
            (format!("0;{KEY}"), "line 1: a key id is from 1"),
            (format!("1;0;{KEY}"), "line 1: a key id is from 1"),
            (format!("\n4294967296;{KEY}"), "line 2: it begins with no key id"),
            (format!("x{KEY}"), "line 1: it begins with no key id"),
            (KEY.to_owned(), "line 1: it begins with no key id"),
            (format!("1;{KEY}0"), "key 1 version 1: its key has 33 hexadecimal digits"),
            (format!("1;{KEY}{KEY}00"), "its key has 66 hexadecimal digits"),
            (format!("1; {KEY}"), "its key has 0 hexadecimal digits"),
            (format!("1;{KEY}\n1;1;{KEY}{KEY}"), "line 2: key 1 version 1 is there twice"),
        ] {
            let error = error(&text);
            assert!(error.contains(what), "{error}");
            assert!(!error.contains("0001"), "{error}");
        }
    }
}
