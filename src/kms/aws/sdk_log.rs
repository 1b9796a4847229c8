//! The log of the AWS SDK, which speaks through `tracing`.
//!
//! Apart from a few warnings, most of them about credentials, the SDK speaks at Debug (about 20 lines a call) and Trace
//! (60). Some of what it says holds secrets: raw answers of KMS and of the token services with their bodies, requests
//! with their headers. So only lines of parts that are known to be harmless are shown, and of those no value that
//! looks like a raw answer or like a variable of the environment.

use std::fmt::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// What is written: the level, and one line.
pub type Sink = fn(Level, &str);

/// Sends the SDK's log to `sink` from now on. The level is Off until [`set_level`] is called. Only the first call in a
/// process has an effect.
pub fn install(sink: Sink) {
    if SINK.set(sink).is_ok() {
        // The only other subscriber of this library's own copy of `tracing` could be one of a test.
        let _ = tracing::subscriber::set_global_default(SdkLog);
    }
}

/// Changes the level at once, for all threads.
pub fn set_level(level: LevelFilter) {
    LEVEL.store(number(level), Ordering::Relaxed);
    tracing::callsite::rebuild_interest_cache();
}

static SINK: OnceLock<Sink> = OnceLock::new();
static LEVEL: AtomicU8 = AtomicU8::new(0);

/// The parts of the SDK whose lines are shown: with their names go those of the modules below them. Left out are, above
/// all, the orchestrator of requests (which prints bodies) and the signer (which prints headers with session tokens).
const HARMLESS_TARGETS: &[&str] = &[
    "aws_config",
    "aws_runtime::service_clock_skew",
    "aws_sdk_kms::operation",
    "aws_smithy_runtime::client::http",
    "aws_smithy_runtime::client::identity",
    "aws_smithy_runtime::client::interceptors",
    "aws_smithy_runtime::client::retries",
    "aws_smithy_runtime::client::stalled_stream_protection",
    "aws_smithy_runtime::client::timeout",
    "aws_smithy_runtime_api::client::interceptors",
    "aws_smithy_runtime_api::client::runtime_plugin",
    "hyper_util::client::legacy",
];

/// Parts of a raw request or answer in the form that the SDK prints it in, and of what token services answer.
const RAW_MARKS: &[&str] =
    &["SdkBody", "Response {", "Request {", "raw:", "body:", "Token", "SecretAccessKey", "Plaintext"];

/// The error about a variable of the environment that is not Unicode, which holds its value.
const VARIABLE_MARKS: &[&str] = &["NotUnicode", "not valid unicode"];

/// Longer lines are cut, in bytes.
const LONGEST_LINE: usize = 2000;

struct SdkLog;

impl Subscriber for SdkLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        number(LevelFilter::from_level(*metadata.level())) <= LEVEL.load(Ordering::Relaxed)
            && metadata.is_event()
            && is_harmless(metadata.target())
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().target().to_owned() + ":");
        event.record(&mut line);
        if let Some(sink) = SINK.get() {
            sink(*event.metadata().level(), &line.0);
        }
    }

    // Spans are not shown: they only repeat what the events say.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn is_harmless(target: &str) -> bool {
    HARMLESS_TARGETS
        .iter()
        .any(|part| target.strip_prefix(part).is_some_and(|below| below.is_empty() || below.starts_with("::")))
}

/// A line in the making.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // Writing to a String cannot fail; a value's own Debug can, and then what it wrote stands.
        let _ = write!(text, "{value:?}");
        if RAW_MARKS.iter().chain(VARIABLE_MARKS).any(|mark| text.contains(mark)) {
            text = "(left out, as it may hold secrets)".to_owned();
        }
        let name = if field.name() == "message" { String::new() } else { format!("{}=", field.name()) };
        self.0.push(' ');
        self.0.push_str(&name);
        self.0.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }));
        self.0.truncate(self.0.floor_char_boundary(LONGEST_LINE));
    }
}

fn number(level: LevelFilter) -> u8 {
    match level {
        LevelFilter::OFF => 0,
        LevelFilter::ERROR => 1,
        LevelFilter::WARN => 2,
        LevelFilter::INFO => 3,
        LevelFilter::DEBUG => 4,
        _ => 5,
    }
}
