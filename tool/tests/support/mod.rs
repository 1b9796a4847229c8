//! The program, run as a person runs it, and a KMS for it.
#![allow(dead_code)] // not every test needs all of it

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use kms_emulator::Emulator;
use serde_json::Value;
use tempfile::TempDir;

/// An emulated KMS with two master keys, and a datadir.
pub struct Setup {
    emulator: Emulator,
    home: TempDir,
    pub datadir: TempDir,
    pub has_credentials: bool,
}

impl Setup {
    pub fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let python = kms_emulator::python().unwrap();
        let emulator = Emulator::start_as(&python, home.path(), &["--key", OLD, "--key", NEW]).unwrap();
        let datadir = tempfile::tempdir().unwrap();
        std::fs::create_dir(datadir.path().join("mysql")).unwrap();
        Self { emulator, home, datadir, has_credentials: true }
    }

    /// With three keys in the datadir.
    pub fn with_keys() -> Self {
        let setup = Self::new();
        let done = setup.import(KEYS, "AES_CTR");
        assert_eq!(done.code, 0, "{}", done.text);
        setup
    }

    pub fn control(&self) -> &kms_emulator::Control {
        self.emulator.control()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.datadir.path().join(name)
    }

    pub fn names(&self) -> Vec<String> {
        names_in(self.datadir.path())
    }

    /// Of `--from hex`.
    pub fn import(&self, keys: &str, algorithm: &str) -> Done {
        let words = ["import", "--from", "hex", "--algorithm", algorithm, "--master-key", OLD, DATADIR];
        self.run_with(&words, keys, self.emulator.endpoint())
    }

    /// The program, with DATADIR among its arguments replaced, and with the emulator's endpoint if the command has one.
    pub fn run(&self, words: &[&str]) -> Done {
        match words.first() {
            Some(&"verify" | &"import" | &"rewrap" | &"repair") => self.run_with(words, "", self.emulator.endpoint()),
            _ => self.run_with(words, "", ""),
        }
    }

    pub fn run_with(&self, words: &[&str], input: &str, endpoint: &str) -> Done {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aws-key-management"));
        let datadir = self.datadir.path().to_str().unwrap();
        command.args(words.iter().map(|word| if *word == DATADIR { datadir } else { *word }));
        if !endpoint.is_empty() {
            command.args(["--region", "us-east-1", "--endpoint-url", endpoint, "--request-timeout", "2000"]);
        }
        command
            .env_clear()
            // What `cargo xtask mutants` tells the code that it has changed.
            .envs(std::env::vars().filter(|(name, _)| name.starts_with("MUTANT")))
            .env("HOME", self.home.path())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if self.has_credentials {
            command.envs([("AWS_ACCESS_KEY_ID", "AKIATOOL"), ("AWS_SECRET_ACCESS_KEY", "x")]);
        }
        let mut child = command.spawn().unwrap();
        // It may end without reading.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Done::of(&child.wait_with_output().unwrap())
    }

    /// With `--json`.
    pub fn json(&self, words: &[&str]) -> (i32, Value) {
        let done = self.run(&[words, &["--json"]].concat());
        (done.code, serde_json::from_str(&done.out).unwrap_or_else(|error| panic!("{error}: {}", done.text)))
    }
}

/// How the program ended.
pub struct Done {
    pub code: i32,
    pub out: String,
    /// All that it said.
    pub text: String,
}

impl Done {
    fn of(output: &Output) -> Self {
        let out = String::from_utf8(output.stdout.clone()).unwrap();
        let text = out.clone() + &String::from_utf8_lossy(&output.stderr);
        Self { code: output.status.code().unwrap_or(-1), out, text }
    }

    pub fn check(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{}", self.text);
        for part in parts {
            assert!(self.text.contains(part), "{part:?} is not in: {}", self.text);
        }
    }
}

pub fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Stands for the datadir among the arguments.
pub const DATADIR: &str = "DATADIR";
pub const OLD: &str = "alias/old";
pub const NEW: &str = "alias/new";
pub const KEYS: &str = "1;000102030405060708090a0b0c0d0e0f\n\
    7;202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f\n\
    7;2;404142434445464748494a4b4c4d4e4f5051525354555657\n";
