//! The sandboxes, and what comes of each.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;

/// A sandbox, and what the plugin does in it.
pub struct Case {
    pub title: &'static str,
    pub sandbox: Sandbox,
    /// Lines of a my.cnf.
    pub options: &'static str,
    pub outcome: Outcome,
    /// What lines of the plugin contain, in the error log or a statement's error; without any, it has nothing to complain of.
    pub says: &'static [&'static str],
}

/// What keeps the server from what.
pub enum Sandbox {
    /// System calls that fail: `NAME=ERROR`.
    Refuses(&'static [&'static str]),
    /// Bytes that may be locked.
    LimitMemlock(u32),
    /// No network, not even the machine's own.
    NoNetwork,
    /// The folder of the key files is on a file system that can only be read.
    ReadOnlyKeys,
}

/// What the server does in it.
pub enum Outcome {
    /// It starts, and rotates a key.
    Works,
    /// It starts with all its keys, and rotates none.
    CannotRotate,
    /// It ends by itself.
    DoesNotStart,
}

impl Sandbox {
    pub fn needs_root(&self) -> bool {
        matches!(self, Self::NoNetwork | Self::ReadOnlyKeys)
    }

    /// What comes before the words that run the server.
    pub fn words(&self, keys: &std::path::Path) -> Result<Vec<OsString>> {
        let words: Vec<OsString> = match self {
            Self::Refuses(calls) => {
                let program: PathBuf = std::env::current_exe()?;
                let calls = calls.iter().flat_map(|call| ["--call", call]);
                [program.into(), "refuse".into()]
                    .into_iter()
                    .chain(calls.map(OsString::from))
                    .chain(["--".into()])
                    .collect()
            }
            Self::LimitMemlock(bytes) => vec!["prlimit".into(), format!("--memlock={bytes}").into(), "--".into()],
            Self::NoNetwork => ["unshare", "--net", "--"].map(OsString::from).into(),
            Self::ReadOnlyKeys => {
                let script = "mount --bind \"$1\" \"$1\"; mount -o remount,bind,ro \"$1\"; shift; exec \"$@\"";
                let words = ["unshare", "--mount", "--", "sh", "-e", "-c", script, "sh"].map(OsString::from);
                words.into_iter().chain([keys.as_os_str().to_owned()]).collect()
            }
        };
        Ok(words)
    }
}

pub const CASES: &[Case] = &[
    Case {
        title: "af_unix",
        sandbox: Sandbox::Refuses(&["inet-socket=EAFNOSUPPORT"]),
        options: "",
        outcome: Outcome::DoesNotStart,
        says: &["?"],
    },
    Case {
        title: "socket EPERM",
        sandbox: Sandbox::Refuses(&["inet-socket=EPERM"]),
        options: "",
        outcome: Outcome::DoesNotStart,
        says: &["?"],
    },
    Case {
        title: "socket EACCES",
        sandbox: Sandbox::Refuses(&["inet-socket=EACCES"]),
        options: "",
        outcome: Outcome::DoesNotStart,
        says: &["?"],
    },
    Case {
        title: "connect EPERM",
        sandbox: Sandbox::Refuses(&["connect=EPERM"]),
        options: "",
        outcome: Outcome::DoesNotStart,
        says: &["?"],
    },
    Case {
        title: "connect EACCES",
        sandbox: Sandbox::Refuses(&["connect=EACCES"]),
        options: "",
        outcome: Outcome::DoesNotStart,
        says: &["?"],
    },
    Case {
        title: "no network",
        sandbox: Sandbox::NoNetwork,
        options: "",
        outcome: Outcome::DoesNotStart,
        says: &["?"],
    },
    Case {
        title: "no network, metadata",
        sandbox: Sandbox::NoNetwork,
        options: "",
        outcome: Outcome::DoesNotStart,
        says: &["?"],
    },
    Case {
        title: "memlock",
        sandbox: Sandbox::LimitMemlock(65536),
        options: "",
        outcome: Outcome::Works,
        says: &["?"],
    },
    Case { title: "memlock0", sandbox: Sandbox::LimitMemlock(0), options: "", outcome: Outcome::Works, says: &["?"] },
    Case { title: "ro", sandbox: Sandbox::ReadOnlyKeys, options: "", outcome: Outcome::CannotRotate, says: &["?"] },
    Case {
        title: "madvise",
        sandbox: Sandbox::Refuses(&["madvise=EPERM"]),
        options: "",
        outcome: Outcome::Works,
        says: &["?"],
    },
    Case {
        title: "mlock",
        sandbox: Sandbox::Refuses(&["mlock=EPERM"]),
        options: "",
        outcome: Outcome::Works,
        says: &["?"],
    },
    Case {
        title: "memfd",
        sandbox: Sandbox::Refuses(&["memfd_create=EPERM"]),
        options: "",
        outcome: Outcome::Works,
        says: &["?"],
    },
    Case {
        title: "flock EPERM",
        sandbox: Sandbox::Refuses(&["flock=EPERM"]),
        options: "",
        outcome: Outcome::CannotRotate,
        says: &["?"],
    },
    Case {
        title: "flock ENOSYS",
        sandbox: Sandbox::Refuses(&["flock=ENOSYS"]),
        options: "",
        outcome: Outcome::Works,
        says: &["?"],
    },
    Case {
        title: "rename EPERM",
        sandbox: Sandbox::Refuses(&["renameat2=EPERM"]),
        options: "",
        outcome: Outcome::Works,
        says: &["?"],
    },
    Case {
        title: "rename+link EPERM",
        sandbox: Sandbox::Refuses(&["renameat2=EPERM", "linkat=EPERM"]),
        options: "",
        outcome: Outcome::CannotRotate,
        says: &["?"],
    },
    Case {
        title: "rename+link EACCES",
        sandbox: Sandbox::Refuses(&["renameat2=EACCES", "linkat=EACCES"]),
        options: "",
        outcome: Outcome::CannotRotate,
        says: &["?"],
    },
    Case {
        title: "fsync EPERM",
        sandbox: Sandbox::Refuses(&["fsync=EPERM"]),
        options: "",
        outcome: Outcome::CannotRotate,
        says: &["?"],
    },
    Case {
        title: "getrandom EPERM",
        sandbox: Sandbox::Refuses(&["getrandom=EPERM"]),
        options: "",
        outcome: Outcome::Works,
        says: &["?"],
    },
    Case {
        title: "getrandom ENOSYS",
        sandbox: Sandbox::Refuses(&["getrandom=ENOSYS"]),
        options: "",
        outcome: Outcome::Works,
        says: &["?"],
    },
    Case {
        title: "epoll EPERM",
        sandbox: Sandbox::Refuses(&["epoll_create1=EPERM"]),
        options: "",
        outcome: Outcome::DoesNotStart,
        says: &["?"],
    },
];
