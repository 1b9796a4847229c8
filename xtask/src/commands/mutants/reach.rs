//! Every test once, by itself: whether it passes, how long it takes, and which mutants it reaches.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::woven_tree::Program;
use crate::{interrupt, kms_emulator, terminal};

/// A test.
pub struct Test {
    /// Its name in its program.
    pub name: String,
    program: PathBuf,
    folder: PathBuf,
    /// How long it takes by itself.
    pub took: Duration,
}

/// How long a test takes, and which mutants it reaches.
type Found = (Duration, Vec<u32>);

/// How tests have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All passed.
    Passed,
    /// This one failed; or their program ended, and these had not.
    Failed(Vec<String>),
    /// These took too long, and were killed.
    TookTooLong(Vec<String>),
}

/// All tests but those that are left out, the quickest first, and which of them reach each mutant.
pub struct Reach {
    /// The tests.
    pub tests: Vec<Test>,
    /// Places in `tests`, ascending, by mutant.
    pub by_mutant: BTreeMap<u32, Vec<usize>>,
}

impl Reach {
    /// Runs all tests of the programs, `workers` at a time. One that fails without any mutant, as a test of times may on a busy
    /// machine, is left out and told of: without it, mutants rather survive. Fails if they are more than one in fifty.
    pub fn find(programs: &[Program], is_left_out: impl Fn(&str) -> bool, workers: usize) -> Result<Self> {
        let mut tests = Vec::new();
        for program in programs {
            let names = listed(program, &[])?;
            let ignored = listed(program, &["--ignored"])?;
            for name in names.into_iter().filter(|name| !ignored.contains(name) && !is_left_out(name)) {
                tests.push(Test {
                    name,
                    program: program.path.clone(),
                    folder: program.folder.clone(),
                    took: Duration::ZERO,
                });
            }
        }
        terminal::detail(format_args!("{} tests, each by itself", tests.len()));
        let scratch = tempfile::tempdir()?;
        let found: Vec<Result<Option<Found>>> =
            in_parallel(&tests, workers, |number, test| test.reaches(&scratch.path().join(number.to_string())))?;
        let mut all = Vec::new();
        let mut unsteady = Vec::new();
        for (mut test, found) in tests.into_iter().zip(found) {
            match found? {
                Some((took, reached)) => {
                    test.took = took;
                    all.push((test, reached));
                }
                None => unsteady.push(test.name),
            }
        }
        if !unsteady.is_empty() {
            let (count, of) = (unsteady.len(), all.len() + unsteady.len());
            terminal::detail(format_args!("left out, since they fail without a mutant: {}", unsteady.join(", ")));
            ensure!(count * 50 <= of, "{count} of {of} tests fail without a mutant");
        }
        all.sort_by_key(|(test, _)| test.took);
        let mut by_mutant: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (place, (_, reached)) in all.iter().enumerate() {
            for number in reached.iter().copied() {
                let places = by_mutant.entry(number).or_default();
                if places.last() != Some(&place) {
                    places.push(place);
                }
            }
        }
        Ok(Self { tests: all.into_iter().map(|(test, _)| test).collect(), by_mutant })
    }
}

impl Test {
    /// How long it takes, and the mutants that it reaches, which it writes into a file; `None` if it fails.
    fn reaches(&self, record: &Path) -> Result<Option<Found>> {
        let mut began = Instant::now();
        // What counts what it does may fail because of the recording, and the machine may be busy.
        let mut ended = self.run(Some(("MUTANTS_REACHED", &record.display().to_string())), FIRST_PATIENCE)?;
        for _ in 0..2 {
            if ended != Ended::Passed {
                began = Instant::now();
                ended = self.run(None, FIRST_PATIENCE)?;
            }
        }
        let took = began.elapsed();
        let reached = std::fs::read_to_string(record).unwrap_or_default();
        let reached = reached.lines().filter_map(|line| line.parse().ok()).collect();
        Ok((ended == Ended::Passed).then_some((took, reached)))
    }

    /// Runs it in a process of its own, with a variable in its environment.
    fn run(&self, variable: Option<(&str, &str)>, patience: Duration) -> Result<Ended> {
        run_together(&[self], variable, patience)
    }
}

/// Tests of one program, to be run in one process: what they need in common is started once.
pub type Batch<'a> = Vec<&'a Test>;

impl Reach {
    /// The tests that reach a mutant: a few of the quickest one by one, and then the others together, by program.
    pub fn batches(&self, mutant: u32) -> Vec<Batch<'_>> {
        let places = self.by_mutant.get(&mutant).map_or(&[][..], Vec::as_slice);
        let tests: Vec<&Test> = places.iter().filter_map(|place| self.tests.get(*place)).collect();
        let (first, others) = tests.split_at(tests.len().min(ONE_BY_ONE));
        let mut batches: Vec<Batch<'_>> = first.iter().map(|test| vec![*test]).collect();
        let mut by_program: BTreeMap<&Path, Batch<'_>> = BTreeMap::new();
        for test in others {
            by_program.entry(&test.program).or_default().push(test);
        }
        let mut together: Vec<Batch<'_>> =
            by_program.values().flat_map(|tests| tests.chunks(TOGETHER).map(<[&Test]>::to_vec)).collect();
        together.sort_by_key(|batch| patience(batch));
        batches.extend(together);
        batches
    }
}

/// How long tests may take with a mutant, on a busy machine.
pub fn patience(batch: &[&Test]) -> Duration {
    let all: Duration = batch.iter().map(|test| test.took).sum();
    let longest = batch.iter().map(|test| test.took).max().unwrap_or_default();
    (all / THREADS).max(longest) * 5 + LEAST_PATIENCE
}

/// Runs tests of one program in one process, with a variable in its environment. The first that fails ends the others.
pub fn run_together(batch: &[&Test], variable: Option<(&str, &str)>, patience: Duration) -> Result<Ended> {
    let Some(first) = batch.first() else { return Ok(Ended::Passed) };
    let mut command = Command::new(&first.program);
    command.args(["--exact", &format!("--test-threads={THREADS}")]).current_dir(&first.folder);
    command.args(batch.iter().map(|test| &test.name));
    command.env("KMS_EMULATOR_PYTHON", kms_emulator::python()).env("CARGO_MANIFEST_DIR", &first.folder);
    if Path::new(MEMORY).is_dir() {
        command.env("TMPDIR", MEMORY);
    }
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
        command.env_remove(name);
    }
    command.envs(variable).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    // A group of its own, whose processes end with it.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn().with_context(|| format!("starting {}", first.program.display()))?;
    let until = Instant::now() + patience;
    let lines = lines_of(child.stdout.take().context("tests without an output")?);
    let mut waiting: BTreeSet<&str> = batch.iter().map(|test| &*test.name).collect();
    let names = |waiting: BTreeSet<&str>| waiting.into_iter().map(str::to_owned).collect();
    let mut status = None;
    let ended = loop {
        let said = lines.recv_timeout(LOOK_AGAIN);
        if let Ok(line) = said {
            match told(&line) {
                Some((name, true)) => drop(waiting.remove(name)),
                Some((name, false)) => break Ended::Failed(vec![name.to_owned()]),
                None => {}
            }
        } else if let Some(status) = status {
            // What it said before is read by now.
            break if status { Ended::Passed } else { Ended::Failed(names(waiting)) };
        } else {
            status = child.try_wait()?.map(|status| status.success());
            if status.is_none() && said == Err(mpsc::RecvTimeoutError::Disconnected) {
                std::thread::sleep(LOOK_AGAIN);
            }
        }
        if status.is_none() && (Instant::now() >= until || interrupt::has_come()) {
            break Ended::TookTooLong(names(waiting));
        }
    };
    if let Some(group) = rustix::process::Pid::from_raw(i32::try_from(child.id())?) {
        // Whatever it has started, such as a KMS, and itself, if it goes on.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    child.wait()?;
    ensure!(!interrupt::has_come(), "interrupted");
    Ok(ended)
}

/// The lines of an output, as they come. Ends when nobody can write to it any more.
fn lines_of(output: std::process::ChildStdout) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    lines
}

/// What a line of a program of tests says of a test: its name, and whether it passed.
fn told(line: &str) -> Option<(&str, bool)> {
    let (name, how) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let passed = match how {
        "ok" => true,
        "FAILED" => false,
        _ => return None,
    };
    Some((name.strip_suffix(" - should panic").unwrap_or(name), passed))
}

fn listed(program: &Program, more: &[&str]) -> Result<Vec<String>> {
    let mut command = Command::new(&program.path);
    let said = command.args(["--list", "--format=terse"]).args(more).current_dir(&program.folder).output()?;
    if !said.status.success() {
        bail!("{} lists no tests", program.path.display());
    }
    let text = String::from_utf8(said.stdout)?;
    Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

/// Does something with each of `all`, `workers` at a time. Answers in their order.
pub fn in_parallel<T: Sync, R: Send>(
    all: &[T],
    workers: usize,
    work: impl Fn(usize, &T) -> R + Sync,
) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let answers: Mutex<BTreeMap<usize, R>> = Mutex::default();
    let mut told = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let place = next.fetch_add(1, Ordering::Relaxed);
                        let Some(one) = all.get(place).filter(|_| !interrupt::has_come()) else { return };
                        let answer = work(place, one);
                        if let Ok(mut answers) = answers.lock() {
                            answers.insert(place, answer);
                        }
                    }
                })
            })
            .collect();
        while threads.iter().any(|thread| !thread.is_finished()) {
            std::thread::sleep(Duration::from_millis(100));
            if told.elapsed() > Duration::from_secs(15) {
                told = Instant::now();
                let done = answers.lock().map_or(0, |answers| answers.len());
                terminal::aside(format_args!("{done} of {}", all.len()));
            }
        }
    });
    let answers = answers.into_inner().unwrap_or_default();
    ensure!(answers.len() == all.len(), "interrupted");
    Ok(answers.into_values().collect())
}

/// Most mutants are caught by one of these.
const ONE_BY_ONE: usize = 4;

/// So that not all have to end before the first that fails counts.
const TOGETHER: usize = 40;

/// How many tests run at once in a program.
const THREADS: u32 = 4;

const LOOK_AGAIN: Duration = Duration::from_millis(10);
const MEMORY: &str = "/dev/shm";
const FIRST_PATIENCE: Duration = Duration::from_secs(600);
const LEAST_PATIENCE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::told;

    #[test]
    fn the_line_of_a_test_says_whether_it_passed() {
        assert_eq!(told("test a::b ... ok"), Some(("a::b", true)));
        assert_eq!(told("test a::b - should panic ... FAILED"), Some(("a::b", false)));
        for other in ["test result: ok. 1 passed", "test a has been running for over 60 seconds", "running 3 tests"] {
            assert_eq!(told(other), None);
        }
    }
}
