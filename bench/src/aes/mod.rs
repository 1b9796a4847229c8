//! AES: the plugin's functions beside the server's own.

pub mod case;
mod compare;
mod inlining;
pub mod limit;
pub mod targets;

use anyhow::Result;

use self::case::Case;
use self::compare::Side;
pub use self::compare::Sides;
pub use self::inlining::{Inlining, check as check_inlining};
use crate::pairs::{Pair, Plan};

/// What was measured of a case.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// The message, and how many threads.
    pub case: Case,
    /// Nanoseconds of CPU time of the server for a message.
    pub server_ns: f64,
    /// The same of the plugin.
    pub plugin_ns: f64,
    /// Time of the server divided by the time of the plugin: above 1 the plugin is faster.
    pub ratio: f64,
    /// Time of the AES instructions by themselves divided by the time of the plugin, where that is known.
    pub of_limit: Option<f64>,
}

impl Figure {
    /// What all threads together get through, in bytes of plaintext.
    pub fn gib_per_second(&self) -> f64 {
        (self.case.shape.len * self.case.threads) as f64 / self.plugin_ns * 1e9 / f64::from(1 << 30)
    }
}

/// Measures a case, after a look whether both sides do the same. The plugin uses the path of that name.
pub fn measure(sides: &Sides<'_>, case: Case, path: &str, mut plan: Plan) -> Result<Figure> {
    let message = sides.message(case)?;
    sides.compare(&message)?;
    plan.threads = case.threads;
    let work = |side| sides.work(&message, side);
    let Pair { first_ns, second_ns, ratio, .. } =
        crate::pairs::alternate(plan, || (work(Side::Server), work(Side::Plugin)))?;
    let beside_limit = limit::of(case, path).map(|limit| crate::pairs::alternate(plan, || (limit, work(Side::Plugin))));
    let of_limit = beside_limit.transpose()?.map(|pair| pair.ratio);
    Ok(Figure { case, server_ns: first_ns, plugin_ns: second_ns, ratio, of_limit })
}
