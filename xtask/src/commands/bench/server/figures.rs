//! What came of it.

use super::kinds::{Pool, Workload};

/// What came of a workload on all servers.
pub struct Row {
    /// What the servers hold in memory.
    pub pool: Pool,
    /// The workload.
    pub workload: Workload,
    /// In the order of [`Variant::ALL`](super::kinds::Variant::ALL).
    pub figures: Vec<Figure>,
    /// What the first of them did for a transaction: the medians.
    pub plain: Turn,
}

/// What a server did for a transaction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn {
    /// CPU time of its process, in microseconds.
    pub micros: f64,
    /// Pages that were read, and decrypted where there is encryption.
    pub pages_read: f64,
    /// Pages that were written, and encrypted.
    pub pages_written: f64,
    /// Bytes of the redo log.
    pub log_bytes: f64,
}

/// What a transaction costs a server.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// CPU time of the server, in microseconds: the median.
    pub micros: f64,
    /// That of the same round over that of the server without encryption: the median, and the quarters below and above it.
    pub ratio: Quartiles,
}

/// The values at a quarter, a half and three quarters of all, in order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quartiles([f64; 3]);

impl Row {
    /// Of the turns of all servers, each in the order of the rounds.
    pub fn of(pool: Pool, workload: Workload, turns: &[Vec<Turn>]) -> Self {
        let plain = turns.first().cloned().unwrap_or_default();
        let figure = |turns: &Vec<Turn>| {
            let ratios = turns.iter().zip(&plain).map(|(turn, plain)| turn.micros / plain.micros).collect();
            Figure { micros: median(turns, |turn| turn.micros), ratio: Quartiles::of(ratios) }
        };
        Self {
            pool,
            workload,
            figures: turns.iter().map(figure).collect(),
            plain: Turn {
                micros: median(&plain, |turn| turn.micros),
                pages_read: median(&plain, |turn| turn.pages_read),
                pages_written: median(&plain, |turn| turn.pages_written),
                log_bytes: median(&plain, |turn| turn.log_bytes),
            },
        }
    }
}

fn median(turns: &[Turn], of: impl Fn(&Turn) -> f64) -> f64 {
    Quartiles::of(turns.iter().map(of).collect()).median()
}

impl std::fmt::Display for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { pages_read, pages_written, log_bytes, .. } = self;
        write!(
            f,
            "a transaction reads {pages_read:.1} pages, writes {pages_written:.1}, and {:.1} KB of redo log",
            log_bytes / 1000.0
        )
    }
}

impl Quartiles {
    /// Of any number of values but none.
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let place = (values.len().saturating_sub(1)) as f64 * part;
            let (below, above) = (values.get(place.floor() as usize), values.get(place.ceil() as usize));
            below.zip(above).map_or(f64::NAN, |(below, above)| below + (above - below) * place.fract())
        };
        Self([at(0.25), at(0.5), at(0.75)])
    }

    /// The values between which half of all lie.
    pub fn quarters(&self) -> [f64; 2] {
        [self.0[0], self.0[2]]
    }

    /// The value in the middle.
    pub fn median(&self) -> f64 {
        self.0[1]
    }
}

impl std::fmt::Display for Quartiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [below, median, above] = self.0;
        write!(f, "{median:.3} ({below:.3} to {above:.3})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_that_of_the_same_round() {
        // The second half of the time, the machine is half as fast.
        let turns = [[100.0, 100.0, 200.0, 200.0], [110.0, 108.0, 216.0, 220.0]];
        let turns =
            turns.map(|turns| turns.map(|micros| Turn { micros, log_bytes: micros, ..Turn::default() }).to_vec());
        let Row { figures, plain, .. } = Row::of(Pool::All, Workload::ReadOnly, &turns);
        assert_eq!(figures[0].ratio, Quartiles([1.0; 3]));
        assert!((figures[1].ratio.median() - 1.09).abs() < 1e-9, "{:?}", figures[1]);
        assert_eq!(plain.to_string(), "a transaction reads 0.0 pages, writes 0.0, and 0.1 KB of redo log");
    }

    #[test]
    fn quartiles_lie_between_the_values() {
        assert_eq!(Quartiles::of(vec![4.0, 1.0, 3.0, 2.0, 5.0]), Quartiles([2.0, 3.0, 4.0]));
        assert_eq!(Quartiles::of(vec![1.0, 2.0]), Quartiles([1.25, 1.5, 1.75]));
    }
}
