//! How fast the plugin is meant to be, on a CPU with VAES.

use std::fmt;

use super::Figure;
use super::case::{Case, LARGE, Mode, PAGE, SMALL, Shape};

/// A ratio to the server that is to be reached with AES-128 and one thread.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The mode.
    pub mode: Mode,
    /// The message.
    pub shape: Shape,
    /// The least ratio.
    pub ratio: f64,
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
        let Target { mode, shape, ratio } = self.target;
        let verdict = if self.is_met() { "met" } else { "MISSED" };
        write!(f, "{verdict:6}  {mode:11}  {shape:11}  target {ratio:4.2}, measured {:6.3}", self.measured)
    }
}

/// All targets for which there are figures.
pub fn outcomes(figures: &[Figure]) -> Vec<Outcome> {
    let measured = |target: Target| {
        let is_it = |case: Case| case.mode == target.mode && case.shape == target.shape;
        let figure = figures.iter().find(|figure| is_it(figure.case) && is_basic(figure.case))?;
        Some(Outcome { target, measured: figure.ratio })
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

const TARGETS: [Target; 9] = [
    Target { mode: Mode::CbcEncrypt, shape: SMALL, ratio: 8.5 },
    Target { mode: Mode::CbcDecrypt, shape: SMALL, ratio: 8.5 },
    Target { mode: Mode::Ctr, shape: SMALL, ratio: 8.5 },
    Target { mode: Mode::CbcEncrypt, shape: PAGE, ratio: 1.18 },
    Target { mode: Mode::CbcDecrypt, shape: PAGE, ratio: 2.9 },
    Target { mode: Mode::Ctr, shape: PAGE, ratio: 2.5 },
    Target { mode: Mode::CbcEncrypt, shape: LARGE, ratio: 1.0 },
    Target { mode: Mode::CbcDecrypt, shape: LARGE, ratio: 1.8 },
    Target { mode: Mode::Ctr, shape: LARGE, ratio: 2.1 },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(mode: Mode, shape: Shape, threads: usize, ratio: f64) -> Figure {
        Figure { case: Case { mode, key_bits: 128, shape, threads }, server_ns: ratio, plugin_ns: 1.0, ratio }
    }

    #[test]
    fn a_target_is_judged_by_the_figure_of_one_thread() {
        let figures =
            [figure(Mode::Ctr, PAGE, 2, 1.0), figure(Mode::Ctr, PAGE, 1, 2.5), figure(Mode::Ctr, SMALL, 1, 8.4)];
        let outcomes = outcomes(&figures);
        assert_eq!(outcomes.iter().map(Outcome::is_met).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn a_figure_below_one_is_found_in_any_case() {
        let figures = [figure(Mode::Ctr, PAGE, 2, 0.999), figure(Mode::GcmEncrypt, SMALL, 1, 1.0)];
        assert_eq!(slower(&figures).count(), 1);
    }
}
