//! How fast the plugin is meant to be, on a CPU with VAES.

use std::fmt;

use super::Figure;
use super::case::{Case, LARGE, Mode, PAGE, SMALL, Shape};

/// What is to be reached with AES-128 and one thread.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The mode.
    pub mode: Mode,
    /// The message.
    pub shape: Shape,
    /// Beside what.
    pub beside: Beside,
    /// The least ratio to that.
    pub ratio: f64,
}

/// What the plugin's time is compared with.
#[derive(Clone, Copy, Debug)]
pub enum Beside {
    /// The server's.
    Server,
    /// That of the AES instructions by themselves, so that 1 cannot be passed.
    Limit,
}

impl fmt::Display for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Server => "server",
            Self::Limit => "limit",
        })
    }
}

/// A target beside what was measured.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// What was to be reached.
    pub target: Target,
    /// What was.
    pub measured: f64,
}

impl Outcome {
    /// Whether the target is met.
    pub fn is_met(&self) -> bool {
        self.measured >= self.target.ratio
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Target { mode, shape, beside, ratio } = self.target;
        let verdict = if self.is_met() { "met" } else { "MISSED" };
        write!(f, "{verdict:6}  {mode:11}  {shape:11}  {beside:6}  target {ratio:4.2}, measured {:6.3}", self.measured)
    }
}

/// All targets for which there are figures.
pub fn outcomes(figures: &[Figure]) -> Vec<Outcome> {
    let measured = |target: Target| {
        let is_it = |case: Case| case.mode == target.mode && case.shape == target.shape;
        let figure = figures.iter().find(|figure| is_it(figure.case) && is_basic(figure.case))?;
        let measured = match target.beside {
            Beside::Server => Some(figure.ratio),
            Beside::Limit => figure.of_limit,
        };
        Some(Outcome { target, measured: measured? })
    };
    TARGETS.into_iter().filter_map(measured).collect()
}

/// The figures that say that the server is faster.
pub fn slower(figures: &[Figure]) -> impl Iterator<Item = &Figure> {
    figures.iter().filter(|figure| is_slower(figure))
}

/// Whether the server is faster.
pub fn is_slower(figure: &Figure) -> bool {
    figure.ratio < 1.0
}

/// Whether a case is one with AES-128 and one thread.
pub fn is_basic(case: Case) -> bool {
    case.key_bits == 128 && case.threads == 1
}

const TARGETS: [Target; 18] = [
    beside_server(Mode::CbcEncrypt, SMALL, 8.5),
    beside_server(Mode::CbcDecrypt, SMALL, 8.5),
    beside_server(Mode::Ctr, SMALL, 8.5),
    beside_server(Mode::CbcEncrypt, PAGE, 1.18),
    beside_server(Mode::CbcDecrypt, PAGE, 2.9),
    beside_server(Mode::Ctr, PAGE, 2.5),
    beside_server(Mode::CbcEncrypt, LARGE, 1.0),
    beside_server(Mode::CbcDecrypt, LARGE, 1.8),
    beside_server(Mode::Ctr, LARGE, 2.1),
    // 1.6 times as long.
    beside_limit(Mode::CbcEncrypt, SMALL, 0.625),
    beside_limit(Mode::CbcDecrypt, SMALL, 0.625),
    beside_limit(Mode::Ctr, SMALL, 0.625),
    beside_limit(Mode::CbcEncrypt, PAGE, 0.95),
    beside_limit(Mode::CbcDecrypt, PAGE, 0.88),
    beside_limit(Mode::Ctr, PAGE, 0.85),
    beside_limit(Mode::CbcEncrypt, LARGE, 0.97),
    beside_limit(Mode::CbcDecrypt, LARGE, 0.93),
    beside_limit(Mode::Ctr, LARGE, 0.90),
];

const fn beside_server(mode: Mode, shape: Shape, ratio: f64) -> Target {
    Target { mode, shape, beside: Beside::Server, ratio }
}

const fn beside_limit(mode: Mode, shape: Shape, ratio: f64) -> Target {
    Target { mode, shape, beside: Beside::Limit, ratio }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(mode: Mode, shape: Shape, threads: usize, ratio: f64) -> Figure {
        let case = Case { mode, key_bits: 128, shape, threads };
        Figure { case, server_ns: ratio, plugin_ns: 1.0, ratio, of_limit: Some(ratio / 3.0) }
    }

    #[test]
    fn a_target_is_judged_by_the_figure_of_one_thread() {
        let figures =
            [figure(Mode::Ctr, PAGE, 2, 1.0), figure(Mode::Ctr, PAGE, 1, 2.5), figure(Mode::Ctr, SMALL, 1, 8.4)];
        let outcomes = outcomes(&figures);
        // Beside the server, and then beside the limit.
        assert_eq!(outcomes.iter().map(Outcome::is_met).collect::<Vec<_>>(), [false, true, true, false]);
    }

    #[test]
    fn a_figure_below_one_is_found_in_any_case() {
        let figures = [figure(Mode::Ctr, PAGE, 2, 0.999), figure(Mode::GcmEncrypt, SMALL, 1, 1.0)];
        assert_eq!(slower(&figures).count(), 1);
    }
}
