//! What a person sees: numbered steps, lines below them, and progress.

use std::fmt::Display;
use std::io::Write;
use std::time::{Duration, Instant};

use console::style;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A line. If nobody reads any more (`| head`), the work goes on.
pub fn line(text: impl Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Announces a piece of work.
pub fn step(text: impl Display) {
    line(style(format_args!("==> {text}")).bold());
}

/// A line below a step.
pub fn detail(text: impl Display) {
    text.to_string().lines().for_each(|part| line(format_args!("    {part}")));
}

/// The same in the background: what is run, how long it took.
pub fn aside(text: impl Display) {
    detail(style(text).dim());
}

/// Something to look at: its lines, a bit more to the right.
pub fn show(text: impl Display) {
    text.to_string().lines().for_each(|part| detail(format_args!("  {part}")));
}

/// Announces steps with numbers.
#[derive(Default)]
pub struct Steps {
    number: usize,
}

impl Steps {
    /// Announces the next step and answers its number.
    pub fn next(&mut self, title: impl Display) -> usize {
        self.number += 1;
        line(style(format_args!("\n{:2}  {title}", self.number)).bold());
        self.number
    }
}

/// Shows that something which takes long is at work: a spinner on a terminal, now and then a line elsewhere.
pub struct Progress {
    name: String,
    started: Instant,
    spinner: ProgressBar,
    next_line: Duration,
}

impl Progress {
    /// Begins the measure of time.
    pub fn new(name: impl Display) -> Self {
        let name = name.to_string();
        let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout()).with_message(name.clone());
        let spinner = match ProgressStyle::with_template("    {msg} {spinner} {elapsed}") {
            Ok(style) => spinner.with_style(style),
            Err(_) => spinner,
        };
        Self { name, started: Instant::now(), spinner, next_line: LINE_EVERY }
    }

    /// To be called often.
    pub fn tick(&mut self) {
        let passed = self.started.elapsed();
        if !self.spinner.is_hidden() {
            self.spinner.tick();
        } else if passed >= self.next_line {
            detail(format_args!("{}: at work for {}", self.name, seconds(passed)));
            self.next_line = passed + LINE_EVERY;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.spinner.finish_and_clear();
        if self.started.elapsed() >= WORTH_A_LINE {
            aside(format_args!("{}: {}", self.name, seconds(self.started.elapsed())));
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

const LINE_EVERY: Duration = Duration::from_secs(15);
const WORTH_A_LINE: Duration = Duration::from_secs(2);
