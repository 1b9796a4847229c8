//! AWS KMS as the key store sees it: three calls, one of them also as a question, and errors in classes that say what to do.
//!
//! Knows no key file, no key id and no server.

#![forbid(unsafe_code)]

pub mod aws;
mod class;
mod encryption_context;
mod error;
mod figures;
#[cfg(feature = "mock")]
pub mod mock;

use std::fmt;
use std::time::Instant;

use zeroize::Zeroizing;

pub use class::{AtStart, Class};
pub use encryption_context::EncryptionContext;
pub use error::{Call, KmsError};
pub use figures::{Calls, Figures};

/// The calls that the plugin makes. What the plugin that this one replaces did needs the permissions
/// `kms:GenerateDataKeyWithoutPlaintext` and `kms:Decrypt` and nothing else. Each blocks the calling thread for a bounded time.
pub trait Kms: Send + Sync {
    /// Asks KMS for a new data key, wrapped by `master_key`, with `context` bound into it. The key itself is not in the
    /// answer.
    fn generate_data_key(
        &self,
        master_key: &MasterKeyId,
        spec: KeySpec,
        context: &EncryptionContext,
    ) -> Result<WrappedKey, KmsError>;

    /// Asks KMS whether it would make a data key, without making one. What it asks for is allowed by the permission for
    /// [`Kms::generate_data_key`].
    fn check_can_generate(
        &self,
        master_key: &MasterKeyId,
        spec: KeySpec,
        context: &EncryptionContext,
    ) -> Result<(), KmsError>;

    /// Wraps `key`, a data key of 1 to 4096 bytes, by `master_key`, with `context` bound into it.
    fn encrypt(
        &self,
        master_key: &MasterKeyId,
        key: &[u8],
        context: &EncryptionContext,
    ) -> Result<WrappedKey, KmsError>;

    /// Unwraps all of `wrapped`, several at a time, and answers in their order. What has not been answered at `until`
    /// counts as [`Class::Transient`].
    fn decrypt_all(&self, wrapped: &[WrappedKey], until: Instant) -> Vec<Result<PlainKey, KmsError>>;

    /// What a restart would make different of where KMS is asked, if this master key were then the one of new keys: what an
    /// operator has to write down before.
    fn after_restart(&self, _master_key: &MasterKeyId) -> Option<String> {
        None
    }

    /// Unwraps one data key, in the time that one call may take.
    fn decrypt(&self, wrapped: &WrappedKey) -> Result<PlainKey, KmsError>;
}

/// A data key as KMS gives it out: encrypted by a master key that never leaves KMS. Not a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappedKey {
    blob: Vec<u8>,
    encryption_context: EncryptionContext,
    master_key: Option<MasterKeyId>,
}

impl WrappedKey {
    /// `blob` is a `CiphertextBlob` of KMS: raw bytes, at most 6144 of them today.
    pub fn new(blob: Vec<u8>) -> Self {
        Self { blob, encryption_context: EncryptionContext::default(), master_key: None }
    }

    /// With what KMS bound into it.
    pub fn with_encryption_context(mut self, encryption_context: EncryptionContext) -> Self {
        self.encryption_context = encryption_context;
        self
    }

    /// The bytes that KMS made.
    pub fn as_bytes(&self) -> &[u8] {
        &self.blob
    }

    /// See [`WrappedKey::with_encryption_context`].
    pub fn encryption_context(&self) -> &EncryptionContext {
        &self.encryption_context
    }

    /// The master key that wraps it, as far as it is known: KMS is asked in that key's region, if the name tells it.
    pub fn with_master_key(mut self, master_key: Option<MasterKeyId>) -> Self {
        self.master_key = master_key;
        self
    }

    /// See [`WrappedKey::with_master_key`].
    pub fn master_key(&self) -> Option<&MasterKeyId> {
        self.master_key.as_ref()
    }
}

/// A data key in the clear: wiped when dropped, and without `Debug`, `Clone` and `Display`.
pub struct PlainKey {
    bytes: Zeroizing<Vec<u8>>,
    master_key: Option<String>,
}

impl PlainKey {
    /// Takes over `key`; the buffer is wiped when the `PlainKey` is dropped. `master_key` is the ARN of the master key
    /// that it was wrapped by, if KMS said so.
    pub fn new(key: Vec<u8>, master_key: Option<String>) -> Self {
        Self { bytes: Zeroizing::new(key), master_key }
    }

    /// The key's bytes: 16 or 32, if KMS did as it was asked.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The ARN of the master key that it was wrapped by.
    pub fn master_key(&self) -> Option<&str> {
        self.master_key.as_deref()
    }
}

/// Length of a new data key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySpec {
    /// 16 bytes.
    Aes128,
    /// 32 bytes.
    Aes256,
}

impl KeySpec {
    /// The key's length in bytes.
    pub fn key_len(self) -> usize {
        match self {
            Self::Aes128 => 16,
            Self::Aes256 => 32,
        }
    }
}

impl fmt::Display for KeySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aes128 => "AES_128",
            Self::Aes256 => "AES_256",
        })
    }
}

/// Names a KMS key: a key id, a key ARN, `alias/NAME` or the ARN of an alias.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MasterKeyId(String);

impl MasterKeyId {
    /// `None` if no KMS key can have this name: KMS takes 1 to 2048 characters out of `[A-Za-z0-9:/_-]` (API reference
    /// of GenerateDataKeyWithoutPlaintext, KeyId; CreateAlias, AliasName).
    pub fn parse(name: &str) -> Option<Self> {
        let usable = (1..=2048).contains(&name.len())
            && !name.ends_with("alias/")
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":/_-".contains(&byte));
        usable.then(|| Self(name.to_owned()))
    }

    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The region that it is in, if the name is an ARN.
    pub fn region(&self) -> Option<&str> {
        let mut parts = self.0.split(':');
        let is_arn = parts.next() == Some("arn") && parts.nth(1) == Some("kms");
        parts.next().filter(|region| is_arn && !region.is_empty())
    }

    /// The id that all replicas of a multi-region key share, if the name is such an id or an ARN with one. What an alias
    /// stands for, only KMS knows.
    pub fn multi_region_id(&self) -> Option<&str> {
        let id = if self.region().is_some() { self.0.split_once(":key/").map(|(_, id)| id) } else { Some(&*self.0) };
        id.filter(|id| id.starts_with("mrk-"))
    }

    /// The replica of a multi-region key in `region`: its ARN, or its id, which is the same everywhere. Another name stays
    /// as it is.
    pub fn replica_in(&self, region: &str) -> Self {
        let parts: Vec<&str> = self.0.splitn(5, ':').collect();
        match parts[..] {
            [arn, partition, kms, _, key] if self.multi_region_id().is_some() => {
                Self([arn, partition, kms, region, key].join(":"))
            }
            _ => self.clone(),
        }
    }
}

impl fmt::Display for MasterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_kms_key_name_is_a_master_key_id() {
        for name in [
            "1234abcd-12ab-34cd-56ef-1234567890ab",
            "mrk-1234abcd12ab34cd56ef1234567890ab",
            "arn:aws:kms:us-east-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "alias/mariadb_data-keys/prod",
            "arn:aws-cn:kms:cn-north-1:111122223333:alias/mariadb",
        ] {
            assert_eq!(MasterKeyId::parse(name).expect(name).as_str(), name);
        }
    }

    #[test]
    fn an_arn_tells_its_region_and_another_name_does_not() {
        let region = |name| MasterKeyId::parse(name).and_then(|name| name.region().map(str::to_owned));
        assert_eq!(region("arn:aws:kms:us-east-2:111122223333:key/1234"), Some("us-east-2".to_owned()));
        assert_eq!(region("arn:aws-cn:kms:cn-north-1:1:alias/mariadb"), Some("cn-north-1".to_owned()));
        for name in ["1234", "alias/a:b:kms:us-east-2", "arn:aws:s3:us-east-2:1:key/1", "arn:aws:kms::1:key/1", "arn"] {
            assert_eq!(region(name), None, "{name}");
        }
    }

    #[test]
    fn the_replicas_of_a_multi_region_key_have_one_id_and_arns_that_differ_in_the_region() {
        let parse = |name| MasterKeyId::parse(name).expect("a name");
        let arn = parse("arn:aws:kms:eu-west-1:1:key/mrk-12");
        assert_eq!(arn.multi_region_id(), Some("mrk-12"));
        assert_eq!(arn.replica_in("us-east-1").as_str(), "arn:aws:kms:us-east-1:1:key/mrk-12");
        assert_eq!(parse("mrk-12").multi_region_id(), Some("mrk-12"));
        for name in ["mrk-12", "12", "arn:aws:kms:eu-west-1:1:key/12", "arn:aws:kms:eu-west-1:1:alias/mrk-12"] {
            assert_eq!(parse(name).replica_in("us-east-1").as_str(), name);
        }
        for name in ["12", "alias/mrk-12", "arn:aws:kms:eu-west-1:1:key/12", "arn:aws:kms:eu-west-1:1:alias/mrk-12"] {
            assert_eq!(parse(name).multi_region_id(), None, "{name}");
        }
    }

    #[test]
    fn a_key_spec_is_called_as_kms_calls_it() {
        use aws_sdk_kms::types::DataKeySpec;

        for (spec, of_kms) in [(KeySpec::Aes128, DataKeySpec::Aes128), (KeySpec::Aes256, DataKeySpec::Aes256)] {
            assert_eq!(spec.to_string(), of_kms.as_str());
        }
    }

    #[test]
    fn what_no_kms_key_can_be_called_is_refused() {
        for name in ["", " ", "alias/", "alias/a b", "key\n", "'x'", "schlüssel", &"a".repeat(2049)] {
            assert!(MasterKeyId::parse(name).is_none(), "{name:?}");
        }
    }
}
