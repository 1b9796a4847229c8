//! The key files of MariaDB's file_key_management, of all its versions: a line for each key, in the clear or encrypted with a
//! password. Facts from the server's documentation and source, MariaDB 10.5 to 12.0; Enterprise 11.8 for versions of a key.

mod encrypted;
mod lines;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use aws_key_management::keystore::offline::NewKey;
use zeroize::Zeroizing;

pub use encrypted::{Digest, Password};
pub use lines::keys;

/// Reads a key file. With a password, it must be encrypted, and without one it must not be: the server wants it so, too.
pub fn read(path: &Path, password: Option<&Password>) -> Result<Vec<NewKey>> {
    let shown = path.display();
    let bytes = read_at_most(path, LONGEST_KEY_FILE)?;
    let text = match (encrypted::is_encrypted(&bytes), password) {
        (true, None) => bail!("{shown} is encrypted: name the file of its password with --password-file"),
        (false, Some(_)) => bail!("{shown} is not encrypted: leave out --password-file"),
        (false, None) => bytes,
        (true, Some(password)) => password.decrypt(&bytes).with_context(|| format!("{shown} cannot be decrypted"))?,
    };
    let keys = keys(&text).with_context(|| match password {
        Some(_) => format!("in {shown}, decrypted (if this makes no sense, {WRONG_PASSWORD})"),
        None => format!("in {shown}"),
    })?;
    ensure!(!keys.is_empty(), "there is no key in {shown}");
    Ok(keys)
}

/// A file's contents, wiped when they are dropped. Fails if there are more.
pub fn read_at_most(path: &Path, at_most: u64) -> Result<Zeroizing<Vec<u8>>> {
    let shown = path.display();
    // With room at once: into an empty one, the first bytes come by a buffer that is not wiped.
    let mut bytes = Zeroizing::new(Vec::with_capacity(ROOM));
    let file = File::open(path).with_context(|| format!("{shown} cannot be opened"))?;
    file.take(at_most + 1).read_to_end(&mut bytes).with_context(|| format!("{shown} cannot be read"))?;
    ensure!(bytes.len() as u64 <= at_most, "{shown} is longer than {at_most} bytes");
    Ok(bytes)
}

/// In bytes.
pub const ROOM: usize = 4096;
const LONGEST_KEY_FILE: u64 = 1024 * 1024;
const WRONG_PASSWORD: &str = "the password, --digest or --use-pbkdf2 is not the one that it was encrypted with";
