//! `repair`, run as a person runs it: what it says first, what it does, and how it ends.
#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use support::{DATADIR, KEYS, NEW, OLD, Setup, names_in};

const NO_KMS: &str = "http://127.0.0.1:1";
const MANIFEST: &str = "aws-kms-key.manifest.json";

fn exchange(path: &Path, contents: impl AsRef<[u8]>) {
    let _ = fs::remove_file(path);
    fs::write(path, contents).unwrap();
}

/// Takes the end off the manifest.
fn damage(setup: &Setup) -> Vec<u8> {
    let damaged = fs::read(setup.path(MANIFEST)).unwrap().trim_ascii_end().strip_suffix(b"}").unwrap().to_vec();
    exchange(&setup.path(MANIFEST), &damaged);
    damaged
}

fn contents(setup: &Setup) -> Vec<(String, Vec<u8>)> {
    setup.names().into_iter().map(|name| (name.clone(), fs::read(setup.path(&name)).unwrap_or_default())).collect()
}

#[test]
fn it_says_what_it_finds_and_does_it_only_when_told_to() {
    let setup = Setup::with_keys();
    setup.run(&["repair", DATADIR]).check(0, &["nothing to repair in"]);
    let damaged = damage(&setup);
    fs::write(setup.path(".aws-kms-key.new-abc"), "half").unwrap();
    fs::remove_file(setup.path("aws-kms-key.7.1")).unwrap();
    let before = contents(&setup);
    let to_do =
        ["to repair: the manifest ", " is damaged (", "of 3 entries that can still be read", "1 temporary file"];
    let done = setup.run(&["repair", DATADIR]);
    done.check(4, &to_do);
    done.check(4, &["for you: key 7 version 1: key file", "Nothing has changed. The same with --yes repairs."]);
    assert_eq!(contents(&setup), before);
    let (code, json) = setup.json(&["repair", DATADIR]);
    assert_eq!((code, json["findings"][0]["by"].as_str()), (4, Some("repair")));
    assert!(json["findings"][0]["outcome"].is_null());
    assert_eq!(contents(&setup), before);
    let (code, json) = setup.json(&["repair", DATADIR, "--yes"]);
    let outcomes: Vec<_> = json["findings"].as_array().unwrap().iter().map(|it| it["outcome"].as_str()).collect();
    assert_eq!((code, outcomes), (1, vec![Some("repaired"), None, Some("repaired")]), "the key file is still gone");
    assert_eq!(json["findings"][0]["kept_as"][0].as_str(), Some("aws-kms-key.manifest.damaged"));
    assert_eq!((json["findings"][1]["by"].as_str(), json["findings"][1]["key_id"].as_u64()), (Some("you"), Some(7)));
    assert_eq!(fs::read(setup.path("aws-kms-key.manifest.damaged")).unwrap(), damaged);
    assert!(!setup.names().contains(&".aws-kms-key.new-abc".to_owned()));
    setup.run(&["verify", DATADIR]).check(1, &["key 7 version 1: missing", "2 of 3"]);
    assert!(
        setup.control().calls("Encrypt").unwrap().len() == 3
            && setup.control().calls("GenerateDataKeyWithoutPlaintext").unwrap().is_empty()
    );
}

#[test]
fn what_kms_has_to_prove_waits_for_kms_and_the_rest_does_not() {
    let setup = Setup::with_keys();
    setup.run(&["rewrap", DATADIR, "--master-key", NEW]).check(0, &["3 of 3"]);
    let copy = fs::read(setup.path("aws-kms-key.7.2.before-rewrap")).unwrap();
    exchange(&setup.path("aws-kms-key.7.2"), "garbage");
    fs::set_permissions(setup.path("aws-kms-key.7.2"), Permissions::from_mode(0o440)).unwrap();
    let words = ["repair", DATADIR, "--yes"];
    setup.run_with(&words, "", NO_KMS).check(3, &["no answer: key 7 version 2: ", "KMS could not be reached"]);
    assert_eq!(fs::read(setup.path("aws-kms-key.7.2")).unwrap(), b"garbage");
    // Not where the copies cannot be unwrapped either.
    setup.control().key_state(OLD, "Disabled").unwrap();
    setup
        .run(&words)
        .check(1, &["for you: key 7 version 2: ", "Nor is it to be had from", "the master key is disabled"]);
    setup.control().key_state(OLD, "Enabled").unwrap();
    setup.run(&words).check(
        0,
        &[
            "to repair: key 7 version 2: ",
            "aws-kms-key.7.2.before-rewrap takes its place",
            "repaired: key 7 version 2: ",
            "kept as aws-kms-key.7.2.damaged",
        ],
    );
    assert_eq!(fs::read(setup.path("aws-kms-key.7.2")).unwrap(), copy);
    assert_eq!(fs::metadata(setup.path("aws-kms-key.7.2")).unwrap().mode() & 0o777, 0o440);
    setup.run(&["verify", DATADIR]).check(0, &["3 of 3"]);
    // What is kept of before a re-wrap is left to the server, unless somebody says otherwise.
    setup.run(&words).check(0, &["for the next start of the server: what key files held before a re-wrap"]);
    assert!(setup.path("aws-kms-key.1.1.before-rewrap").exists());
    setup.run(&["repair", DATADIR, "--forget-before-rewrap", "--yes"]).check(0, &["repaired: "]);
    assert!(!setup.names().iter().any(|name| name.ends_with(".before-rewrap")));
    damage(&setup);
    setup.run_with(&words, "", NO_KMS).check(0, &["repaired: the manifest"]);
}

#[test]
fn nothing_is_trusted_that_nobody_has_named() {
    let setup = Setup::with_keys();
    let own = setup.json(&["list", DATADIR]).1["key_versions"][0]["master_key"].as_str().unwrap().to_owned();
    fs::remove_file(setup.path(MANIFEST)).unwrap();
    let without = setup.run(&["repair", DATADIR, "--yes"]);
    without.check(1, &["for you: there is no manifest", "--trust-master-key", "trusts all of them"]);
    assert!(!setup.path(MANIFEST).exists());
    setup.run(&["repair", DATADIR, "--yes", "--trust-master-key", "alias/old"]).check(2, &["what an alias stands for"]);
    let foreign = own.replace("123456789012", "666666666666");
    setup
        .run(&["repair", DATADIR, "--yes", "--trust-master-key", &foreign])
        .check(1, &["key 1 version 1: its file is wrapped by", &own]);
    assert!(!setup.path(MANIFEST).exists());
    setup
        .run(&["repair", DATADIR, "--yes", "--trust-master-key", &format!("7={own}")])
        .check(0, &["for the next start of the server: key 1 version 1"]);
    setup.run(&["repair", DATADIR, "--yes", "--trust-master-key", &own]).check(0, &["repaired: "]);
    setup.run(&["verify", DATADIR]).check(0, &["3 of 3"]);
}

#[test]
fn a_folder_becomes_the_datadir_s_own_only_by_the_operator_s_word() {
    let setup = Setup::new();
    let keys = tempfile::tempdir().unwrap();
    let folder = keys.path().to_str().unwrap();
    let import =
        ["import", "--from", "hex", "--algorithm", "AES_CBC", "--master-key", OLD, "--datadir", DATADIR, folder];
    setup.run_with(&import, KEYS, setup.control().endpoint()).check(0, &["3 key versions"]);
    setup.run(&["repair", folder]).check(2, &["--datadir"]);
    // From the wrong folder, nothing can be put right.
    setup
        .run(&["repair", DATADIR, "--folder-is-right", "--yes"])
        .check(1, &["for you: the keys of this datadir lie in", folder]);
    let marker = fs::read(setup.path("aws-kms-key.datadir.json")).unwrap();
    let id = fs::read_to_string(keys.path().join("aws-kms-key.folder.json")).unwrap();
    exchange(
        &keys.path().join("aws-kms-key.folder.json"),
        id.replace(|c: char| c.is_ascii_hexdigit() && c.is_ascii_digit(), "0"),
    );
    exchange(&keys.path().join(".aws-kms-key.new-abc"), "half");
    let words = ["repair", folder, "--datadir", DATADIR, "--yes"];
    setup.run(&words).check(1, &["for you: ", "holds other keys", "--folder-is-right"]);
    assert_eq!(fs::read(setup.path("aws-kms-key.datadir.json")).unwrap(), marker);
    assert!(names_in(keys.path()).contains(&".aws-kms-key.new-abc".to_owned()));
    setup
        .run(&[&words[..], &["--folder-is-right"]].concat())
        .check(0, &["as you say", "kept as aws-kms-key.datadir.before-repair", "repaired: 1 temporary"]);
    assert_eq!(fs::read(setup.path("aws-kms-key.datadir.before-repair")).unwrap(), marker);
    setup.run(&["rewrap", folder, "--datadir", DATADIR, "--master-key", NEW]).check(0, &["3 of 3"]);
}

#[test]
fn beside_a_writer_a_repair_waits_and_then_leaves_all_as_it_is() {
    let setup = Setup::with_keys();
    damage(&setup);
    fs::write(setup.path(".aws-kms-key.new-abc"), "half").unwrap();
    let lock = fs::File::options().write(true).open(setup.path(".aws-kms-key.lock")).unwrap();
    lock.lock().unwrap();
    let before = contents(&setup);
    setup.run(&["repair", DATADIR]).check(4, &["to repair: the manifest"]);
    let done = setup.run(&["repair", DATADIR, "--yes"]);
    done.check(
        1,
        &["not repaired: the manifest", "is locked by another process", "not tried, after a failure: 1 temporary"],
    );
    assert_eq!(contents(&setup), before);
    drop(lock);
    setup.run(&["repair", DATADIR, "--yes"]).check(0, &["repaired: the manifest"]);
}

#[test]
fn what_root_repairs_belongs_to_whom_it_belonged() {
    let setup = Setup::with_keys();
    if !fs::metadata(setup.path(MANIFEST)).is_ok_and(|it| it.uid() == 0) {
        return; // only root can give files away
    }
    setup.run(&["rewrap", DATADIR, "--master-key", NEW]).check(0, &["3 of 3"]);
    damage(&setup);
    exchange(&setup.path("aws-kms-key.7.2"), "garbage");
    fs::remove_file(setup.path("aws-kms-key.1.1")).unwrap();
    let own = |path: &Path| chown(path, Some(4711), Some(4712)).unwrap();
    own(&setup.path("."));
    fs::read_dir(setup.path(".")).unwrap().for_each(|file| own(&file.unwrap().path()));
    fs::set_permissions(setup.path("aws-kms-key.7.2"), Permissions::from_mode(0o400)).unwrap();
    setup.run(&["repair", DATADIR, "--yes"]).check(0, &["repaired: "]);
    let of = |name: &str| {
        let metadata = fs::metadata(setup.path(name)).unwrap();
        (metadata.uid(), metadata.gid(), metadata.mode() & 0o777)
    };
    assert_eq!(of("aws-kms-key.7.2"), (4711, 4712, 0o400));
    for name in [MANIFEST, "aws-kms-key.1.1", "aws-kms-key.manifest.damaged", "aws-kms-key.7.2.damaged"] {
        let (uid, gid, mode) = of(name);
        assert_eq!((uid, gid, mode & 0o333), (4711, 4712, 0), "{name}");
    }
    // What the server's user cannot read is not good, although root can.
    setup.run(&["verify", DATADIR]).check(0, &["3 of 3"]);
    chown(setup.path("aws-kms-key.7.1"), Some(0), Some(0)).unwrap();
    fs::set_permissions(setup.path("aws-kms-key.7.1"), Permissions::from_mode(0o400)).unwrap();
    setup.run(&["verify", DATADIR]).check(1, &["aws-kms-key.7.1 belongs to user 0", "user 4711", "3 of 3"]);
}
