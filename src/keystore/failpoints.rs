//! Places where the tests stop the process, or make a step fail. Without the cargo feature `failpoints` they are
//! nothing.

/// `failpoint!("after_link")` does what a test has set for this name.
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        fail::fail_point!($name);
    };
}

pub(super) use failpoint;
