//! The figures of AES.

use super::{Measured, decimals, heading};
use crate::aes::Figure;
use crate::aes::case::{KEY_BITS, Mode, SHAPES, Shape, THREADS};
use crate::aes::targets::{is_basic, is_slower, outcomes, slower};
use crate::machine::Cpu;

/// Above the lines of a terminal.
pub const HEAD: &str = "\
mode         key      message             threads     server ns     plugin ns    GiB/s   ratio  of limit";

/// A figure on a terminal.
pub fn line(figure: &Figure) -> String {
    let Figure { case, server_ns, plugin_ns, ratio, .. } = figure;
    format!(
        "{:11}  AES-{}  {:18}  {:7}  {server_ns:12.1}  {plugin_ns:12.1}  {:7.2}  {:>6}  {:>8}{}",
        case.mode,
        case.key_bits,
        case.shape,
        case.threads,
        figure.gib_per_second(),
        decimals(*ratio),
        share(figure),
        if is_slower(figure) { "  slower than the server" } else { "" }
    )
}

/// Which targets are met.
pub fn verdict(cpu: &Cpu, figures: &[Figure]) -> String {
    let mut lines = vec![format!("Targets, for a CPU with VAES (this one is {}), AES-128, one thread:", cpu.aes())];
    lines.extend(outcomes(figures).iter().map(|outcome| format!("  {outcome}")));
    let slower: Vec<&Figure> = slower(figures).collect();
    lines.push(if slower.is_empty() {
        format!("  met     nowhere slower than the server, in {} cases", figures.len())
    } else {
        format!("  MISSED  nowhere slower than the server; it is in {} of {} cases:", slower.len(), figures.len())
    });
    lines.extend(slower.iter().map(|figure| format!("          {}: {:.3}", figure.case, figure.ratio)));
    lines.join("\n")
}

/// docs/aes-benchmark.md
pub fn document(measured: &Measured, figures: &[Figure]) -> String {
    let mut text = heading("AES benchmark", measured);
    text += HOW;
    text += "\n![Ratios by mode and message](aes-benchmark.svg)\n\n";
    text += "## Ratios, AES-128, one thread\n\n| message |";
    Mode::ALL.iter().for_each(|mode| text += &format!(" {mode} |"));
    text += &format!("\n|---|{}\n", "---:|".repeat(Mode::ALL.len()));
    for shape in SHAPES {
        let cells: Vec<String> = Mode::ALL.iter().map(|mode| ratio_cell(figures, *mode, shape)).collect();
        text += &format!("| {shape} | {} |\n", cells.join(" | "));
    }
    text += "\n## Targets\n\nFor a CPU with VAES, AES-128, one thread.\n\n| mode | message | beside | target | measured | |\n|---|---|---|---:|---:|---|\n";
    for outcome in outcomes(figures) {
        let verdict = if outcome.is_met() { "met" } else { "missed" };
        let target = outcome.target;
        text += &format!(
            "| {} | {} | {} | {:.2} | {} | {verdict} |\n",
            target.mode,
            target.shape,
            target.beside,
            target.ratio,
            decimals(outcome.measured)
        );
    }
    text += &match slower(figures).count() {
        0 => format!("\nNowhere slower than the server, in {} cases.\n", figures.len()),
        count => format!("\nSlower than the server in {count} of {} cases, set in bold below.\n", figures.len()),
    };
    for key_bits in KEY_BITS {
        for threads in THREADS {
            let of = if threads == 1 { "one thread".to_owned() } else { format!("{threads} threads") };
            text += &format!("\n## AES-{key_bits}, {of}\n\n");
            text += "| mode | message | server, ns | plugin, ns | plugin, GiB/s | ratio | of limit |\n|---|---|---:|---:|---:|---:|---:|\n";
            let rows =
                figures.iter().filter(|figure| figure.case.key_bits == key_bits && figure.case.threads == threads);
            rows.for_each(|figure| text += &row(figure));
        }
    }
    text
}

fn ratio_cell(figures: &[Figure], mode: Mode, shape: Shape) -> String {
    let mut basic = figures.iter().filter(|figure| is_basic(figure.case));
    let figure = basic.find(|figure| figure.case.mode == mode && figure.case.shape == shape);
    figure.map_or_else(String::new, ratio)
}

fn row(figure: &Figure) -> String {
    let Figure { case, server_ns, plugin_ns, .. } = figure;
    let (gib, ratio, share) = (figure.gib_per_second(), ratio(figure), share(figure));
    format!("| {} | {} | {server_ns:.1} | {plugin_ns:.1} | {gib:.2} | {ratio} | {share} |\n", case.mode, case.shape)
}

fn share(figure: &Figure) -> String {
    figure.of_limit.map_or_else(String::new, |share| format!("{:.0} %", share * 100.0))
}

fn ratio(figure: &Figure) -> String {
    let ratio = decimals(figure.ratio);
    if is_slower(figure) { format!("**{ratio}**") } else { ratio }
}

const HOW: &str = "
One process loads the plugin's library and the server's (`libmariadbd`), and lets the plugin's callbacks and the server's own functions (`my_aes_crypt_init`, `_update`, `_finish`) take turns of 2 ms with the same key, IV and text, after a look whether their outputs are equal. A message is init, one update (or as many as are given) and finish, as the server does it. *Ratio* is the server's time divided by the plugin's in the same round, the median over the rounds: above 1 the plugin is faster. Times are CPU time of a thread for a message, medians too; GiB/s is what all threads get through together. On a shared machine the times move by a third from one second to the next, and the ratios do not. *Of limit* is the time that the AES instructions of the message's blocks take by themselves, in registers, divided by the plugin's: measured in the same way, for one thread and messages of 4 KiB and more; and of 64 B, where the key schedule comes before the blocks and one message after the other.

CBC and CTR are without padding, as for pages and logs; GCM has its tag, as for temporary files and the binary log. An InnoDB page is 16354 bytes that begin 26 bytes behind a multiple of 4096. Messages in several updates are decrypted in one with GCM, because the server's functions cannot do it otherwise.
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aes::case::{Case, PAGE};

    fn figures(ratio: f64) -> Vec<Figure> {
        Case::all()
            .map(|case| Figure { case, server_ns: ratio * 100.0, plugin_ns: 100.0, ratio, of_limit: None })
            .collect()
    }

    #[test]
    fn a_slow_case_is_named() {
        let mut figures = figures(20.0);
        let page =
            figures.iter_mut().find(|figure| figure.case.shape == PAGE && figure.case.mode == Mode::Ctr).unwrap();
        page.ratio = 0.9;
        let cpu = Cpu { name: String::new(), count: 2, has_vaes_512: true };
        let verdict = verdict(&cpu, &figures);
        assert!(
            verdict.contains("MISSED  CTR          InnoDB page  server  target 2.50, measured  0.900"),
            "{verdict}"
        );
        assert!(verdict.contains("CTR, AES-128, InnoDB page, 1 thread: 0.900"), "{verdict}");
        assert_eq!(verdict.matches("met   ").count(), 8, "{verdict}");
    }
}
