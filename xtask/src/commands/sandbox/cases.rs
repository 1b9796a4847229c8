//! The sandboxes, and what comes of each.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;

/// A sandbox, and what the plugin does in it.
pub struct Case {
    pub title: &'static str,
    pub sandbox: Sandbox,
    pub kms: Kms,
    pub outcome: Outcome,
    /// What the plugin's first complaint in the error log contains; without any, it has nothing to complain of.
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
    /// A network that this machine is alone in: no way leads out of it, nor to a name server.
    NoDefaultRoute,
    /// The folder of the key files is on a file system that can only be read.
    ReadOnlyKeys,
}

/// How the server gets to KMS.
#[derive(PartialEq, Eq)]
pub enum Kms {
    /// By its address, with credentials.
    Plain,
    /// By a name that a name server has to be asked for.
    ByName,
    /// With credentials that the metadata of an instance would have.
    WithoutCredentials,
}

/// What the server does in it.
pub enum Outcome {
    /// It starts, and rotates a key.
    Works,
    /// It starts, and rotates all keys.
    RotatesAll,
    /// It starts with all its keys, and rotates none.
    CannotRotate,
    /// It ends by itself.
    DoesNotStart,
}

impl Sandbox {
    /// Whether it needs rights that an ordinary user and a container may not have.
    pub fn needs_namespaces(&self) -> bool {
        matches!(self, Self::NoNetwork | Self::NoDefaultRoute | Self::ReadOnlyKeys)
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
            Self::NoDefaultRoute => {
                let script = "ip link add one type veth peer name two; ip address add 198.51.100.1/24 dev one; \
                              for name in lo one two; do ip link set $name up; done; exec \"$@\"";
                ["unshare", "--net", "--", "sh", "-e", "-c", script, "sh"].map(OsString::from).into()
            }
            Self::ReadOnlyKeys => {
                let script = "mount --bind \"$1\" \"$1\"; mount -o remount,bind,ro \"$1\"; shift; exec \"$@\"";
                let words = ["unshare", "--mount", "--", "sh", "-e", "-c", script, "sh"].map(OsString::from);
                words.into_iter().chain([keys.as_os_str().to_owned()]).collect()
            }
        };
        Ok(words)
    }
}

/// Each is a start of the server with 40 keys.
pub const CASES: &[Case] = &[
    Case {
        title: "RestrictAddressFamilies=AF_UNIX: the plugin cannot start, and names the setting",
        sandbox: Sandbox::Refuses(&["inet-socket=EAFNOSUPPORT"]),
        kms: Kms::Plain,
        outcome: Outcome::DoesNotStart,
        says: &[
            "Address family not supported by protocol (os error 97)",
            "RestrictAddressFamilies= of the server's service must allow AF_INET",
        ],
    },
    Case {
        title: "the same, where the name of the endpoint is looked up first",
        sandbox: Sandbox::Refuses(&["inet-socket=EAFNOSUPPORT"]),
        kms: Kms::ByName,
        outcome: Outcome::DoesNotStart,
        says: &[
            "Address family not supported by protocol (os error 97)",
            "RestrictAddressFamilies= of the server's service must allow AF_INET",
        ],
    },
    Case {
        title: "the same, where credentials are looked for first",
        sandbox: Sandbox::Refuses(&["inet-socket=EAFNOSUPPORT"]),
        kms: Kms::WithoutCredentials,
        outcome: Outcome::DoesNotStart,
        says: &[
            "no AWS credentials",
            "Address family not supported by protocol (os error 97)",
            "RestrictAddressFamilies= of the server's service must allow AF_INET",
        ],
    },
    Case {
        title: "SystemCallFilter=~@network-io: the plugin cannot start, and names the setting",
        sandbox: Sandbox::Refuses(&["inet-socket=EPERM"]),
        kms: Kms::Plain,
        outcome: Outcome::DoesNotStart,
        says: &["Operation not permitted (os error 1)", "SystemCallFilter= of the server's service, or the profile"],
    },
    Case {
        title: "a connection is refused with EPERM",
        sandbox: Sandbox::Refuses(&["connect=EPERM"]),
        kms: Kms::Plain,
        outcome: Outcome::DoesNotStart,
        says: &["Operation not permitted (os error 1)", "SystemCallFilter= of the server's service, or the profile"],
    },
    Case {
        title: "a connection is denied with EACCES, as SELinux and AppArmor do",
        sandbox: Sandbox::Refuses(&["connect=EACCES"]),
        kms: Kms::Plain,
        outcome: Outcome::DoesNotStart,
        says: &["Permission denied (os error 13)", "SELinux (setsebool", "mysql_connect_any"],
    },
    Case {
        title: "PrivateNetwork=yes: the plugin cannot start, and names the setting",
        sandbox: Sandbox::NoNetwork,
        kms: Kms::Plain,
        outcome: Outcome::DoesNotStart,
        says: &["Network is unreachable (os error 101)", "PrivateNetwork= of the service"],
    },
    Case {
        title: "the same, where the name of the endpoint is looked up first",
        sandbox: Sandbox::NoNetwork,
        kms: Kms::ByName,
        outcome: Outcome::DoesNotStart,
        says: &["Network is unreachable (os error 101)", "PrivateNetwork= of the service"],
    },
    Case {
        title: "the same, where credentials are looked for first",
        sandbox: Sandbox::NoNetwork,
        kms: Kms::WithoutCredentials,
        outcome: Outcome::DoesNotStart,
        says: &["no AWS credentials", "Network is unreachable (os error 101)", "PrivateNetwork= of the service"],
    },
    Case {
        title: "a network without a default route: a name that is not found is not called a missing network",
        sandbox: Sandbox::NoDefaultRoute,
        kms: Kms::ByName,
        outcome: Outcome::DoesNotStart,
        // Right after the name of the class.
        says: &["did not answer properly: io error"],
    },
    Case {
        title: "the same: what the sources of credentials say comes first",
        sandbox: Sandbox::NoDefaultRoute,
        kms: Kms::WithoutCredentials,
        outcome: Outcome::DoesNotStart,
        says: &["no AWS credentials: Ec2InstanceMetadata: "],
    },
    Case {
        title: "LimitMEMLOCK=64K: 40 keys are loaded and locked",
        sandbox: Sandbox::LimitMemlock(65536),
        kms: Kms::Plain,
        outcome: Outcome::Works,
        says: &[],
    },
    Case {
        title: "LimitMEMLOCK=64K, and all 40 keys are rotated: what cannot be locked is told",
        sandbox: Sandbox::LimitMemlock(65536),
        kms: Kms::Plain,
        outcome: Outcome::RotatesAll,
        says: &["could not be locked into memory (Cannot allocate memory (os error 12))", "LimitMEMLOCK"],
    },
    Case {
        title: "LimitMEMLOCK=0: what cannot be locked is told",
        sandbox: Sandbox::LimitMemlock(0),
        kms: Kms::Plain,
        outcome: Outcome::Works,
        says: &["could not be locked into memory (Operation not permitted (os error 1))", "LimitMEMLOCK"],
    },
    Case {
        title: "a key folder that is not in ReadWritePaths=: keys are used, none is made, and the setting is named",
        sandbox: Sandbox::ReadOnlyKeys,
        kms: Kms::Plain,
        outcome: Outcome::CannotRotate,
        says: &[
            "nothing can be written to the folder of the key files",
            "Read-only file system (os error 30)",
            "ReadWritePaths=",
        ],
    },
    Case {
        title: "SystemCallFilter=~madvise: a warning of core dumps",
        sandbox: Sandbox::Refuses(&["madvise=EPERM"]),
        kms: Kms::Plain,
        outcome: Outcome::Works,
        says: &["left out of core dumps (Operation not permitted (os error 1))", "SystemCallFilter="],
    },
    Case {
        title: "SystemCallFilter=~mlock: a warning of swap space",
        sandbox: Sandbox::Refuses(&["mlock=EPERM"]),
        kms: Kms::Plain,
        outcome: Outcome::Works,
        says: &["locked into memory (Operation not permitted (os error 1))", "SystemCallFilter="],
    },
    Case {
        title: "SystemCallFilter=~memfd_create: nothing is missed",
        sandbox: Sandbox::Refuses(&["memfd_create=EPERM"]),
        kms: Kms::Plain,
        outcome: Outcome::Works,
        says: &[],
    },
    Case {
        title: "SystemCallFilter=~getrandom: nothing is missed",
        sandbox: Sandbox::Refuses(&["getrandom=EPERM"]),
        kms: Kms::Plain,
        outcome: Outcome::Works,
        says: &[],
    },
    Case {
        title: "SystemCallFilter=~flock: keys are used, none is made",
        sandbox: Sandbox::Refuses(&["flock=EPERM"]),
        kms: Kms::Plain,
        outcome: Outcome::CannotRotate,
        says: &["could not lock", "Operation not permitted (os error 1)", "SystemCallFilter="],
    },
    Case {
        title: "flock that the kernel does not know: fcntl locks in its place",
        sandbox: Sandbox::Refuses(&["flock=ENOSYS"]),
        kms: Kms::Plain,
        outcome: Outcome::Works,
        says: &[],
    },
    Case {
        title: "SystemCallFilter=~renameat2: a hard link in its place",
        sandbox: Sandbox::Refuses(&["renameat2=EPERM"]),
        kms: Kms::Plain,
        outcome: Outcome::Works,
        says: &[],
    },
    Case {
        title: "SystemCallFilter=~renameat2 linkat: keys are used, none is made",
        sandbox: Sandbox::Refuses(&["renameat2=EPERM", "linkat=EPERM"]),
        kms: Kms::Plain,
        outcome: Outcome::CannotRotate,
        says: &["no key is made", "Operation not permitted (os error 1)", "SystemCallFilter="],
    },
    Case {
        title: "SystemCallFilter=~fsync: the server does not start",
        sandbox: Sandbox::Refuses(&["fsync=EPERM"]),
        kms: Kms::Plain,
        outcome: Outcome::DoesNotStart,
        says: &["could not sync key file", "Operation not permitted (os error 1)", "SystemCallFilter="],
    },
    Case {
        title: "SystemCallFilter=~epoll_create1: the plugin cannot start",
        sandbox: Sandbox::Refuses(&["epoll_create1=EPERM"]),
        kms: Kms::Plain,
        outcome: Outcome::DoesNotStart,
        says: &["Operation not permitted (os error 1)", "SystemCallFilter="],
    },
];
