//! What a person sees: numbered steps, lines below them, and progress.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// A line. If nobody reads any more (`| head`), the work goes on.
pub fn line(text: impl Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Announces a piece of work.
pub fn step(text: impl Display) {
    line(bold(format_args!("==> {text}")));
}

/// A line below a step.
pub fn detail(text: impl Display) {
    for part in text.to_string().lines() {
        line(format_args!("    {part}"));
    }
}

/// Steps with numbers and times.
#[derive(Default)]
pub struct Steps {
    number: usize,
}

impl Steps {
    /// Announces the next step.
    pub fn next(&mut self, title: impl Display) {
        self.number += 1;
        line(format_args!("\n{}", bold(format_args!("{:2}  {title}", self.number))));
    }

    /// The number of the current step.
    pub fn number(&self) -> usize {
        self.number
    }
}

/// Dots behind a name for something that takes long: nothing in the first two seconds, then a dot every two seconds.
pub struct Progress {
    name: String,
    started: Instant,
    dots: u64,
}

impl Progress {
    /// Begins the measure of time.
    pub fn new(name: impl Display) -> Self {
        Self { name: name.to_string(), started: Instant::now(), dots: 0 }
    }

    /// To be called often.
    pub fn tick(&mut self) {
        while self.started.elapsed() >= EVERY * (self.dots as u32 + 1) {
            let mut out = std::io::stdout();
            // Progress that can't be shown is no reason to stop.
            let _ = if self.dots == 0 { write!(out, "    {} .", self.name) } else { write!(out, ".") };
            let _ = out.flush();
            self.dots += 1;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.dots > 0 {
            line(format_args!(" {}", seconds(self.started.elapsed())));
        }
    }
}

/// A time for a person: `30 ms`, `1.3 s`, `12 s`, `2 min 5 s`.
pub fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        1..10 => format!("{:.1} s", time.as_secs_f32()),
        10..100 => format!("{} s", time.as_secs()),
        long => format!("{} min {} s", long / 60, long % 60),
    }
}

/// A size for a person: `120 bytes`, `12 kB`, `12.3 MB`.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..1_000_000 => format!("{} kB", bytes / 1000),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// `text`, bold on a terminal.
pub fn bold(text: impl Display) -> String {
    styled("1", text)
}

/// `text`, in the background on a terminal.
pub fn dim(text: impl Display) -> String {
    styled("2", text)
}

/// `text`, green on a terminal.
pub fn green(text: impl Display) -> String {
    styled("32", text)
}

/// `text`, red on a terminal.
pub fn red(text: impl Display) -> String {
    styled("31", text)
}

fn styled(code: &str, text: impl Display) -> String {
    if *STYLED { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
}

static STYLED: LazyLock<bool> =
    LazyLock::new(|| std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none());

const EVERY: Duration = Duration::from_secs(2);
