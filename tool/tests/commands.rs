//! The program against an emulated KMS: what it says, what it leaves in the folder, and how it ends.
#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;

use support::{DATADIR, KEYS, NEW, OLD, Setup, names_in};

const NO_KMS: &str = "http://127.0.0.1:1";

#[test]
fn the_list_needs_no_kms_and_tells_all_there_is_to_tell() {
    let setup = Setup::with_keys();
    setup.control().forget_calls().unwrap();
    let done = setup.run(&["list", DATADIR]);
    done.check(0, &["KEY", "MASTER KEY", "AES_CTR", "arn:aws:kms:us-east-1:123456789012:key/"]);
    assert_eq!(done.out.lines().filter(|line| line.contains("latest")).count(), 2, "{}", done.out);
    fs::write(setup.path("aws-kms-key.7.1.before-rewrap"), "old").unwrap();
    fs::remove_file(setup.path("aws-kms-key.7.2")).unwrap();
    let (code, json) = setup.json(&["list", DATADIR]);
    let of = |place: usize| {
        let version = &json["key_versions"][place];
        let numbers = (version["key_id"].as_u64().unwrap(), version["key_version"].as_u64().unwrap());
        (
            numbers,
            version["state"].as_str().unwrap(),
            version["is_latest"].as_bool().unwrap(),
            version["format"].as_u64(),
        )
    };
    assert_eq!(of(0), ((1, 1), "ok", true, Some(2)));
    assert_eq!(of(1), ((7, 1), "ok", true, Some(2)));
    assert_eq!(of(2), ((7, 2), "missing", false, None));
    assert_eq!(json["key_versions"][1]["is_kept_before_rewrap"], true);
    assert_eq!((code, json["manifest"]["state"].as_str()), (1, Some("good")));
    assert_eq!(setup.control().calls("Decrypt").unwrap().len(), 0);
    let empty = tempfile::tempdir().unwrap();
    setup.run(&["list", empty.path().to_str().unwrap()]).check(0, &["there are no key files in"]);
    setup.run(&["list", "/no/such/folder"]).check(1, &["/no/such/folder", "cannot be opened"]);
}

#[test]
fn a_good_backup_is_verified_and_one_without_a_key_is_not() {
    let setup = Setup::with_keys();
    // A copy, with nothing that may be written.
    let copy = tempfile::tempdir().unwrap();
    for name in setup.names().iter().filter(|name| name.starts_with("aws-kms-key")) {
        fs::copy(setup.path(name), copy.path().join(name)).unwrap();
    }
    let before = names_in(copy.path());
    let folder = copy.path().to_str().unwrap();
    setup.run(&["verify", folder]).check(0, &[
        "3 of 3 key versions are good. Master keys: 1. A server that starts with these files needs kms:Decrypt on\n  arn:aws:kms:",
    ]);
    fs::remove_file(copy.path().join("aws-kms-key.1.1")).unwrap();
    fs::rename(copy.path().join("aws-kms-key.7.1"), copy.path().join("aws-kms-key.1.1")).unwrap();
    fs::write(copy.path().join("aws-kms-key.7.1"), "garbage").unwrap();
    let (code, json) = setup.json(&["verify", folder]);
    let found = |place: usize| json["key_versions"][place]["found"].as_str().unwrap();
    assert_eq!([found(0), found(1), found(2)], ["exchanged", "damaged", "good"]);
    assert_eq!((code, json["verdict"].as_str(), json["good"].as_u64()), (1, Some("wrong"), Some(1)));
    fs::remove_file(copy.path().join("aws-kms-key.7.1")).unwrap();
    setup
        .run(&["verify", folder])
        .check(1, &["key 7 version 1: missing: ", "rewrap_key = 7", "restore the file from a backup", "1 of 3"]);
    assert_eq!(names_in(copy.path()).len(), before.len() - 1, "nothing was written");
    let empty = tempfile::tempdir().unwrap();
    setup.run(&["verify", empty.path().to_str().unwrap()]).check(1, &["there are no key files in", "0 of 0"]);
}

#[test]
fn what_a_copy_may_be_without_is_a_failure_unless_somebody_accepts_it() {
    let setup = Setup::with_keys();
    // A copy of the datadir, in which the manifest is another file.
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("mysql")).unwrap();
    for name in setup.names().iter().filter(|name| name.starts_with("aws-kms-key")) {
        fs::copy(setup.path(name), copy.path().join(name)).unwrap();
    }
    let folder = copy.path().to_str().unwrap();
    setup.run(&["verify", folder]).check(0, &["3 of 3"]);
    // What ties the datadir and its keys together.
    let id = fs::read(copy.path().join("aws-kms-key.folder.json")).unwrap();
    fs::remove_file(copy.path().join("aws-kms-key.folder.json")).unwrap();
    setup.run(&["verify", folder]).check(1, &["3 of 3", "aws-kms-key.folder.json is missing"]);
    fs::write(copy.path().join("aws-kms-key.folder.json"), id).unwrap();
    fs::remove_file(copy.path().join("aws-kms-key.7.2")).unwrap();
    setup.run(&["verify", folder]).check(1, &["key 7 version 2: left behind", "--allow-left-behind", "2 of 2"]);
    setup.run(&["verify", folder, "--allow-left-behind"]).check(0, &["key 7 version 2: left behind", "2 of 2"]);
    fs::remove_file(copy.path().join("aws-kms-key.manifest.json")).unwrap();
    setup.run(&["verify", folder]).check(1, &["there is no manifest", "2 of 2"]);
    setup.run(&["verify", folder, "--no-manifest"]).check(0, &["2 of 2"]);
    // One that is damaged is left as it is by what would write.
    fs::write(copy.path().join("aws-kms-key.manifest.json"), "{").unwrap();
    setup.run(&["verify", folder, "--no-manifest"]).check(1, &["the manifest is damaged"]);
    for words in [&["rewrap", folder, "--master-key", NEW][..], &["retire", folder, "7.2", "--yes-i-checked"]] {
        setup.run(words).check(1, &["is damaged", "Nothing has changed"]);
    }
    assert_eq!(fs::read(copy.path().join("aws-kms-key.manifest.json")).unwrap(), b"{");
}

#[test]
fn of_a_kms_that_says_nothing_the_exit_code_tells() {
    let mut setup = Setup::with_keys();
    let unreachable = setup.run_with(&["verify", DATADIR], "", NO_KMS);
    unreachable.check(3, &["key 1 version 1: no answer: ", "KMS could not be reached", "0 of 3"]);
    setup.has_credentials = false;
    setup.run(&["verify", DATADIR]).check(3, &["no answer", "no AWS credentials"]);
    setup.has_credentials = true;
    setup.control().key_state(OLD, "Disabled").unwrap();
    setup
        .run(&["verify", DATADIR])
        .check(1, &["refused by KMS", "the master key is disabled", "Enable the master key"]);
    setup.control().key_state(OLD, "Enabled").unwrap();
    // What is missing is wrong, whatever KMS says of the others.
    fs::remove_file(setup.path("aws-kms-key.1.1")).unwrap();
    setup.run_with(&["verify", DATADIR], "", NO_KMS).check(1, &["key 1 version 1: missing"]);
    setup
        .run_with(
            &["import", "--from", "hex", "--algorithm", "AES_CBC", "--master-key", OLD, DATADIR],
            "9;000102030405060708090a0b0c0d0e0f",
            NO_KMS,
        )
        .check(3, &["key 9 version 1: KMS Encrypt failed"]);
}

#[test]
fn a_wrong_command_is_told_from_a_wrong_key() {
    let setup = Setup::new();
    for words in [
        &["--no-such-option"][..],
        &["verify"],
        &["import", "--from", "hex", DATADIR],
        &["import", "--from", "file_key_management", "--algorithm", "AES_CBC", "--master-key", OLD, DATADIR],
        &["import", "--from", "hex", "--key-file", "x", "--algorithm", "AES_CBC", "--master-key", OLD, DATADIR],
        &["rewrap", DATADIR, "--master-key", "no key"],
        &["rewrap", DATADIR, "--master-key", NEW, "--key", "0"],
    ] {
        assert_eq!(setup.run(words).code, 2, "{words:?}: {}", setup.run(words).text);
    }
    let verify_at = |url| setup.run_with(&["verify", DATADIR], "", url);
    verify_at("kms.eu-central-1.amazonaws.com").check(2, &["is no URL such as"]);
    verify_at("https://me:secret@kms.eu-central-1.amazonaws.com").check(2, &["a user name or password"]);
    let empty = tempfile::tempdir().unwrap();
    let words = ["rewrap", empty.path().to_str().unwrap(), "--master-key", NEW];
    setup.run(&words).check(2, &["is no datadir of a server", "--datadir"]);
    setup.run(&["--help"]).check(0, &["Exit codes:", "list", "verify", "import", "rewrap"]);
}

#[test]
fn keys_from_standard_input_are_wrapped_and_never_shown() {
    let setup = Setup::new();
    let done = setup.import(KEYS, "AES_CTR");
    done.check(
        0,
        &[
            "key 1 version 1: imported, 128 bits",
            "key 7 version 1: imported, 256 bits",
            "key 7 version 2: imported, 192 bits",
            "    plugin_load_add = aws_key_management\n",
            "    aws_key_management_master_key_id = arn:aws:kms:us-east-1:123456789012:key/",
            "    aws_key_management_region = us-east-1\n",
            "    aws_key_management_encryption_algorithm = AES_CTR\n",
            "aws_key_management_rotate_key = -1",
        ],
    );
    assert!(!done.text.contains("file_key_management") && !done.text.contains("0001020304"), "{}", done.text);
    assert_eq!(
        setup.names(),
        [
            ".aws-kms-key.lock",
            "aws-kms-key.1.1",
            "aws-kms-key.7.1",
            "aws-kms-key.7.2",
            "aws-kms-key.datadir.json",
            "aws-kms-key.folder.json",
            "aws-kms-key.manifest.json",
            "mysql",
        ]
    );
    for name in setup.names().iter().filter(|name| name.contains("aws")) {
        let contents = fs::read(setup.path(name)).unwrap();
        for start in [0_u8, 0x20, 0x40] {
            let key: Vec<u8> = (start..start + 16).collect();
            assert!(!contents.windows(16).any(|part| part == key), "{name}");
        }
    }
    assert_eq!(fs::metadata(setup.path("aws-kms-key.1.1")).unwrap().mode() & 0o777, 0o440);
    setup.run(&["verify", DATADIR]).check(0, &["3 of 3"]);
    let before = setup.names();
    let again = setup.import("8;000102030405060708090a0b0c0d0e0f\n1;2;000102030405060708090a0b0c0d0e0f", "AES_CTR");
    again.check(1, &["key 1 is or was in this folder, and is not imported"]);
    setup
        .import("8;000102030405060708090a0b0c0d0e", "AES_CTR")
        .check(1, &["in standard input", "line 1", "30 hexadecimal"]);
    assert_eq!(setup.names(), before);
}

#[test]
fn an_import_that_kms_refuses_leaves_nothing() {
    let setup = Setup::new();
    let fault = serde_json::json!({"operation": "Decrypt", "kind": "access_denied"});
    setup.control().fault(&fault).unwrap();
    setup
        .import(KEYS, "AES_CBC")
        .check(1, &["key 1 version 1: KMS Decrypt failed: access denied", "Allow kms:Decrypt"]);
    setup.control().clear_faults().unwrap();
    assert_eq!(setup.names(), [".aws-kms-key.lock", "mysql"]);
    setup.import(KEYS, "AES_CBC").check(0, &["3 key versions are in"]);
}

#[test]
fn a_key_file_of_file_key_management_is_imported_as_it_is_and_encrypted() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("keys.txt"), format!("# keys\n{KEYS}")).unwrap();
    fs::write(path("password"), "secret\n").unwrap();
    let common = ["import", "--from", "file_key_management", "--algorithm", "aes_cbc", "--master-key", OLD];
    let import = |setup: &Setup, more: &[&str]| setup.run(&[&common[..], more, &[DATADIR]].concat());
    let setup = Setup::new();
    import(&setup, &["--key-file", &path("keys.txt")]).check(
        0,
        &[
            "key 7 version 2: imported, 192 bits",
            "Take out:\n\n    plugin_load_add = file_key_management\n",
            "aws_key_management_encryption_algorithm = AES_CBC",
        ],
    );
    // Format 1: AES_CBC, which the C++ plugin reads, too.
    assert!(!fs::read(setup.path("aws-kms-key.1.1")).unwrap().starts_with(b"{"));
    if std::process::Command::new("openssl").arg("version").output().is_err() {
        return; // the formats themselves have tests beside the code
    }
    for (file, options, ways) in [
        ("old", &["-md", "sha1"][..], &[][..]),
        ("new", &["-md", "sha512", "-pbkdf2", "-iter", "1234"], &["--digest", "sha512", "--use-pbkdf2", "1234"]),
    ] {
        let made = std::process::Command::new("openssl")
            .args(["enc", "-aes-256-cbc", "-pass", &format!("file:{}", path("password"))])
            .args(["-in", &path("keys.txt"), "-out", &path(file)])
            .args(options)
            .output()
            .unwrap();
        assert!(made.status.success());
        let setup = Setup::new();
        import(&setup, &["--key-file", &path(file)]).check(1, &["is encrypted", "--password-file"]);
        let with_password = ["--key-file", &path(file), "--password-file", &path("password")];
        import(&setup, &[&with_password[..], ways].concat()).check(0, &["3 key versions are in"]);
        let plain = ["--key-file", &path("keys.txt"), "--password-file", &path("password")];
        import(&setup, &plain).check(1, &["is not encrypted: leave out --password-file"]);
    }
}

#[test]
fn keys_in_a_folder_of_their_own_are_remembered_by_the_datadir() {
    let setup = Setup::new();
    let keys = tempfile::tempdir().unwrap();
    let folder = keys.path().to_str().unwrap();
    let words = ["import", "--from", "hex", "--algorithm", "AES_CBC", "--master-key", OLD];
    let without = [&words[..], &[folder]].concat();
    setup.run_with(&without, KEYS, setup.control().endpoint()).check(2, &["--datadir"]);
    let with = [&words[..], &["--datadir", DATADIR, folder]].concat();
    let line = format!("aws_key_management_keyfile_dir = {folder}\n");
    setup.run_with(&with, KEYS, setup.control().endpoint()).check(0, &[&line]);
    assert_eq!(setup.names(), ["aws-kms-key.datadir.json", "mysql"]);
    assert!(!names_in(keys.path()).contains(&"aws-kms-key.datadir.json".to_owned()));
    setup.run(&["verify", folder]).check(0, &["3 of 3"]);
    let elsewhere = format!("lie in {folder}: give that folder");
    // Old keys in the datadir do not make it good.
    for name in ["aws-kms-key.1.1", "aws-kms-key.7.1", "aws-kms-key.7.2", "aws-kms-key.manifest.json"] {
        fs::copy(keys.path().join(name), setup.path(name)).unwrap();
    }
    setup.run(&["verify", DATADIR]).check(1, &["3 of 3", &elsewhere]);
    setup.run(&["list", DATADIR]).check(1, &[&elsewhere]);
    for name in ["aws-kms-key.1.1", "aws-kms-key.7.1", "aws-kms-key.7.2", "aws-kms-key.manifest.json"] {
        fs::remove_file(setup.path(name)).unwrap();
    }
    setup.run(&["verify", DATADIR]).check(1, &[&elsewhere]);
    setup.run(&["rewrap", DATADIR, "--master-key", NEW]).check(1, &["the keys of this datadir lie in"]);
    setup.run(&["rewrap", folder, "--datadir", DATADIR, "--master-key", NEW]).check(0, &["3 of 3"]);
}

#[test]
fn after_a_re_wrap_the_old_master_key_is_not_needed() {
    let setup = Setup::with_keys();
    let before = fs::read(setup.path("aws-kms-key.7.1")).unwrap();
    setup.run(&["rewrap", DATADIR, "--master-key", NEW, "--key", "7"]).check(
        0,
        &[
            "key 7 version 1: wrapped by arn:aws:kms:us-east-1:",
            "2 of 2 key versions are wrapped anew",
            "before-rewrap",
        ],
    );
    assert_eq!(fs::read(setup.path("aws-kms-key.7.1.before-rewrap")).unwrap(), before);
    setup.control().key_state(OLD, "PendingDeletion").unwrap();
    setup.run(&["verify", DATADIR]).check(1, &["key 1 version 1: refused by KMS", "2 of 3", "Master keys: 2"]);
    setup.run(&["rewrap", DATADIR, "--master-key", NEW]).check(1, &["key 1 version 1: wrapped as before", "2 of 3"]);
    setup.control().key_state(OLD, "Enabled").unwrap();
    let (code, json) = setup.json(&["rewrap", DATADIR, "--master-key", NEW]);
    assert_eq!((code, json["rewrapped"].as_u64(), json["failed"].as_u64()), (0, Some(3), Some(0)));
    setup.control().key_state(OLD, "PendingDeletion").unwrap();
    setup.run(&["verify", DATADIR]).check(0, &["3 of 3", "Master keys: 1"]);
}

#[test]
fn a_version_is_retired_when_its_file_is_gone_and_somebody_has_checked() {
    let setup = Setup::with_keys();
    setup.run(&["retire", DATADIR, "7.1"]).check(2, &["of InnoDB's tablespaces, and", "--yes-i-checked"]);
    let of_innodb = |name: &str| setup.run(&["retire", DATADIR, name, "--yes-i-checked"]);
    let retire = |name: &str| setup.run(&["retire", DATADIR, name, "--yes-i-checked", "--no-innodb"]);
    retire("7.1").check(1, &["key 7 version 1: its key file", "is there", "move the file to a safe place first"]);
    retire("7").check(2, &["such as 7.2"]);
    retire("8.1").check(1, &["the manifest does not know it"]);
    // The version that the server encrypts with.
    let latest = fs::read(setup.path("aws-kms-key.7.2")).unwrap();
    fs::remove_file(setup.path("aws-kms-key.7.2")).unwrap();
    retire("7.2").check(1, &["key 7 version 2: it is the highest version of its key"]);
    fs::write(setup.path("aws-kms-key.7.2"), latest).unwrap();
    fs::remove_file(setup.path("aws-kms-key.7.1")).unwrap();
    setup.run(&["verify", DATADIR]).check(1, &["key 7 version 1: missing"]);
    of_innodb("7.1").check(1, &["not in the datadir: the redo log (ib_logfile0)", "--innodb", "--no-innodb"]);
    retire("7.1").check(0, &["key 7 version 1: retired. Its number is not used again"]);
    setup.run(&["verify", DATADIR]).check(0, &["2 of 2"]);
    let (code, json) = setup.json(&["list", DATADIR]);
    assert_eq!((code, json["key_versions"][1]["state"].as_str()), (0, Some("retired")));
    setup.import("7;1;000102030405060708090a0b0c0d0e0f", "AES_CBC").check(1, &["key 7 is or was in this folder"]);
}

#[test]
fn beside_a_writer_a_change_waits_and_a_look_does_not() {
    let setup = Setup::with_keys();
    let lock = fs::File::options().write(true).open(setup.path(".aws-kms-key.lock")).unwrap();
    lock.lock().unwrap();
    setup.run(&["list", DATADIR]).check(0, &["latest"]);
    setup.run(&["verify", DATADIR]).check(0, &["3 of 3"]);
    let done = setup.import("9;000102030405060708090a0b0c0d0e0f", "AES_CBC");
    done.check(1, &["the folder of the key files is locked by another process"]);
    drop(lock);
    setup.import("9;000102030405060708090a0b0c0d0e0f", "AES_CBC").check(0, &["1 key versions are in"]);
}
