//! Files of published results, as NIST writes them.

use std::collections::HashMap;

/// The cases of a response file: `name = hexadecimal digits` lines, an empty line after each case.
pub fn cases(text: &str) -> impl Iterator<Item = HashMap<&str, Vec<u8>>> {
    text.split("\n\n")
        .map(|block| block.lines().filter_map(|line| line.split_once(" =")).map(field).collect())
        .filter(|case: &HashMap<_, _>| !case.is_empty())
}

fn field<'a>((name, hex): (&'a str, &str)) -> (&'a str, Vec<u8>) {
    let digits = hex.trim().as_bytes().chunks(2);
    (name, digits.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect())
}
