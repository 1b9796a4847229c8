//! What the AES instructions of a message take by themselves: in registers, with nothing read, written or XORed.

#[cfg(target_arch = "x86_64")]
mod short;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::case::{Case, Mode, SMALL};

/// The instructions of a message of this case, as often as the path of that name needs them; those of the smallest begin with
/// the key schedule. `None` where no limit is known: for GCM, whose hash is no AES, for other short messages, and for other
/// paths.
pub fn of(case: Case, path: &str) -> Option<impl Fn() + Copy + Sync> {
    let chained = match case.mode {
        Mode::CbcEncrypt => true,
        Mode::CbcDecrypt | Mode::Ctr => false,
        Mode::GcmEncrypt | Mode::GcmDecrypt => return None,
    };
    let with_key = case.shape == SMALL;
    if case.shape.len < SHORTEST && !with_key || case.threads > 1 {
        return None;
    }
    let blocks = case.shape.len.div_ceil(16);
    instructions(path, with_key, chained, case.mode == Mode::CbcDecrypt, case.key_bits, blocks)
}

#[cfg(target_arch = "x86_64")]
pub use x86::fastest;
#[cfg(target_arch = "x86_64")]
use x86::instructions;

#[cfg(not(target_arch = "x86_64"))]
pub fn fastest() -> Option<&'static str> {
    None
}

#[cfg(not(target_arch = "x86_64"))]
fn instructions(_: &str, _: bool, _: bool, _: bool, _: usize, _: usize) -> Option<fn()> {
    None
}

/// Bytes of the shortest message that is little else than its blocks.
const SHORTEST: usize = 4096;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::aes::case::{LARGE, PAGE, SHAPES, SMALL};
    use crate::pairs::{Plan, alternate};

    #[test]
    fn a_limit_is_known_where_a_message_is_little_else_than_aes() {
        let case = |mode, shape, threads| Case { mode, key_bits: 128, shape, threads };
        let known = |case| fastest().is_some_and(|path| of(case, path).is_some());
        assert_eq!(known(case(Mode::Ctr, PAGE, 1)), fastest().is_some());
        assert_eq!(known(case(Mode::Ctr, SMALL, 1)), fastest().is_some());
        let redo = SHAPES[1];
        for case in [case(Mode::GcmEncrypt, PAGE, 1), case(Mode::Ctr, redo, 1), case(Mode::Ctr, PAGE, 2)] {
            assert!(!known(case), "{case}");
        }
        assert!(of(case(Mode::Ctr, PAGE, 1), "portable").is_none());
    }

    #[test]
    fn four_times_the_blocks_take_four_times_as_long() {
        let Some(path) = fastest() else { return };
        let case = |shape| Case { mode: Mode::CbcEncrypt, key_bits: 128, shape, threads: 1 };
        let plan = Plan { rounds: 31, turn: Duration::from_micros(500), threads: 1 };
        let pair = alternate(plan, || (of(case(LARGE), path).unwrap(), of(case(PAGE), path).unwrap())).unwrap();
        assert!((3.0..5.0).contains(&pair.ratio), "{pair:?}");
    }
}
