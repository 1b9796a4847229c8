//! The power fails at each step, and the disk forgets what was not synced.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::lossy_disk::{Faults, LossyDisk, PowerFailure, Spared};
use super::*;

const FOLDER: &str = "/keys";

/// What one server does until the power fails.
struct Story {
    /// What there was before. It is synced.
    before: fn(&KeyStore),
    /// Files that somebody has copied in, which nobody has synced.
    copied: &'static [(&'static str, u8)],
    /// What is done.
    work: fn(&KeyStore),
    faults: Faults,
}

/// Keys as they were seen.
type Seen = BTreeMap<KeyName, Vec<u8>>;

fn open(disk: &LossyDisk) -> (KeyStore, Setup) {
    try_open(disk).expect("open")
}

fn try_open(disk: &LossyDisk) -> Result<(KeyStore, Setup), KeyStoreError> {
    let setup = Setup::new();
    let opening = Opening { folder: Path::new(FOLDER), ..setup.opening(Role::Server, setup.kms.clone()) };
    KeyStore::open_on(Arc::new(disk.clone()), opening).map(|store| (store, setup))
}

fn published(keys: &PublishedKeys) -> Seen {
    let versions = |id| (1..=keys.latest(id).map_or(0, KeyVersion::value)).map(move |version| (id, version));
    let names = keys.ids().into_iter().flat_map(versions);
    let names = names.filter_map(|(id, version)| KeyName::new(id.value(), version));
    names.filter_map(|name| Some((name, keys.with_key(name, |key| key.as_bytes().to_vec())?))).collect()
}

impl Story {
    /// Lets the power fail at each step, with each kind of loss. Answers how many steps there are, or what was found to be
    /// wrong afterwards.
    fn survives(&self) -> Result<usize, String> {
        for step in 1.. {
            let mut is_through = false;
            for (names, contents) in [(false, false), (false, true), (true, false), (true, true)] {
                let spared = Spared { names, contents };
                let disk = LossyDisk::new(FOLDER);
                (self.before)(&open(&disk).0);
                disk.power_comes_back(Spared { names: true, contents: true });
                for (file, byte) in self.copied {
                    disk.copy_in(&format!("{FOLDER}/{file}"), wrap(&[*byte; 16]).as_bytes());
                }
                disk.set_faults(Faults { power_fails_at: Some(step), ..self.faults.clone() });
                let keys: &'static PublishedKeys = Box::leak(Box::default());
                let work = || {
                    let setup = Setup::new();
                    let opening = setup.opening(Role::Server, setup.kms.clone());
                    let opening = Opening { folder: Path::new(FOLDER), published: keys, ..opening };
                    (self.work)(&KeyStore::open_on(Arc::new(disk.clone()), opening).expect("open"));
                };
                is_through = match catch_unwind(AssertUnwindSafe(work)) {
                    Ok(()) => true,
                    Err(end) if end.is::<PowerFailure>() => false,
                    Err(panic) => resume_unwind(panic),
                };
                let seen = published(keys);
                keys.clear();
                disk.power_comes_back(spared);
                self.check(&disk, seen).map_err(|error| format!("at step {step}, {spared:?}: {error}"))?;
            }
            if is_through {
                return Ok(step);
            }
        }
        Err("there is no end to it".to_owned())
    }

    /// All that was ever published is there, and what is there is whole; no number is used again.
    fn check(&self, disk: &LossyDisk, seen: Seen) -> Result<(), String> {
        let (store, setup) = try_open(disk).map_err(|error| error.to_string())?;
        let found = published(store.published);
        let log = std::mem::take(&mut *setup.log.0.lock().expect("log"));
        let is_expected = |line: &String| line.starts_with("note: ") || line.contains("there is no manifest");
        if let Some(line) = log.iter().find(|line| !is_expected(line)) {
            return Err(line.clone());
        }
        for (name, key) in &seen {
            if found.get(name) != Some(key) {
                return Err(format!("{name} was published, and is another or none"));
            }
            let adopted = format!("adopted {name}:");
            let is_new = |line: &String| line.contains(&adopted) || line.contains("there is no manifest");
            if log.iter().any(is_new) && !self.faults.nothing_is_replaced {
                return Err(format!("{name} was published, and is not in the manifest"));
            }
        }
        for id in store.published.ids() {
            let version = store.rotate(id).map_err(|error| error.to_string())?;
            if seen.contains_key(&KeyName { id, version }) {
                return Err(format!("{id} {version:?} was there before"));
            }
        }
        store.published.clear();
        Ok(())
    }
}

fn nothing(_: &KeyStore) {}

fn make_key_1(store: &KeyStore) {
    store.latest_or_new(id(1)).expect("new");
}

fn rotate_key_1(store: &KeyStore) {
    store.rotate(id(1)).expect("rotate");
}

fn first_key() -> Story {
    Story { before: nothing, copied: &[], work: make_key_1, faults: Faults::default() }
}

fn rotation() -> Story {
    Story { before: make_key_1, copied: &[], work: rotate_key_1, faults: Faults::default() }
}

fn rotation_without_a_manifest() -> Story {
    Story { faults: Faults { nothing_is_replaced: true, ..Faults::default() }, ..rotation() }
}

#[test]
fn what_was_published_is_whole_after_a_power_failure_at_any_step() {
    for story in [first_key(), rotation(), rotation_without_a_manifest()] {
        let steps = story.survives().expect("nothing is lost");
        assert!(steps > 5, "{steps}");
    }
}

/// Each of these syncs is taken out, and is missed: so the test above would find it.
#[test]
fn without_any_one_of_the_syncs_something_would_be_lost() {
    // The key file, its name; the manifest, its name.
    for (story, syncs) in [(first_key as fn() -> Story, &[1, 3, 4][..]), (rotation, &[1, 3, 4])] {
        needs(story, 4, syncs);
    }
    // The sync of the manifest's name makes the key file's name last, too. Here there is none.
    needs(rotation_without_a_manifest, 3, &[1, 2]);
}

fn needs(story: fn() -> Story, count: usize, needed: &[usize]) {
    let disk = LossyDisk::new(FOLDER);
    (story().before)(&open(&disk).0);
    disk.set_faults(story().faults);
    (story().work)(&open(&disk).0);
    assert_eq!(disk.syncs(), count);
    for sync in needed {
        let mut story = story();
        story.faults.forgotten_sync = Some(*sync);
        assert!(story.survives().is_err(), "sync {sync}");
    }
}
