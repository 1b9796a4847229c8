//! Key files for a plugin that was built with the feature `mock`: what they hold in place of a wrapped key is the key.
//! The formats are those of docs/key-files.md.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::KeyVersion;

/// The name of a version's file.
pub fn name(KeyVersion { id, version }: KeyVersion) -> String {
    format!("aws-kms-key.{id}.{version}")
}

/// A key for AES_CBC. Format 1 is the wrapped key and nothing else.
pub fn for_cbc(key: &[u8]) -> Vec<u8> {
    key.to_vec()
}

/// A key for AES_CTR, which only format 2 can say.
pub fn for_ctr(KeyVersion { id, version }: KeyVersion, key: &[u8]) -> Vec<u8> {
    let ciphertext = BASE64_STANDARD.encode(key);
    format!(
        r#"{{"format": 2, "key_id": {id}, "key_version": {version}, "algorithm": "AES_CTR", "encryption_context": {{}},
            "created": "2026-01-01T00:00:00Z", "ciphertext": "{ciphertext}"}}"#
    )
    .into_bytes()
}
