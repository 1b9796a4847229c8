//! The figures of the rotations.

use super::{Measured, heading};
use crate::rotation::{Figure, MOST_BYTES_PER_KEY, MOST_GROWTH, growth, is_frugal};

/// Above the lines of a terminal.
pub const HEAD: &str = "\
keys  versions of each  seconds  ms per key  MB written  kB per key  MB to the disk";

/// A figure on a terminal.
pub fn line(figure: &Figure) -> String {
    let [seconds, ms, written, per_key, to_disk] = columns(figure);
    let Figure { keys, versions, .. } = figure;
    format!("{keys:4}  {versions:16}  {seconds:>7}  {ms:>10}  {written:>10}  {per_key:>10}  {to_disk:>14}")
}

/// Whether it is as it must be.
pub fn verdict(figures: &[Figure]) -> String {
    let verdict = if is_frugal(figures) { "met   " } else { "MISSED" };
    format!("  {verdict}  {}", target(figures))
}

/// docs/rotation-benchmark.md
pub fn document(measured: &Measured, figures: &[Figure]) -> String {
    let mut text = heading("Rotation benchmark", measured);
    text += HOW;
    text += "\n| keys | versions of each | s | ms per key | MB written | kB per key | MB to the disk |\n";
    text += "|---:|---:|---:|---:|---:|---:|---:|\n";
    for figure in figures {
        let Figure { keys, versions, .. } = figure;
        text += &format!("| {keys} | {versions} | {} |\n", columns(figure).join(" | "));
    }
    let verdict = if is_frugal(figures) { "Met" } else { "Missed" };
    text += &format!("\n{verdict}: {}.\n", target(figures));
    text
}

fn columns(figure: &Figure) -> [String; 5] {
    let megabytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
    [
        format!("{:.2}", figure.took.as_secs_f64()),
        format!("{:.2}", figure.ms_per_key()),
        megabytes(figure.written.by_calls),
        format!("{:.1}", figure.bytes_per_key() / 1e3),
        megabytes(figure.written.to_disk),
    ]
}

fn target(figures: &[Figure]) -> String {
    let most = figures.iter().map(Figure::bytes_per_key).fold(0.0, f64::max);
    format!(
        "at most {:.1} kB written for a key, and no more than {MOST_GROWTH} times as much for each of many keys as for each of \
         few; it is {:.1} kB and {:.2} times",
        MOST_BYTES_PER_KEY / 1e3,
        most / 1e3,
        growth(figures)
    )
}

const HOW: &str = "
The plugin is loaded with keys that have several versions, and all are rotated by one `SET GLOBAL aws_key_management_rotate_key = -1`. Its mock answers in place of KMS, so the figures are those of the files. *Written* is what the system calls were given (`wchar` in `/proc/self/io`) and is the same on every machine; *to the disk* is what the kernel counts in whole pages (`write_bytes`).
";
