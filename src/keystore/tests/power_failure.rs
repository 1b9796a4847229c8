//! The power fails at each step, and the disk forgets what was not synced.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering;

use super::super::extra_copies::MakeExtraCopies;
use super::super::files::Disk;
use super::extra_master_keys::{ONE, list};
use super::lossy_disk::{Faults, LossyDisk, PowerFailure, Spared};
use super::*;

const FOLDER: &str = "/keys";
const DATADIR: &str = "/data";

/// What one server does until the power fails.
struct Story {
    /// What there was before, all of it synced.
    before: fn(&LossyDisk),
    /// What somebody has done since, which is not synced.
    since: fn(&LossyDisk),
    /// What the server does, once it is started.
    work: fn(&KeyStore, &LossyDisk),
    faults: Faults,
    /// Whether key 1 is a copy that somebody else has made: only if it was published it must be whole.
    is_copied: bool,
    /// Whether the alias that is configured stands for another master key since.
    has_new_master_key: bool,
}

const STORY: Story = Story {
    before: |_| {},
    since: |_| {},
    work: |_, _| {},
    faults: Faults {
        power_fails_at: None,
        forgotten_sync: None,
        failing_sync: None,
        manifest_stays: false,
        writes_garbage: false,
    },
    is_copied: false,
    has_new_master_key: false,
};

/// Keys as they were seen.
type Seen = BTreeMap<KeyName, Vec<u8>>;

fn open(disk: &LossyDisk) -> (KeyStore, Setup) {
    let setup = Setup::new();
    let store = try_open(disk, &setup, Box::leak(Box::default())).expect("open");
    (store, setup)
}

fn try_open(disk: &LossyDisk, setup: &Setup, published: &'static PublishedKeys) -> Result<KeyStore, KeyStoreError> {
    let opening = setup.opening(Role::Server, setup.kms.clone());
    let (folder, datadir) = (Path::new(FOLDER), Path::new(DATADIR));
    KeyStore::open_on(Arc::new(disk.clone()), Opening { folder, datadir, published, ..opening })
}

fn published(keys: &PublishedKeys) -> Seen {
    let versions = |id| (1..=keys.latest(id).map_or(0, KeyVersion::value)).map(move |version| (id, version));
    let names = keys.ids().into_iter().flat_map(versions);
    let names = names.filter_map(|(id, version)| KeyName::new(id.value(), version));
    names.filter_map(|name| Some((name, keys.with_key(name, |key| key.as_bytes().to_vec())?))).collect()
}

impl Story {
    fn begin(&self) -> LossyDisk {
        let disk = LossyDisk::new(&[FOLDER, DATADIR]);
        (self.before)(&disk);
        disk.power_comes_back(Spared { names: true, contents: true });
        (self.since)(&disk);
        disk
    }

    /// For the work.
    fn open(&self, disk: &LossyDisk, published: &'static PublishedKeys) -> KeyStore {
        let setup = Setup::new();
        setup.kms.has_other_master_key.store(self.has_new_master_key, Ordering::Relaxed);
        try_open(disk, &setup, published).expect("open")
    }

    /// Lets the power fail at each step, with each kind of loss. Answers how many steps there are, or what was found to be
    /// wrong afterwards.
    fn survives(&self) -> Result<usize, String> {
        let begin = self.begin();
        for step in 1.. {
            let disk = begin.copy();
            disk.set_faults(Faults { power_fails_at: Some(step), ..self.faults.clone() });
            let keys: &'static PublishedKeys = Box::leak(Box::default());
            let work = || (self.work)(&self.open(&disk, keys), &disk);
            let is_through = match catch_unwind(AssertUnwindSafe(work)) {
                Ok(()) => true,
                Err(end) if end.is::<PowerFailure>() => false,
                Err(panic) => resume_unwind(panic),
            };
            let seen = published(keys);
            keys.clear();
            for (names, contents) in [(false, false), (false, true), (true, false), (true, true)] {
                let (disk, spared) = (disk.copy(), Spared { names, contents });
                disk.power_comes_back(spared);
                self.check(&disk, &seen).map_err(|error| format!("at step {step}, {spared:?}: {error}"))?;
            }
            if is_through {
                return Ok(step);
            }
        }
        Err("there is no end to it".to_owned())
    }

    /// All that was ever published is there, and what is there is whole; no number is used again.
    fn check(&self, disk: &LossyDisk, seen: &Seen) -> Result<(), String> {
        let is_copy_lost = |line: &str| {
            let losses = ["is empty", "is gone"].map(|loss| format!("aws-kms-key.1.1 {loss}"));
            self.is_copied && seen.is_empty() && losses.iter().any(|loss| line.contains(loss))
        };
        if !seen.is_empty() && disk.kind(&Path::new(DATADIR).join(MEMORY)).is_err() {
            return Err("the datadir does not remember that it has keys".to_owned());
        }
        let setup = Setup::new();
        let store = match try_open(disk, &setup, Box::leak(Box::default())) {
            Ok(store) => store,
            // It was the only key.
            Err(error) if is_copy_lost(&error.to_string()) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        let found = published(store.published);
        let log = std::mem::take(&mut *setup.log.0.lock().expect("log"));
        let is_expected = |line: &String| {
            let is_from_copy = self.is_copied && line.contains("key 1 version 1 has no key file that can be used");
            line.starts_with("note: ") || line.contains("there is no manifest") || is_copy_lost(line) || is_from_copy
        };
        if let Some(line) = log.iter().find(|line| !is_expected(line)) {
            return Err(line.clone());
        }
        for (name, key) in seen {
            if found.get(name) != Some(key) {
                return Err(format!("{name} was published, and is another or none"));
            }
            let adopted = format!("adopted {name}:");
            let is_new = |line: &String| line.contains(&adopted) || line.contains("there is no manifest");
            if log.iter().any(is_new) && !self.faults.manifest_stays {
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

fn copy_in_key_1(disk: &LossyDisk) {
    disk.copy_in("/keys/aws-kms-key.1.1", wrap(&[1; 16]).as_bytes());
}

fn start(disk: &LossyDisk) {
    open(disk);
}

fn first_key() -> Story {
    let work = |store: &KeyStore, _: &LossyDisk| {
        store.latest_or_new(id(1)).expect("new");
    };
    Story { work, ..STORY }
}

/// The first try fails when the new name is synced; the file is there.
fn first_key_at_the_second_try() -> Story {
    let work = |store: &KeyStore, _: &LossyDisk| {
        assert!(store.latest_or_new(id(1)).is_err());
        store.forget_failures();
        store.latest_or_new(id(1)).expect("found");
    };
    Story { work, faults: Faults { failing_sync: Some(4), ..Faults::default() }, ..first_key() }
}

fn rotation() -> Story {
    let before = |disk: &LossyDisk| {
        open(disk).0.latest_or_new(id(1)).expect("new");
    };
    let work = |store: &KeyStore, _: &LossyDisk| {
        store.rotate(id(1)).expect("rotate");
    };
    Story { before, work, ..STORY }
}

fn rotation_under_a_new_master_key() -> Story {
    Story { has_new_master_key: true, ..rotation() }
}

fn re_wrap() -> Story {
    let work = |store: &KeyStore, _: &LossyDisk| {
        store.new_keys().change(|settings| settings.master_key = MasterKeyId::parse("arn:aws:kms:eu-west-1:1:key/new"));
        assert_eq!(store.rewrap(None).expect("re-wrapped").count, 1);
    };
    Story { work, ..rotation() }
}

/// Copied from elsewhere, or made by another server with the same folder a moment ago.
fn file_found_at_start() -> Story {
    Story { before: start, since: copy_in_key_1, is_copied: true, ..STORY }
}

fn file_found_later() -> Story {
    let work = |store: &KeyStore, disk: &LossyDisk| {
        copy_in_key_1(disk);
        store.latest_or_new(id(1)).expect("found");
    };
    Story { before: start, work, is_copied: true, ..STORY }
}

/// The manifest knows the file, which was lost, and is copied in from a backup.
fn file_restored() -> Story {
    let before = |disk: &LossyDisk| {
        copy_in_key_1(disk);
        open(disk);
        disk.remove(Path::new("/keys/aws-kms-key.1.1")).expect("remove");
    };
    Story { before, since: copy_in_key_1, is_copied: true, ..STORY }
}

/// Copies under an extra master key are made, and made anew with the key file; at the end, they are dropped.
fn extra_copies() -> Story {
    let work = |store: &KeyStore, disk: &LossyDisk| {
        let set = |arns: &[&str]| store.new_keys().change(|settings| settings.extra_master_keys = list(arns));
        let setup = Setup::new();
        let other = Arc::new(try_open(disk, &setup, Box::leak(Box::default())).expect("open"));
        other.new_keys().change(|settings| settings.extra_master_keys = list(&[ONE]));
        assert_eq!(MakeExtraCopies::new(other).run(Instant::now()), None);
        set(&[ONE]);
        assert_eq!(store.rewrap(None).expect("re-wrapped").count, 1);
        set(&[]);
        assert_eq!(store.rewrap(None).expect("re-wrapped").count, 1);
    };
    Story { work, ..rotation() }
}

/// The key file is made of garbage by somebody, and the key is used from its copy; what it goes on with is on the disk.
fn copy_of_a_damaged_file() -> Story {
    let before = |disk: &LossyDisk| {
        let setup = Setup::new();
        let store = Arc::new(try_open(disk, &setup, Box::leak(Box::default())).expect("open"));
        store.latest_or_new(id(1)).expect("new");
        store.new_keys().change(|settings| settings.extra_master_keys = list(&[ONE]));
        assert_eq!(MakeExtraCopies::new(store).run(Instant::now()), None);
    };
    let since = |disk: &LossyDisk| {
        let path = Path::new("/keys/aws-kms-key.1.1.extra");
        let (copies, _) = disk.read(path, u64::MAX).expect("copies");
        ["/keys/aws-kms-key.1.1", "/keys/aws-kms-key.1.1.extra"].iter().for_each(|path| {
            disk.remove(Path::new(path)).expect("remove");
        });
        disk.power_comes_back(Spared { names: true, contents: true });
        disk.copy_in("/keys/aws-kms-key.1.1.extra", &copies);
    };
    let work = |store: &KeyStore, _: &LossyDisk| {
        assert_eq!(store.rewrap(None).expect("re-wrapped").count, 1);
    };
    Story { before, since, work, is_copied: true, ..STORY }
}

fn without_a_manifest(story: Story) -> Story {
    Story { faults: Faults { manifest_stays: true, ..story.faults }, ..story }
}

#[test]
fn what_was_published_is_whole_after_a_power_failure_at_any_step() {
    let stories = [
        first_key,
        first_key_at_the_second_try,
        rotation,
        re_wrap,
        extra_copies,
        copy_of_a_damaged_file,
        file_found_at_start,
        file_found_later,
        file_restored,
    ];
    for (number, story) in stories.into_iter().enumerate() {
        for story in [story(), without_a_manifest(story())] {
            let steps = story.survives().unwrap_or_else(|error| panic!("{number}: {error}"));
            assert!(steps > 2, "{number}: {steps}");
        }
    }
    rotation_under_a_new_master_key().survives().expect("whole");
}

/// Each of these syncs is taken out, and is missed: so the test above would find it.
#[test]
fn without_any_one_of_the_syncs_something_would_be_lost() {
    // Each with its name: the folder's id (whose name the next sync of the folder makes last, too), the new file, the
    // datadir's memory, the manifest.
    needs(first_key, &[1, 3, 4, 5, 6, 7, 8], 8);
    // At start, the old file, which is on the disk already. Then the new one (see below), and the manifest.
    needs(rotation, &[3, 5, 6], 6);
    // The sync of the manifest's name makes the key file's name last, too. Here there is none.
    needs(|| without_a_manifest(rotation()), &[3, 4], 5);
    // At start, the old file; then what is kept of it, the new one, and the manifest. Of each, the contents, and of the new one
    // also its name: the old file is whole as long as it is not, and so is the manifest.
    needs(re_wrap, &[5, 7], 8);
    // Before the new file, the manifest with its master key, whose name the next sync makes last, too.
    needs(rotation_under_a_new_master_key, &[3, 5, 7, 8], 8);
    // Also those that are found: the file (whose name is made last with the next), the folder's id, and so on.
    for story in [file_found_at_start as fn() -> Story, file_found_later] {
        needs(story, &[1, 3, 4, 5, 6, 7, 8], 8);
    }
    // The file and its name.
    needs(file_restored, &[1, 2], 2);
    // The name is not made last at the first try, but at the second.
    needs(|| without_a_manifest(first_key_at_the_second_try()), &[1, 3, 6, 7, 8], 9);
}

/// `count` is how many syncs there are, `needed` those that something depends on.
fn needs(story: fn() -> Story, needed: &[usize], count: usize) {
    let disk = story().begin();
    disk.set_faults(story().faults);
    (story().work)(&story().open(&disk, Box::leak(Box::default())), &disk);
    assert_eq!(disk.syncs(), count);
    for sync in needed {
        let mut story = story();
        story.faults.forgotten_sync = Some(*sync);
        assert!(story.survives().is_err(), "sync {sync} of {count}");
    }
}
