//! Where there is unsafe code: in `src/abi/`, and at one place of the cipher. The compiler refuses it where it is not allowed;
//! here it is counted how often it is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::Path;

#[test]
fn outside_the_boundary_one_block_is_unsafe() {
    let mut found = Vec::new();
    look_through(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    let allowing = found.iter().filter(|line| line.text.contains("unsafe_code"));
    let allowing: Vec<_> = allowing.filter(|line| !is_refusal(&line.text)).map(|line| line.file.as_str()).collect();
    // `lib.rs` allows it to `abi`, whose files are not looked through.
    assert_eq!(allowing, ["cipher/kernels/keys.rs", "lib.rs"]);
    let unsafe_words = |text: &str| text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe");
    let blocks = found.iter().filter(|line| unsafe_words(&line.text) && !is_type_of_function(&line.text));
    let blocks: Vec<_> = blocks.map(|line| (line.file.as_str(), line.text.as_str())).collect();
    assert_eq!(blocks, [("cipher/kernels/keys.rs", "let () = unsafe { function($($argument),+) };")]);
}

struct Line {
    file: String,
    text: String,
}

/// The lines of the files under `folder`, but those of `abi` and comments, in the order of the files' names.
fn look_through(folder: &Path, found: &mut Vec<Line>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            if !path.ends_with("src/abi") {
                look_through(&path, found);
            }
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        let file = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap().display().to_string();
        let lines = source.lines().map(str::trim).filter(|line| !line.starts_with("//"));
        found.extend(lines.map(|text| Line { file: file.clone(), text: text.to_owned() }));
    }
}

fn is_refusal(text: &str) -> bool {
    ["#![deny(unsafe_code)]", "#![forbid(unsafe_code)]"].contains(&text)
}

/// A pointer to a function whose call is unsafe: to name the type is not.
fn is_type_of_function(text: &str) -> bool {
    text.ends_with(" as unsafe fn($($type),+)")
}
