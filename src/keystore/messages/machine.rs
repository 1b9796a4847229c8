//! What the machine does not give the key store: protection of memory, a folder to write to.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Messages;
use crate::keystore::folder_errors::remedy;
use crate::keystore::published::Exposure;

/// What has been told, and is not told again.
#[derive(Default)]
pub struct Told {
    to_swap: AtomicBool,
    to_core_dumps: AtomicBool,
    pub(super) manifest_is_lost: AtomicBool,
}

impl Messages {
    /// Says once what of the protection of memory is missing.
    pub fn exposure(&self, exposure: &Exposure) {
        self.once(&self.1.to_swap, exposure.to_swap.as_ref(), |error| {
            format!(
                "data keys could not be locked into memory ({error}) and may be written to swap space. Raise the limit \
                 of locked memory (LimitMEMLOCK of the service, or ulimit -l); a sandbox must allow mlock (SystemCallFilter=)"
            )
        });
        self.once(&self.1.to_core_dumps, exposure.to_core_dumps.as_ref(), |error| {
            format!(
                "data keys could not be left out of core dumps ({error}): who can read a core dump of this server can read \
                 its keys. Switch core dumps off (LimitCORE=0 of the service, or ulimit -c 0), or keep them from others; a \
                 sandbox must allow madvise (SystemCallFilter=)"
            )
        });
    }

    /// Says of `folder` that no key can be made there, if that is sure. What else goes wrong shows when one is made.
    pub fn writable(&self, folder: &Path, checked: io::Result<()>) {
        let Err(error) = checked else { return };
        let remedy = match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem => remedy(&error),
            io::ErrorKind::PermissionDenied => {
                " Give the server's user write access to it; if it has that, see what SELinux or AppArmor deny"
            }
            _ => return,
        };
        self.0.warning(&format!(
            "nothing can be written to the folder of the key files, {} ({error}): keys that exist are used, but none can be \
             made or rotated.{remedy}",
            folder.display()
        ));
    }

    fn once(&self, told: &AtomicBool, error: Option<&io::Error>, text: impl FnOnce(&io::Error) -> String) {
        if let Some(error) = error
            && !told.swap(true, Ordering::Relaxed)
        {
            self.0.warning(&text(error));
        }
    }
}
