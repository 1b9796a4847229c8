//! A core dump of a server, made by the kernel.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use elf::ElfStream;
use elf::abi::PT_LOAD;
use elf::endian::NativeEndian;
use elf::segment::ProgramHeader;
use memchr::memmem;
use procfs::process::{LimitValue, ProcState, Process};
use rustix::process::{Pid, Signal, kill_process};

use crate::interrupt;
use crate::machine::paths;
use crate::rig::Home;

/// What became of the attempt to get a core.
pub enum Outcome {
    /// The core.
    Core(Core),
    /// Why there can be none on this machine.
    Impossible(String),
}

/// A core file.
pub struct Core {
    file: File,
    /// Memory of the process as the core has it; none of the file's bytes belong to memory that was left out.
    segments: Vec<ProgramHeader>,
}

/// Kills the server of `home`, which is `process`, by SIGABRT, and takes the core that the kernel writes.
pub fn of(home: &Home, process: &Process) -> Result<Outcome> {
    let pattern = std::fs::read_to_string(PATTERN).with_context(|| format!("reading {PATTERN}"))?;
    let pattern = pattern.trim();
    if pattern.starts_with('|') || pattern.contains('/') || pattern.is_empty() {
        return Ok(Outcome::Impossible(format!(
            "the kernel hands cores to '{pattern}' ({PATTERN}); with `sysctl kernel.core_pattern=core` it writes a file"
        )));
    }
    if let LimitValue::Value(limit) = process.limits()?.max_core_file_size.soft_limit {
        return Ok(Outcome::Impossible(format!("cores are limited to {limit} bytes (ulimit -H -c)")));
    }
    kill_process(Pid::from_raw(process.pid).context("a process id")?, Signal::ABORT).context("sending SIGABRT")?;
    // A core is written before only the entry in the table of processes is left.
    interrupt::wait_for("the kernel writes a core", Duration::from_secs(60), || {
        Ok(process.stat().and_then(|stat| stat.state()).is_ok_and(|state| state == ProcState::Zombie).then_some(()))
    })?;
    let prefix = pattern.split('%').next().unwrap_or_default();
    let names = paths::names_in(&home.data())?;
    let name = names.iter().find(|name| name.starts_with(prefix)).context("the kernel wrote no core")?;
    Ok(Outcome::Core(Core::open(&home.data().join(name))?))
}

impl Core {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let stream = ElfStream::<NativeEndian, _>::open_stream(file.try_clone()?)
            .with_context(|| format!("in {}", path.display()))?;
        let segments: Vec<_> = stream.segments().iter().copied().filter(|it| it.p_type == PT_LOAD).collect();
        let core = Self { file, segments };
        let end = core.segments.iter().map(|segment| segment.p_offset + segment.p_filesz).max().unwrap_or(0);
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
            let mut bytes = vec![0; usize::try_from(segment.p_filesz)?];
            self.file.read_exact_at(&mut bytes, segment.p_offset)?;
            for (needle, hits) in needles.iter().zip(&mut found) {
                hits.extend(memmem::find_iter(&bytes, needle).map(|offset| segment.p_vaddr + offset as u64));
            }
        }
        Ok(found)
    }

    /// Whether the core has what was at `address`.
    pub fn contains(&self, address: u64) -> bool {
        self.segments.iter().any(|segment| (segment.p_vaddr..segment.p_vaddr + segment.p_filesz).contains(&address))
    }
}

const PATTERN: &str = "/proc/sys/kernel/core_pattern";
