//! Files of the folder that are no key files, such as the manifest: of any length, and replaced as a whole.

use std::io;

use super::disk::Kind;
use super::durable_files::{KeyFolder, failed};
use crate::keystore::KeyStoreError;
use crate::keystore::failpoints::failpoint;

/// What was found under the name of a document, such as the manifest.
pub enum Document {
    /// Nothing.
    Missing,
    /// Something that is no file.
    NoFile,
    /// A file.
    File {
        /// All that is in it.
        contents: Vec<u8>,
        /// Its number: see [`Kind::File`].
        number: u64,
    },
}

impl KeyFolder {
    /// Reads a file that is no key file.
    pub fn read_document(&self, file_name: &str) -> io::Result<Document> {
        Ok(match self.open_document(file_name, u64::MAX)? {
            Some((contents, Kind::File { number, .. })) => Document::File { contents, number },
            Some(_) => Document::NoFile,
            None => Document::Missing,
        })
    }

    /// What has the name of a file that is no key file: the same as long as that is not replaced or changed.
    pub fn document_kind(&self, file_name: &str) -> io::Result<Option<Kind>> {
        Ok(self.open_document(file_name, 0)?.map(|(_, kind)| kind))
    }

    pub(super) fn open_document(&self, file_name: &str, at_most: u64) -> io::Result<Option<(Vec<u8>, Kind)>> {
        let path = self.path.join(file_name);
        let opened = match self.disk.kind(&path) {
            Ok(Kind::File { .. }) => self.disk.read(&path, at_most),
            kind => kind.map(|kind| (Vec::new(), kind)),
        };
        match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Writes a file that is no key file, in place of any that has the name. When this returns, it is whole and on the
    /// disk; until then, the one before is. `contents` are made of the file's number.
    pub fn replace_document(
        &self,
        file_name: &str,
        contents: impl FnOnce(u64) -> io::Result<Vec<u8>>,
    ) -> Result<(), KeyStoreError> {
        let path = self.path.join(file_name);
        let failed = |error| failed("write", &path, error);
        let file = self.write_temporary(contents, &path)?;
        failpoint!("before_rename");
        file.rename_over(&path).map_err(failed)?;
        failpoint!("after_rename");
        self.disk.sync_folder(&self.path).map_err(failed)
    }

    /// Gives a file that is no key file another name, in place of any that has it.
    pub fn rename_document(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(&self.path.join(from), &self.path.join(to))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)] // clippy sees no tests in the helpers

    use std::fs;
    use std::sync::Arc;

    use super::*;
    use crate::keystore::files::system_disk::SystemDisk;

    #[test]
    fn a_file_that_is_no_key_file_may_be_of_any_length_and_is_replaced_as_a_whole() {
        let dir = tempfile::tempdir().expect("dir");
        let folder = KeyFolder::open(Arc::new(SystemDisk), dir.path(), None).expect("folder");
        for length in [5, 1_000_000, 70_000] {
            let contents = |_| Ok(vec![b'x'; length]);
            folder.replace_document("aws-kms-key.manifest.json", contents).expect("replace");
            assert_eq!(fs::read(dir.path().join("aws-kms-key.manifest.json")).expect("read"), vec![b'x'; length]);
            assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 1, "no temporary file is left");
        }
    }
}
