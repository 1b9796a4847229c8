//! The figures of the look-ups.

use super::{Measured, heading};
use crate::lookup::{Figure, Question};

/// Above the lines of a terminal.
pub const HEAD: &str = "\
question                 keys  threads  file_key_management ns  plugin ns   ratio";

/// A figure on a terminal.
pub fn line(figure: &Figure) -> String {
    let Figure { question, keys, threads, file_key_management_ns, plugin_ns, ratio, .. } = figure;
    format!("{question:23} {keys:5}  {threads:7}  {file_key_management_ns:22.1}  {plugin_ns:9.1}  {ratio:6.2}")
}

/// Which targets are met.
pub fn verdict(figures: &[Figure]) -> String {
    let mut lines = vec!["Targets:".to_owned()];
    lines.extend(targets(figures).into_iter().map(|(met, text)| {
        let verdict = if met { "met   " } else { "MISSED" };
        format!("  {verdict}  {text}")
    }));
    lines.push(MEANING.to_owned());
    lines.join("\n")
}

/// docs/lookup-benchmark.md
pub fn document(measured: &Measured, figures: &[Figure]) -> String {
    let mut text = heading("Look-up benchmark", measured);
    text += HOW;
    text += "\n| question | keys | threads | file_key_management, ns | aws_key_management, ns | ratio |\n";
    text += "|---|---:|---:|---:|---:|---:|\n";
    for Figure { question, keys, threads, file_key_management_ns, plugin_ns, ratio, .. } in figures {
        text += &format!(
            "| `{question}` | {keys} | {threads} | {file_key_management_ns:.1} | {plugin_ns:.1} | {ratio:.2} |\n"
        );
    }
    text += "\n## Targets\n\n";
    for (met, target) in targets(figures) {
        text += &format!("* {}: {target}\n", if met { "met" } else { "missed" });
    }
    text += &format!("\n{MEANING}\n");
    text
}

fn targets(figures: &[Figure]) -> Vec<(bool, String)> {
    let latest = figures.iter().filter(|figure| figure.question == Question::LatestVersion);
    let slowest = latest.map(|figure| figure.plugin_ns).fold(0.0, f64::max);
    let single = |figure: &Figure| {
        let same =
            |other: &&Figure| other.question == figure.question && other.keys == figure.keys && other.threads == 1;
        figures.iter().find(same).map_or(f64::NAN, |single| single.plugin_ns)
    };
    let growth = figures.iter().map(|figure| figure.plugin_ns / single(figure)).fold(0.0, f64::max);
    let (waits, calls) =
        figures.iter().fold((0, 0), |(waits, calls), figure| (waits + figure.waits, calls + figure.calls));
    vec![
        (
            slowest <= MOST_NS,
            format!("the latest version in at most {MOST_NS:.0} ns; the slowest case takes {slowest:.1} ns"),
        ),
        (
            growth <= MOST_GROWTH,
            format!(
                "no slower with more threads; at most {growth:.2} times the time of one thread, and up to {MOST_GROWTH} is noise"
            ),
        ),
        (
            !figures.iter().any(Figure::has_waited),
            format!("no waiting; threads gave up their CPU {waits} times in {calls} calls"),
        ),
    ]
}

const MOST_NS: f64 = 10.0;
const MOST_GROWTH: f64 = 1.15;

const MEANING: &str = "\
Times are CPU time of a thread for a call. Where there are more threads than CPUs, they take turns, and a call takes longer
by the clock on the wall, whatever it does. CPU time does not show a thread that sleeps, so sleeping is counted beside it.";

const HOW: &str = "
One process loads both plugins with the same keys, and lets them take turns of 2 ms with the same questions, after a look whether all answers are right. The ids come in an order that no branch predictor knows. The loop that asks is part of the times, about 1 ns. *Ratio* is the time of file_key_management divided by that of aws_key_management in the same round, the median over the rounds: above 1 aws_key_management is faster.
";
