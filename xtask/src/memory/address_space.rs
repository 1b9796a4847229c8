//! The memory of a running process.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use memchr::memmem;

/// What a process has mapped.
pub struct AddressSpace {
    memory: File,
    mappings: Vec<Rc<Mapping>>,
}

/// One line of `/proc/PID/maps`, with the flags of smaps.
pub struct Mapping {
    from: u64,
    to: u64,
    readable: bool,
    name: String,
    flags: Vec<String>,
}

/// A place where something was found.
pub struct Hit {
    /// Where in the process's memory.
    pub address: u64,
    /// In which mapping.
    pub mapping: Rc<Mapping>,
}

impl AddressSpace {
    /// That of the process `id`, which must be ours.
    pub fn of(id: i32) -> Result<Self> {
        let smaps = std::fs::read_to_string(format!("/proc/{id}/smaps")).context("reading the server's smaps")?;
        let memory = File::open(format!("/proc/{id}/mem")).context("opening the server's memory")?;
        Ok(Self { memory, mappings: parse(&smaps).into_iter().map(Rc::new).collect() })
    }

    /// Everywhere that each of `needles` is.
    pub fn find<const N: usize>(&self, needles: [&[u8]; N]) -> Result<[Vec<Hit>; N]> {
        let mut found = [(); N].map(|()| Vec::new());
        for mapping in self.mappings.iter().filter(|mapping| mapping.readable) {
            let mut bytes = vec![0; usize::try_from(mapping.to - mapping.from)?];
            if let Err(error) = self.memory.read_exact_at(&mut bytes, mapping.from) {
                // Pages of the kernel's clock, which it keeps for itself.
                if mapping.name.starts_with("[vvar") {
                    continue;
                }
                bail!("reading the server's memory at {mapping}: {error}");
            }
            for (needle, hits) in needles.iter().zip(&mut found) {
                hits.extend(
                    memmem::find_iter(&bytes, needle)
                        .map(|offset| Hit { address: mapping.from + offset as u64, mapping: mapping.clone() }),
                );
            }
        }
        Ok(found)
    }
}

impl Mapping {
    /// Whether it stays out of swap space.
    pub fn is_locked(&self) -> bool {
        self.has("lo")
    }

    /// Whether it is left out of core dumps.
    pub fn is_left_out(&self) -> bool {
        self.has("dd")
    }

    fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|other| other == flag)
    }
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.name.is_empty() { "anonymous" } else { &self.name };
        write!(f, "{:x}-{:x} {name} ({})", self.from, self.to, self.flags.join(" "))
    }
}

impl fmt::Display for Hit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x} in {}", self.address, self.mapping)
    }
}

fn parse(smaps: &str) -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in smaps.lines() {
        if let Some(mapping) = parse_first_line(line) {
            mappings.push(mapping);
        } else if let (Some(flags), Some(last)) = (line.strip_prefix("VmFlags:"), mappings.last_mut()) {
            last.flags = flags.split_whitespace().map(str::to_owned).collect();
        }
    }
    mappings
}

/// `7f8ad0000000-7f8ad02e9000 rw-p 00000000 00:00 0    [heap]`
fn parse_first_line(line: &str) -> Option<Mapping> {
    let (range, rest) = line.split_once(' ')?;
    let (from, to) = range.split_once('-')?;
    let address = |text| u64::from_str_radix(text, 16).ok();
    Some(Mapping {
        from: address(from)?,
        to: address(to)?,
        readable: rest.starts_with('r'),
        name: rest.split_whitespace().skip(4).collect::<Vec<_>>().join(" "),
        flags: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn something_in_a_process_is_found_where_it_is() -> Result<()> {
        let secret: String = std::iter::repeat_with(fastrand::alphanumeric).take(32).collect();
        let mut child = Command::new("sleep").arg("60").env("SECRET", &secret).spawn()?;
        // The environment lies on the stack, once the program has been replaced.
        let id = i32::try_from(child.id())?;
        while std::fs::read_to_string(format!("/proc/{id}/comm"))?.trim() != "sleep" {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let found = AddressSpace::of(id).and_then(|space| space.find([secret.as_bytes(), b"\xffnot there\xff"]));
        child.kill()?;
        child.wait()?;
        let [hits, none] = found?;
        assert!(hits.iter().any(|hit| hit.mapping.name == "[stack]" && !hit.mapping.is_left_out()));
        assert!(none.is_empty());
        Ok(())
    }

    #[test]
    fn ranges_names_and_flags_are_read_from_smaps() {
        let mappings = parse(
            "1000-3000 r--p 00000000 00:0f 12   /usr/lib/a b\nSize: 8 kB\nVmFlags: rd mr\n\
             4000-5000 -w-p 00000000 00:00 0\nVmFlags: wr lo dd\n",
        );
        let [first, second] = &mappings[..] else { panic!("two mappings") };
        assert_eq!((first.from, first.to, first.readable, &*first.name), (0x1000, 0x3000, true, "/usr/lib/a b"));
        assert!(!first.is_locked() && !first.is_left_out());
        assert!(!second.readable && second.is_locked() && second.is_left_out());
    }
}
