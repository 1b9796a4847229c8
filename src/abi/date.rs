//! Dates as SQL has them.

use std::time::SystemTime;

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

/// `2026-11-24 03:30:00`, in UTC.
pub(super) fn date(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let date = DateTime::from_secs(i64::try_from(seconds).unwrap_or(0));
    let date = date.fmt(Format::DateTime).unwrap_or_default();
    date.trim_end_matches('Z').replace('T', " ")
}
