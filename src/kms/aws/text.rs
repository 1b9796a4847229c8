//! What may be said of an error.

use std::error::Error;
use std::io;

/// An error and its causes. An `io::Error` leaves out the error that it holds when it is asked for its source, so that
/// one is asked for apart.
pub(super) fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>() {
        Some(outer) => outer.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    })
}

/// The causes of `error` below the SDK's own words, which are just "dispatch failure".
pub(super) fn causes(error: &(dyn Error + 'static)) -> String {
    let causes: Vec<String> =
        std::iter::successors(error.source(), |&error| error.source()).map(ToString::to_string).collect();
    causes.join(": ")
}

/// `text` without line breaks.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
