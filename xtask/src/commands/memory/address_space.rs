//! The memory of a running process.

use std::fmt;
use std::os::unix::fs::FileExt;

use anyhow::{Result, bail};
use memchr::memmem;
use procfs::process::{MMPermissions, MMapPath, MemoryMap, Process, VmFlags};

/// A place where something was found.
pub struct Hit {
    /// Where in the process's memory.
    pub address: u64,
    mapping: MemoryMap,
}

/// Everywhere in the memory of `process`, which must be ours, that each of `needles` is.
pub fn find<const N: usize>(process: &Process, needles: [&[u8]; N]) -> Result<[Vec<Hit>; N]> {
    let memory = process.mem()?;
    let mut found = [(); N].map(|()| Vec::new());
    for mapping in process.smaps()?.into_iter().filter(|mapping| mapping.perms.contains(MMPermissions::READ)) {
        let (from, to) = mapping.address;
        let mut bytes = vec![0; usize::try_from(to - from)?];
        if let Err(error) = memory.read_exact_at(&mut bytes, from) {
            // Pages of the kernel's clock, which it keeps for itself.
            if is_clock(&mapping.pathname) {
                continue;
            }
            bail!("reading the server's memory at {from:x} in {:?}: {error}", mapping.pathname);
        }
        for (needle, hits) in needles.iter().zip(&mut found) {
            let offsets = memmem::find_iter(&bytes, needle);
            hits.extend(offsets.map(|offset| Hit { address: from + offset as u64, mapping: mapping.clone() }));
        }
    }
    Ok(found)
}

impl Hit {
    /// Whether it stays out of swap space, and is left out of core dumps.
    pub fn is_in_secret_memory(&self) -> bool {
        self.mapping.extension.vm_flags.contains(VmFlags::LO | VmFlags::DD)
    }
}

impl fmt::Display for Hit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MemoryMap { address: (from, to), pathname, extension, .. } = &self.mapping;
        write!(f, "{:x} in {from:x}-{to:x} {pathname:?} ({:?})", self.address, extension.vm_flags)
    }
}

fn is_clock(path: &MMapPath) -> bool {
    matches!(path, MMapPath::Vvar) || matches!(path, MMapPath::Other(name) if name.starts_with("vvar"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process;

    #[test]
    fn something_in_a_process_is_found_where_it_is() -> Result<()> {
        let secret: String = std::iter::repeat_with(fastrand::alphanumeric).take(32).collect();
        let child = process::Process::start("sleep", &duct::cmd!("sleep", "60").env("SECRET", &secret))?;
        // The environment lies on the stack, once the program has been replaced.
        let process = Process::new(child.id()?)?;
        while process.stat()?.comm != "sleep" {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let [hits, none] = find(&process, [secret.as_bytes(), b"\xffnot there\xff"])?;
        assert!(hits.iter().any(|hit| hit.mapping.pathname == MMapPath::Stack && !hit.is_in_secret_memory()));
        assert!(none.is_empty());
        Ok(())
    }

    #[test]
    fn memory_that_is_locked_and_left_out_of_cores_is_told_apart() -> Result<()> {
        let smaps = b"1000-3000 r--p 00000000 00:0f 12   /usr/lib/a b\nSize: 8 kB\nVmFlags: rd mr\n\
                      4000-5000 -w-p 00000000 00:00 0 \nVmFlags: wr lo dd\n\
                      6000-7000 -w-p 00000000 00:00 0 \nVmFlags: wr lo\n";
        let mappings = <procfs::process::MemoryMaps as procfs::FromBufRead>::from_buf_read(&smaps[..])?;
        let secret = |mapping: &MemoryMap| Hit { address: 0, mapping: mapping.clone() }.is_in_secret_memory();
        assert_eq!(mappings.iter().map(secret).collect::<Vec<_>>(), [false, true, false]);
        Ok(())
    }
}
