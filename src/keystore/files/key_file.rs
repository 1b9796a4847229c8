//! What is in a key file.
//!
//! Format 1 is the wrapped key as KMS gave it out and nothing else; format 2 is a JSON document around it, for what
//! format 1 cannot say. A file is format 2 only if it is such a document from the first byte to the last.

use std::collections::BTreeMap;
use std::time::SystemTime;

use aws_smithy_types::base64;
use serde::{Deserialize, Serialize};

use super::json::{AlgorithmName, AnyDocument, timestamp};
use crate::cipher::Algorithm;
use crate::keystore::{KeyName, KeyStoreError};
use crate::kms::{EncryptionContext, WrappedKey};

/// A key file's contents.
pub struct KeyFile {
    /// What the key version encrypts with.
    pub algorithm: Algorithm,
    /// The data key, wrapped.
    pub wrapped: WrappedKey,
}

impl KeyFile {
    /// Reads either format. Whatever is no document of format 2 is a wrapped key as it stands: what KMS thinks of it, KMS
    /// says when it is asked.
    pub fn parse(name: KeyName, bytes: &[u8]) -> Result<Self, KeyStoreError> {
        if let Ok(document) = serde_json::from_slice::<Document>(bytes) {
            return document.into_key_file(name);
        }
        match serde_json::from_slice::<AnyDocument>(bytes) {
            Ok(AnyDocument { format }) if format > FORMAT => Err(KeyStoreError::NewerKeyFile { name, format }),
            _ => Ok(Self { algorithm: Algorithm::AesCbc, wrapped: WrappedKey::new(bytes.to_vec()) }),
        }
    }

    /// In format 1 if that can say all there is to say, so that the plugin that this one replaces can read it.
    pub fn to_bytes(&self, name: KeyName, created: SystemTime) -> Result<Vec<u8>, KeyStoreError> {
        if self.algorithm == Algorithm::AesCbc && self.wrapped.encryption_context().is_empty() {
            return Ok(self.wrapped.as_bytes().to_vec());
        }
        let document = Document {
            format: FORMAT,
            key_id: name.id.value(),
            key_version: name.version.value(),
            algorithm: self.algorithm.into(),
            encryption_context: self.wrapped.encryption_context().pairs().clone(),
            created: timestamp(created),
            ciphertext: base64::encode(self.wrapped.as_bytes()),
        };
        let mut bytes = serde_json::to_vec_pretty(&document).map_err(|_| KeyStoreError::NoMemory(name))?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

const FORMAT: u32 = 2;

/// Format 2.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u32,
    key_id: u32,
    key_version: u32,
    algorithm: AlgorithmName,
    encryption_context: BTreeMap<String, String>,
    created: String,
    ciphertext: String,
}

impl Document {
    fn into_key_file(self, name: KeyName) -> Result<KeyFile, KeyStoreError> {
        if self.format != FORMAT {
            return Err(KeyStoreError::NewerKeyFile { name, format: self.format });
        }
        if KeyName::new(self.key_id, self.key_version) != Some(name) {
            return Err(KeyStoreError::OtherName { name, key_id: self.key_id, key_version: self.key_version });
        }
        let blob = base64::decode(&self.ciphertext).map_err(|_| KeyStoreError::BadKeyFile(name))?;
        let context = EncryptionContext::of(self.encryption_context);
        // KMS only sees to it that this is what was bound, and not that it is this key's.
        if !context.may_be_of(name.id.value()) {
            return Err(KeyStoreError::OtherContext(name));
        }
        let wrapped = WrappedKey::new(blob).with_encryption_context(context);
        Ok(KeyFile { algorithm: self.algorithm.into(), wrapped })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)] // clippy sees no tests in the helpers

    use super::*;

    fn name() -> KeyName {
        KeyName::new(7, 3).expect("a name")
    }

    fn text(wrapped: &[u8], algorithm: Algorithm) -> Vec<u8> {
        let file = KeyFile { algorithm, wrapped: WrappedKey::new(wrapped.to_vec()) };
        file.to_bytes(name(), SystemTime::UNIX_EPOCH).expect("text")
    }

    #[test]
    fn a_cbc_key_is_written_as_the_bare_wrapped_key() {
        assert_eq!(text(b"\x01\x02", Algorithm::AesCbc), b"\x01\x02");
    }

    #[test]
    fn a_ctr_key_is_written_as_a_document_and_read_back() {
        let bytes = text(b"\x01\x02", Algorithm::AesCtr);
        assert_eq!(
            String::from_utf8_lossy(&bytes),
            "{\n  \"format\": 2,\n  \"key_id\": 7,\n  \"key_version\": 3,\n  \"algorithm\": \"AES_CTR\",\n  \
             \"encryption_context\": {},\n  \"created\": \"1970-01-01T00:00:00Z\",\n  \"ciphertext\": \"AQI=\"\n}\n"
        );
        let file = KeyFile::parse(name(), &bytes).expect("parses");
        assert_eq!((file.algorithm, file.wrapped.as_bytes()), (Algorithm::AesCtr, &[1, 2][..]));
    }

    #[test]
    fn what_is_no_whole_document_is_a_wrapped_key() {
        let document = text(b"\x01\x02", Algorithm::AesCtr);
        let cut = &document[..document.len() - 3];
        let longer = [&document[..], b"x"].concat();
        let unknown = String::from_utf8_lossy(&document).replace("\"created\"", "\"made\"");
        for bytes in [b"{}", cut, &longer, unknown.as_bytes(), b"\x01{"] {
            let file = KeyFile::parse(name(), bytes).expect("a wrapped key");
            assert_eq!((file.algorithm, file.wrapped.as_bytes()), (Algorithm::AesCbc, bytes));
        }
    }

    #[test]
    fn a_document_under_another_name_or_of_a_newer_format_is_refused() {
        let bytes = text(b"\x01\x02", Algorithm::AesCtr);
        let other = KeyName::new(7, 4).expect("a name");
        let error = KeyFile::parse(other, &bytes).err().expect("refused").to_string();
        assert!(error.contains("key 7 version 4: its file holds key 7 version 3"), "{error}");
        for document in [&b"{\"format\": 3, \"what\": \"ever\"}"[..], &bytes] {
            let newer = String::from_utf8_lossy(document).replace("\"format\": 2", "\"format\": 3");
            let error = KeyFile::parse(name(), newer.as_bytes()).err().expect("refused").to_string();
            assert!(error.contains("format 3"), "{error}");
        }
    }
}
