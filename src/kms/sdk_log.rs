//! The log of the AWS SDK, which speaks through `tracing`.
//!
//! The SDK says nothing at Error, Warn and Info, about 20 lines a call at Debug and 60 at Trace.

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

/// Lines of these never appear, whatever the level: they print requests and answers with their bodies or headers, which
/// hold the data key (an answer of Decrypt) and session tokens.
const SECRET_TARGETS: &[&str] = &["aws_smithy_runtime::client::orchestrator", "aws_sigv4", "aws_runtime::auth"];

/// Longer lines are cut, in bytes.
const LONGEST_LINE: usize = 2000;

struct SdkLog;

impl Subscriber for SdkLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        number(LevelFilter::from_level(*metadata.level())) <= LEVEL.load(Ordering::Relaxed)
            && metadata.is_event()
            && !SECRET_TARGETS.iter().any(|secret| metadata.target().starts_with(secret))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        LEVELS.into_iter().find(|level| number(*level) == LEVEL.load(Ordering::Relaxed))
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

/// A line in the making.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let before = self.0.len();
        // Writing to a String cannot fail; a value's own Debug can, and then what it wrote stands.
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
        let added = self.0.split_off(before);
        self.0.extend(added.chars().map(|c| if c.is_control() { ' ' } else { c }));
        if self.0.len() > LONGEST_LINE {
            self.0.truncate(self.0.floor_char_boundary(LONGEST_LINE));
        }
    }
}

const LEVELS: [LevelFilter; 6] = [
    LevelFilter::OFF,
    LevelFilter::ERROR,
    LevelFilter::WARN,
    LevelFilter::INFO,
    LevelFilter::DEBUG,
    LevelFilter::TRACE,
];

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
