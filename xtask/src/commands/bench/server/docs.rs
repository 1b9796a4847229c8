//! docs/server-benchmark.md and its chart.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};

use super::figures::{Figure, Row};
use super::kinds::Variant;

/// Writes both into `folder`.
pub fn write(folder: &Path, rows: &[Row], rounds: usize, server: &str) -> Result<()> {
    for (name, text) in
        [("server-benchmark.md", document(rows, rounds, &machine(server)?)), ("server-benchmark.svg", chart(rows))]
    {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// What it was measured on, and when.
fn machine(server: &str) -> Result<String> {
    let info = <procfs::CpuInfo as procfs::Current>::current()?;
    let cpu = info.get_field(0, "model name").unwrap_or("unknown").to_owned();
    let family = info.get_field(0, "cpu family").unwrap_or("?").to_owned();
    let model = info.get_field(0, "model").unwrap_or("?").to_owned();
    let has = |flag: &str| info.flags(0).is_some_and(|flags| flags.contains(&flag));
    let aes = if has("vaes") && has("avx512f") { "with VAES and AVX-512" } else { "without VAES of 512 bits" };
    let cpus = info.num_cores();
    let today = crate::run::output("date", &duct::cmd!("date", "--utc", "+%Y-%m-%d"))?;
    Ok(format!("{cpu}, family {family}, model {model} ({aes}), {cpus} CPUs; {server}; {}", today.trim()))
}

fn document(rows: &[Row], rounds: usize, machine: &str) -> String {
    let mut text = format!(
        "# What encryption costs a server\n\nMade by `cargo xtask bench server --write-docs`; do not edit. Measured on: \
         {machine}; {rounds} rounds.\n{HOW}"
    );
    for Row { pool, workload, figures, plain } in rows {
        let _ = write!(
            text,
            "\n## {}, {}\n\nWithout encryption, {plain}.\n\n| | CPU time, µs | over no encryption | quarters |\n|---|---:|---:|---|\n",
            workload.name(),
            pool.name()
        );
        for (variant, Figure { micros, ratio }) in Variant::ALL.iter().zip(figures) {
            let [below, above] = ratio.quarters().map(percent);
            let _ = writeln!(
                text,
                "| {} | {micros:.0} | {} | {below} to {above} |",
                variant.name(),
                percent(ratio.median())
            );
        }
    }
    text
}

/// `+1.8 %`
fn percent(ratio: f64) -> String {
    format!("{:+.1} %", (ratio - 1.0) * 100.0)
}

/// A group of bars for each workload, a bar for each variant that encrypts: the median, and a line from quarter to quarter.
fn chart(rows: &[Row]) -> String {
    let most =
        rows.iter().flat_map(|row| &row.figures).map(|figure| figure.ratio.quarters()[1] - 1.0).fold(0.02, f64::max);
    let x = |ratio: f64| LEFT + ((ratio - 1.0).max(-0.02) + 0.02) / (most + 0.02) * (WIDTH - LEFT - RIGHT);
    let height = TOP + rows.len() as f64 * GROUP + 20.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         role=\"img\" font-family=\"sans-serif\" font-size=\"13\" fill=\"#24292f\">\n<title>{TITLE}</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"12\" y=\"26\" font-size=\"17\" font-weight=\"bold\">{TITLE}</text>\n"
    );
    let _ = writeln!(
        svg,
        "<line x1=\"{0:.1}\" y1=\"{TOP}\" x2=\"{0:.1}\" y2=\"{1:.1}\" stroke=\"#24292f\"/>",
        x(1.0),
        height - 20.0
    );
    for (row, top) in rows.iter().zip((0..).map(|group| TOP + f64::from(group) * GROUP)) {
        let _ = writeln!(
            svg,
            "<text x=\"12\" y=\"{:.1}\" font-weight=\"bold\">{}, {}</text>",
            top + 16.0,
            row.workload.name(),
            row.pool.name()
        );
        let bars = Variant::ALL.iter().zip(&row.figures).skip(1);
        for ((variant, figure), place) in bars.zip((0..).map(|bar| top + 24.0 + f64::from(bar) * BAR)) {
            let color = match variant {
                Variant::Plugin(_) => "#0969da",
                Variant::None | Variant::FileKeyManagement(_) => "#8c959f",
            };
            let (zero, median) = (x(1.0), x(figure.ratio.median()));
            let [below, above] = figure.ratio.quarters().map(x);
            let middle = place + 8.0;
            let _ = write!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n\
                 <rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"14\" fill=\"{color}\"/>\n\
                 <line x1=\"{below:.1}\" y1=\"{middle:.1}\" x2=\"{above:.1}\" y2=\"{middle:.1}\" stroke=\"#24292f\"/>\n\
                 <text x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
                LEFT - 10.0,
                place + 13.0,
                variant.name(),
                zero.min(median),
                place + 1.0,
                (median - zero).abs().max(1.0),
                above.max(median).max(zero) + 8.0,
                place + 13.0,
                percent(figure.ratio.median())
            );
        }
    }
    svg + "</svg>\n"
}

const TITLE: &str = "CPU time of the server for a transaction, over no encryption";

const HOW: &str = "
Five servers are up together, each in a folder in memory, and take turns of 3 s; each round has servers of its own, since where a process's memory lies makes it some percent faster or slower: sysbench with one thread and evenly spread rows on a table of 64 MB that the buffer pool holds, or that is four times as large as the buffer pool, so that pages come in and go out all the time: the worst that can be. Tables and redo log are encrypted. *CPU time* is what the server's process took for a transaction, user and system together, with what it wrote while it was the turn of others; the median over the rounds. What counts is the ratio to the server without encryption in the same round: its median, and between which values half of the rounds lie. The keys have 128 bits. What a page costs to encrypt and to decrypt: [aes-benchmark.md](aes-benchmark.md).

![CPU time over no encryption](server-benchmark.svg)
";

// Pixels.
const WIDTH: f64 = 820.0;
const TOP: f64 = 48.0;
const LEFT: f64 = 250.0;
const RIGHT: f64 = 80.0;
const BAR: f64 = 20.0;
const GROUP: f64 = 24.0 + 4.0 * BAR + 12.0;
