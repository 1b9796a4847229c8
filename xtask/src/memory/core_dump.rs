//! A core dump of a server, made by the kernel.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use memchr::memmem;
use rustix::process::{Pid, Signal, kill_process};

use crate::server::Home;
use crate::{interrupt, paths};

/// What became of the attempt to get a core.
pub enum Outcome {
    /// The core.
    Core(Core),
    /// Why there can be none on this machine.
    Impossible(String),
}

/// A core file (ELF, 64 bits).
pub struct Core {
    file: File,
    segments: Vec<Segment>,
}

/// Memory of the process as the core has it.
struct Segment {
    address: u64,
    offset: u64,
    /// In the file; 0 for memory that was left out.
    bytes: u64,
}

/// Kills the server `id` of `home` by SIGABRT, and takes the core that the kernel writes.
pub fn of(home: &Home, id: i32) -> Result<Outcome> {
    let pattern = std::fs::read_to_string(PATTERN).with_context(|| format!("reading {PATTERN}"))?;
    let pattern = pattern.trim();
    if pattern.starts_with('|') || pattern.contains('/') || pattern.is_empty() {
        return Ok(Outcome::Impossible(format!(
            "the kernel hands cores to '{pattern}' ({PATTERN}); with `sysctl kernel.core_pattern=core` it writes a file"
        )));
    }
    let limits = std::fs::read_to_string(format!("/proc/{id}/limits")).context("reading the server's limits")?;
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max core file size"));
    let limit = limit.and_then(|rest| rest.split_whitespace().next()).context("the server has no limit of cores")?;
    if limit != "unlimited" {
        return Ok(Outcome::Impossible(format!("cores are limited to {limit} bytes (ulimit -H -c)")));
    }
    kill_process(Pid::from_raw(id).context("a process id")?, Signal::ABORT).context("sending SIGABRT")?;
    wait_for_end(id)?;
    let prefix = pattern.split('%').next().unwrap_or_default();
    let names = paths::names_in(&home.data())?;
    let name = names.iter().find(|name| name.starts_with(prefix)).context("the kernel wrote no core")?;
    Ok(Outcome::Core(Core::open(&home.data().join(name))?))
}

impl Core {
    fn open(path: &PathBuf) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let core = Self { segments: segments(&file).with_context(|| format!("in {}", path.display()))?, file };
        let end = core.segments.iter().map(|segment| segment.offset + segment.bytes).max().unwrap_or(0);
        ensure!(end > 0 && core.size()? >= end, "the core is not whole: {} of {end} bytes", core.size()?);
        Ok(core)
    }

    /// In bytes.
    pub fn size(&self) -> Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Where in the process's memory each of `needles` was, as far as the core has it.
    pub fn find<const N: usize>(&self, needles: [&[u8]; N]) -> Result<[Vec<u64>; N]> {
        let mut found = [(); N].map(|()| Vec::new());
        for segment in &self.segments {
            let mut bytes = vec![0; usize::try_from(segment.bytes)?];
            self.file.read_exact_at(&mut bytes, segment.offset)?;
            for (needle, hits) in needles.iter().zip(&mut found) {
                hits.extend(memmem::find_iter(&bytes, needle).map(|offset| segment.address + offset as u64));
            }
        }
        Ok(found)
    }

    /// Whether the core has what was at `address`.
    pub fn contains(&self, address: u64) -> bool {
        self.segments.iter().any(|segment| (segment.address..segment.address + segment.bytes).contains(&address))
    }
}

/// Reads the program headers (elf(5)).
fn segments(file: &File) -> Result<Vec<Segment>> {
    let mut header = [0; 64];
    file.read_exact_at(&mut header, 0)?;
    ensure!(header.starts_with(b"\x7fELF\x02\x01"), "this is no ELF file of 64 bits, little endian");
    let (start, size, count) = (word(&header, 32), half(&header, 54), half(&header, 56));
    // With 65535 or more, the number is elsewhere.
    ensure!(count < 0xffff, "the core has too many segments");
    let mut segments = Vec::new();
    for index in 0..count {
        let mut entry = [0; 56];
        file.read_exact_at(&mut entry, start + index * size)?;
        if entry[..4] == PT_LOAD {
            segments.push(Segment { offset: word(&entry, 8), address: word(&entry, 16), bytes: word(&entry, 32) });
        }
    }
    Ok(segments)
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn half(bytes: &[u8], at: usize) -> u64 {
    u64::from(bytes[at]) | u64::from(bytes[at + 1]) << 8
}

/// Until only its entry in the table of processes is left: a core is written before that.
fn wait_for_end(id: i32) -> Result<()> {
    let started = Instant::now();
    loop {
        let stat = std::fs::read_to_string(Path::new("/proc").join(id.to_string()).join("stat")).unwrap_or_default();
        // 4711 (mariadbd) Z ..
        if stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z')) {
            return Ok(());
        }
        if started.elapsed() > DEADLINE {
            bail!("the server has not ended after SIGABRT");
        }
        interrupt::sleep(Duration::from_millis(10))?;
    }
}

const PATTERN: &str = "/proc/sys/kernel/core_pattern";
const PT_LOAD: [u8; 4] = [1, 0, 0, 0];
const DEADLINE: Duration = Duration::from_secs(60);
