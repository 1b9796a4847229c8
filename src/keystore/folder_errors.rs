//! What is wrong with the folder of the key files, and with the file system that it is on.

/// What is wrong with a folder in place of the one where the keys of the datadir lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongFolder {
    /// There is no key file in it, and no manifest.
    #[error("holds no keys")]
    Empty,
    /// It has another id.
    #[error("holds other keys (its aws-kms-key.folder.json has another id)")]
    Other,
    /// It has no id.
    #[error("is not known to hold them (aws-kms-key.folder.json is missing: copy it too)")]
    Nameless,
}

/// What a file system cannot do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lacks {
    /// Neither flock(2) nor fcntl(2) locks a file.
    #[error("gives no file locks, without which two servers could make the same key")]
    Locks,
    /// Neither renameat2(2) nor link(2) gives a file a name without taking it from another.
    #[error("has neither hard links nor a rename that spares what is there, so a key file could be overwritten")]
    ExclusiveNames,
}

impl Lacks {
    /// What to do.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Locks => {
                "Mount it with locks (NFS with its lock service and without 'nolock', Lustre with 'flock'), or keep the key \
                 files on another file system (aws_key_management_keyfile_dir)"
            }
            Self::ExclusiveNames => "Keep the key files on another file system (aws_key_management_keyfile_dir)",
        }
    }
}
