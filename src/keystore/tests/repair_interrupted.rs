//! The power fails, or a sync does, at each step of a repair: a start can do with what there is what it could do before, and a
//! second repair goes on.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::super::files::Disk;
use super::super::offline::repair::{By, Examination, Outcome, Statement, examine_on};
use super::lossy_disk::{Faults, LossyDisk, PowerFailure, Spared};
use super::repair::trusting;
use super::*;
use crate::keystore::test_kms::TEST_MASTER_KEY;

const FOLDER: &str = "/keys";
const DATADIR: &str = "/data";

/// What is to be repaired, and what must never be lost by it.
struct Story {
    damage: fn(&LossyDisk),
    statement: fn() -> Statement,
    /// Files whose contents somebody may want to see again.
    precious: &'static [&'static str],
}

fn path(file: &str) -> String {
    format!("{}/{file}", if file == MEMORY { DATADIR } else { FOLDER })
}

fn read_on(disk: &LossyDisk, file: &str) -> Option<Vec<u8>> {
    Some(disk.read(Path::new(&path(file)), u64::MAX).ok()?.0)
}

fn all_contents(disk: &LossyDisk) -> Vec<Vec<u8>> {
    let of = |folder: &'static str| {
        let listed = disk.list(Path::new(folder)).expect("list");
        listed.into_iter().filter_map(move |it| Some(disk.read(&Path::new(folder).join(it.name), u64::MAX).ok()?.0))
    };
    of(FOLDER).chain(of(DATADIR)).collect()
}

/// In place of what is there, and synced.
fn exchange(disk: &LossyDisk, file: &str, contents: Option<&[u8]>) {
    let _ = disk.remove(Path::new(&path(file)));
    contents.into_iter().for_each(|contents| disk.copy_in(&path(file), contents));
}

fn open(disk: &LossyDisk, setup: &Setup) -> Result<KeyStore, KeyStoreError> {
    let opening = setup.opening(Role::Server, setup.kms.clone());
    let (folder, datadir) = (Path::new(FOLDER), Path::new(DATADIR));
    KeyStore::open_on(Arc::new(disk.clone()), Opening { folder, datadir, ..opening })
}

/// Keys 1.1 and 1.2, re-wrapped a moment ago.
fn used() -> LossyDisk {
    let disk = LossyDisk::new(&[FOLDER, DATADIR]);
    let setup = Setup::new();
    let store = open(&disk, &setup).expect("open");
    store.latest_or_new(id(1)).expect("new");
    store.rotate(id(1)).expect("rotated");
    store.rewrap(None).expect("re-wrapped");
    disk.power_comes_back(Spared { names: true, contents: true });
    disk
}

fn examined(disk: &LossyDisk, statement: &Statement) -> Examination {
    let kms = TestKms::default();
    let (folder, datadir) = (Path::new(FOLDER), Path::new(DATADIR));
    examine_on(Arc::new(disk.clone()), folder, datadir, &kms, statement, Duration::from_secs(5)).expect("examined")
}

/// Answers whether all that was to be repaired is.
fn repair(disk: &LossyDisk, statement: &Statement) -> bool {
    let outcomes = examined(disk, statement).repair();
    outcomes.iter().all(|outcome| matches!(outcome, Outcome::Left | Outcome::Repaired(_)))
}

impl Story {
    fn begin(&self) -> LossyDisk {
        let disk = used();
        (self.damage)(&disk);
        disk.power_comes_back(Spared { names: true, contents: true });
        disk
    }

    fn precious(&self, disk: &LossyDisk) -> Vec<Vec<u8>> {
        self.precious.iter().map(|file| read_on(disk, file).expect("there")).collect()
    }

    /// After a stop: nothing is lost; a second repair does what is left; and a start is content then.
    fn check(&self, disk: &LossyDisk, precious: &[Vec<u8>]) -> Result<(), String> {
        let is_there = |contents: &&Vec<u8>| all_contents(disk).contains(contents);
        if let Some(lost) = precious.iter().find(|contents| !is_there(contents)) {
            return Err(format!("lost: {}", String::from_utf8_lossy(lost)));
        }
        if !repair(disk, &(self.statement)()) {
            return Err("the second repair fails".to_owned());
        }
        let left = examined(disk, &(self.statement)());
        if let Some(finding) = left.findings().iter().find(|finding| finding.by != By::NextStart) {
            return Err(format!("left: {}", finding.found));
        }
        let is_there = |contents: &&Vec<u8>| all_contents(disk).contains(contents);
        if !precious.iter().all(|contents| is_there(&contents)) {
            return Err("lost by the second repair".to_owned());
        }
        let setup = Setup::new();
        let store = open(disk, &setup).map_err(|error| error.to_string())?;
        let log = std::mem::take(&mut *setup.log.0.lock().expect("log"));
        if let Some(line) = log.into_iter().find(|line| !line.starts_with("note: ")) {
            return Err(line);
        }
        let keys = [1, 2].map(|version| key(&store, 1, version).map(|key| key.len()));
        match (keys, store.rotate(id(1))) {
            ([Some(16), Some(16)], Ok(next)) if next == version(3) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }

    /// Lets the power fail at each step, with each kind of loss. Answers how many steps there are.
    fn survives(&self, faults: &Faults) -> Result<usize, String> {
        let begin = self.begin();
        let precious = self.precious(&begin);
        for step in 1.. {
            let disk = begin.copy();
            disk.set_faults(Faults { power_fails_at: Some(step), ..faults.clone() });
            let work = || repair(&disk, &(self.statement)());
            let is_through = match catch_unwind(AssertUnwindSafe(work)) {
                Ok(true) => true,
                Ok(false) => return Err(format!("not repaired at step {step}")),
                Err(end) if end.is::<PowerFailure>() => false,
                Err(panic) => resume_unwind(panic),
            };
            for (names, contents) in [(false, false), (false, true), (true, false), (true, true)] {
                let (disk, spared) = (disk.copy(), Spared { names, contents });
                disk.power_comes_back(spared);
                self.check(&disk, &precious).map_err(|error| format!("at step {step}, {spared:?}: {error}"))?;
            }
            if is_through {
                return Ok(step);
            }
        }
        Err("there is no end to it".to_owned())
    }
}

const NOTHING: fn() -> Statement = Statement::default;

fn damaged_manifest() -> Story {
    fn damage(disk: &LossyDisk) {
        let manifest = read_on(disk, MANIFEST).expect("a manifest");
        exchange(disk, MANIFEST, manifest.trim_ascii_end().strip_suffix(b"}"));
    }
    Story { damage, statement: NOTHING, precious: &[MANIFEST] }
}

fn lost_manifest() -> Story {
    Story {
        damage: |disk| exchange(disk, MANIFEST, Some(b"\0\0\0")),
        statement: || trusting(&[TEST_MASTER_KEY]),
        precious: &[MANIFEST],
    }
}

fn gone_key_file() -> Story {
    Story {
        damage: |disk| exchange(disk, "aws-kms-key.1.2", None),
        statement: NOTHING,
        precious: &["aws-kms-key.1.2.before-rewrap"],
    }
}

fn damaged_key_file() -> Story {
    Story {
        damage: |disk| exchange(disk, "aws-kms-key.1.2", Some(b"garbage")),
        statement: NOTHING,
        precious: &["aws-kms-key.1.2", "aws-kms-key.1.2.before-rewrap"],
    }
}

fn another_folder() -> Story {
    Story {
        damage: |disk| {
            exchange(disk, FOLDER_ID, Some(b"{"));
            exchange(disk, MEMORY, Some(b"nothing"));
        },
        statement: || Statement { folder_is_right: true, ..Statement::default() },
        precious: &[FOLDER_ID, MEMORY],
    }
}

/// Copies that a start could not do without are kept.
fn all_at_once() -> Story {
    Story {
        damage: |disk| {
            (damaged_manifest().damage)(disk);
            (damaged_key_file().damage)(disk);
            (another_folder().damage)(disk);
            disk.copy_in("/keys/.aws-kms-key.new-abc", b"half");
        },
        statement: another_folder().statement,
        precious: &[MANIFEST, "aws-kms-key.1.2", "aws-kms-key.1.2.before-rewrap", FOLDER_ID, MEMORY],
    }
}

#[test]
fn a_repair_that_is_interrupted_at_any_step_loses_nothing_and_is_done_by_a_second_one() {
    let stories = [damaged_manifest, lost_manifest, gone_key_file, damaged_key_file, another_folder, all_at_once];
    for (number, story) in stories.into_iter().enumerate() {
        let steps = story().survives(&Faults::default()).unwrap_or_else(|error| panic!("{number}: {error}"));
        assert!(steps > 5, "{number}: {steps}");
    }
}

#[test]
fn a_repair_whose_disk_fails_says_so_and_a_second_one_does_it() {
    for story in [damaged_manifest, gone_key_file, damaged_key_file, another_folder, all_at_once] {
        let story = story();
        let counted = story.begin();
        counted.set_faults(Faults::default());
        assert!(repair(&counted, &(story.statement)()));
        for failing in 1..=counted.syncs() {
            let disk = story.begin();
            let precious = story.precious(&disk);
            disk.set_faults(Faults { failing_sync: Some(failing), ..Faults::default() });
            assert!(!repair(&disk, &(story.statement)()), "sync {failing}");
            disk.set_faults(Faults::default());
            story.check(&disk, &precious).unwrap_or_else(|error| panic!("sync {failing}: {error}"));
        }
    }
}

/// Without these syncs of what is kept, it would be lost: so the first test would find that they are missing.
#[test]
fn what_is_kept_is_on_the_disk_before_anything_takes_its_place() {
    for (story, sync) in [(damaged_manifest as fn() -> Story, 1), (damaged_key_file, 3), (another_folder, 1)] {
        let faults = Faults { forgotten_sync: Some(sync), ..Faults::default() };
        assert!(story().survives(&faults).is_err(), "sync {sync}");
    }
}
