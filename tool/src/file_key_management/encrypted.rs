//! A key file that `openssl enc -aes-256-cbc` has encrypted: `Salted__`, a salt of 8 bytes, and the ciphertext. Key and IV come
//! from the password and the salt: by OpenSSL's `EVP_BytesToKey` with one iteration, of SHA-1 up to MariaDB 11.8; from 12.0.1 on
//! with any digest that `file_key_management_digest` names, or by PBKDF2 with `file_key_management_use_pbkdf2` iterations.

use std::path::Path;

use anyhow::{Result, anyhow, ensure};
use aws_key_management::cipher::{Algorithm, CipherError, Context, Direction, Padding};
use pbkdf2::pbkdf2_hmac;
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512};
use zeroize::{Zeroize, Zeroizing};

use super::{WRONG_PASSWORD, read_at_most};

/// The values of `file_key_management_digest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Digest {
    /// The only one up to MariaDB 11.8
    Sha1,
    /// From MariaDB 12.0.1 on
    Sha224,
    /// From MariaDB 12.0.1 on
    Sha256,
    /// From MariaDB 12.0.1 on
    Sha384,
    /// From MariaDB 12.0.1 on
    Sha512,
}

/// The password of a key file, and how it becomes a key.
pub struct Password {
    password: Zeroizing<Vec<u8>>,
    digest: Digest,
    /// 0: no PBKDF2.
    iterations: u32,
}

impl Password {
    /// From a file, as the server reads it: without the line breaks at its end.
    pub fn read(path: &Path, digest: Digest, iterations: u32) -> Result<Self> {
        let mut password = read_at_most(path, LONGEST_PASSWORD + LINE_BREAKS)?;
        while password.last().is_some_and(|byte| b"\r\n".contains(byte)) {
            password.pop();
        }
        ensure!(
            password.len() as u64 <= LONGEST_PASSWORD,
            "the password in {} is longer than the {LONGEST_PASSWORD} bytes that the server reads",
            path.display()
        );
        ensure!(!password.is_empty(), "there is no password in {}", path.display());
        // Up to the first zero byte.
        if let Some(end) = password.iter().position(|byte| *byte == 0) {
            password.truncate(end);
        }
        Ok(Self { password, digest, iterations })
    }

    /// Decrypts a whole key file.
    pub fn decrypt(&self, file: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let (salt, ciphertext) = parts(file).ok_or_else(|| anyhow!("it ends too early"))?;
        let mut key_and_iv = Zeroizing::new([0; KEY_LEN + IV_LEN]);
        self.derive(salt, &mut *key_and_iv);
        let (key, iv) = key_and_iv.split_at(KEY_LEN);
        decrypt(key, iv, ciphertext).map_err(|error| match error {
            CipherError::Truncated => anyhow!("it ends too early"),
            _ => anyhow!("{WRONG_PASSWORD}"),
        })
    }

    fn derive(&self, salt: &[u8], out: &mut [u8]) {
        match self.digest {
            Digest::Sha1 if self.iterations > 0 => pbkdf2_hmac::<Sha1>(&self.password, salt, self.iterations, out),
            Digest::Sha224 if self.iterations > 0 => pbkdf2_hmac::<Sha224>(&self.password, salt, self.iterations, out),
            Digest::Sha256 if self.iterations > 0 => pbkdf2_hmac::<Sha256>(&self.password, salt, self.iterations, out),
            Digest::Sha384 if self.iterations > 0 => pbkdf2_hmac::<Sha384>(&self.password, salt, self.iterations, out),
            Digest::Sha512 if self.iterations > 0 => pbkdf2_hmac::<Sha512>(&self.password, salt, self.iterations, out),
            Digest::Sha1 => bytes_to_key::<Sha1>(&self.password, salt, out),
            Digest::Sha224 => bytes_to_key::<Sha224>(&self.password, salt, out),
            Digest::Sha256 => bytes_to_key::<Sha256>(&self.password, salt, out),
            Digest::Sha384 => bytes_to_key::<Sha384>(&self.password, salt, out),
            Digest::Sha512 => bytes_to_key::<Sha512>(&self.password, salt, out),
        }
    }
}

/// Whether a key file is encrypted.
pub fn is_encrypted(file: &[u8]) -> bool {
    file.starts_with(MAGIC)
}

fn parts(file: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = file.strip_prefix(MAGIC)?;
    (rest.len() > SALT_LEN).then(|| rest.split_at(SALT_LEN))
}

/// OpenSSL's `EVP_BytesToKey` with one iteration: each digest is of the one before, the password and the salt.
fn bytes_to_key<D: sha2::Digest>(password: &[u8], salt: &[u8], out: &mut [u8]) {
    let mut before = Zeroizing::new(Vec::new());
    for part in out.chunks_mut(<D as sha2::Digest>::output_size()) {
        let mut digest = D::new().chain_update(&*before).chain_update(password).chain_update(salt).finalize();
        before = Zeroizing::new(digest.to_vec());
        digest.as_mut_slice().zeroize();
        part.copy_from_slice(&before[..part.len()]);
    }
}

fn decrypt(key: &[u8], iv: &[u8], ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, CipherError> {
    let mut context = Context::new(Algorithm::AesCbc, Direction::Decrypt, Padding::Pkcs7, key, iv)?;
    let mut text = Zeroizing::new(vec![0; context.update_len(ciphertext.len())]);
    let written = context.update(ciphertext, &mut text)?;
    text.truncate(written);
    text.extend_from_slice(&context.finish()?);
    Ok(text)
}

const MAGIC: &[u8] = b"Salted__";
const SALT_LEN: usize = 8;
const KEY_LEN: usize = 32;
const IV_LEN: usize = 16;
const LONGEST_PASSWORD: u64 = 256;
const LINE_BREAKS: u64 = 16;

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)] // clippy sees no tests in the helpers

    use super::*;

    fn password(text: &str, digest: Digest, iterations: u32) -> Result<Password> {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("password");
        std::fs::write(&path, text).expect("write");
        Password::read(&path, digest, iterations)
    }

    fn file(ciphertext: &str) -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&ciphertext[at..at + 2], 16).expect("digits");
        [MAGIC, SALT, &(0..ciphertext.len()).step_by(2).map(digit).collect::<Vec<_>>()].concat()
    }

    #[test]
    fn what_openssl_has_encrypted_in_any_of_the_servers_ways_is_decrypted_in_that_way_and_in_no_other() {
        for (digest, iterations, ciphertext) in ENCRYPTED {
            let file = file(ciphertext);
            assert!(is_encrypted(&file));
            let text = password("secret word\r\n\n", digest, iterations).expect("a password").decrypt(&file);
            assert_eq!(*text.expect("decrypted"), TEXT, "{digest:?} {iterations}");
            let others = [
                ("secret words", digest, iterations),
                ("secret word", if digest == Digest::Sha1 { Digest::Sha256 } else { Digest::Sha1 }, iterations),
                ("secret word", digest, iterations + 1),
            ];
            for (word, digest, iterations) in others {
                let text = password(word, digest, iterations).expect("a password").decrypt(&file);
                // One wrong key out of 256 leaves padding that looks right.
                assert!(text.is_err_and(|error| error.to_string().contains("--use-pbkdf2")), "{digest:?} {iterations}");
            }
            let ends = [8, 16, 17, 31, file.len() - 1];
            // PBKDF2 takes its time, which is what it is for.
            for end in ends.into_iter().filter(|_| iterations == 0) {
                let text = password("secret word", digest, iterations).expect("a password").decrypt(&file[..end]);
                assert_eq!(text.err().map(|error| error.to_string()).as_deref(), Some("it ends too early"), "{end}");
            }
        }
    }

    #[test]
    fn a_password_that_the_server_would_not_read_as_it_stands_is_refused() {
        let of = |text: &str| password(text, Digest::Sha1, 0).map(|password| password.password.to_vec());
        assert_eq!(of(&"x".repeat(256)).expect("a password"), "x".repeat(256).as_bytes());
        assert_eq!(of("x\0y").expect("a password"), b"x");
        for (text, what) in [("", "there is no password"), ("\r\n", "there is no password")] {
            assert!(of(text).is_err_and(|error| error.to_string().contains(what)));
        }
        assert!(of(&"x".repeat(257)).is_err_and(|error| error.to_string().contains("longer than the 256 bytes")));
    }

    const TEXT: &[u8] = b"1;000102030405060708090a0b0c0d0e0f\n\
        7;202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f\n";
    const SALT: &[u8] = b"\x01\x02\x03\x04\x05\x06\x07\x08";

    /// By `openssl enc -aes-256-cbc -md DIGEST [-pbkdf2 -iter ITERATIONS] -k 'secret word' -S 0102030405060708`.
    const ENCRYPTED: [(Digest, u32, &str); 10] = [
        (
            Digest::Sha1,
            0,
            "8bbb5fc5bdaa44f13ae43d4ccdf64fd41a8c823b3e77819bad23e137d6cfa4638799363d68f7be6ebd0f204d774c88473e01da692474830959eb14b8be045864595591f4225b5ae63da43204dba3eb1c53b565514d23f37ed5277830ced3aba79a54e67959688ca04be48dabcdfe3725",
        ),
        (
            Digest::Sha1,
            11000,
            "2bd92bf62a1a37232097a9928fe90d526cbc231072af5de1a9a55c3d06a1f6190bbc3a22aac49d2c27151912845d4c299ade47b513b87d46aa884c67eddd134eb67c5ec24becb1f64d75eb1bc8c32ed4f3d8ef1eaf62d8863f85b379b6d6eb724796561b60da63ff1e727e77de0a9b1f",
        ),
        (
            Digest::Sha224,
            0,
            "d7b05a06df8b530938ee52462ee08b97a9f6bee4e43608d5146a53a0893e04bf0c5d84d4c3677e103c9ad9320fcbefac2f85f8eeff29e5a9ab2479b33ab1c3090479a0f25a8fe25958bb67bcdcca0b6d715876b0c14ad93b6c01986e0bd76920409142853e192f362881ec4aaa928b22",
        ),
        (
            Digest::Sha224,
            11000,
            "68208788cc2471aeb8b00e366238996c352384990bd32fdb5c4c0eedea383e83d86a19d161c10dfccdcaf30bba035462a333da819571dac1e8dbd14f05f442bee88a369b5b16b549c9fe556ee91e7c8b11cdd8ba47943410c27eda00d5ed9433325a9fca0d8b612560c7fd26dd4137e9",
        ),
        (
            Digest::Sha256,
            0,
            "5370b287abcc9ca482bd16f0ea02f238bb0ca1e4c4b6ef19be422641dc69a66cb7c0d6a04dff088709447668a3689a8ec8eb18e601f3c41872621dec40389808abf67dd6edf5a5426d91beebcf67e4e7cde89035987568749c963807824dbfcc877cefde644f930014cec67728ee78f8",
        ),
        (
            Digest::Sha256,
            11000,
            "6bfb39bc140ea576648cd9d2bc1ffec9c59bc12f0640f6bf960de62110790ec61514031eaf1fb6746e2aee4cbbb1ead052141700bf08f7ece7a925c2cd2ee68dbc68f999db721e726b8209fad1c851f8db2e8c5df851cfa0ae12c0d8ace129fd2c0e46dfcf5f9ece9cc7819c889d2b87",
        ),
        (
            Digest::Sha384,
            0,
            "454c6529f36fd7d7e8c50e92505efa170240c4578e90359ebdff716bb77e1ca6aa62728e82a9ebb214b5d42ff7d5e2ef4379823f9a3db07d00b7cbb58f81db0ae39cabf8f24cbf5cc9d302854ea0672c0a140ad26525e0ff2400971fb4cb5e110ac904eb795d6cf1a10912176825d853",
        ),
        (
            Digest::Sha384,
            11000,
            "b2b72c0b65947221087bf25445e4a942aa11b204c153e592cc39c4b3041ad8b7539fe2a85ab3c83e9c59d73c5af7e1729ad7207d12f482d877cdc2eeb89a5fe343e882381a145b34ebe9b2c0850b1a3e97e0cfd01783a9b2ee70a78496f1ebc645f4ebcf2f37ea7437657b1836b52808",
        ),
        (
            Digest::Sha512,
            0,
            "d1357dc22e958cdcec68f3fce54542e88a6f70cfe09dcf4767deb798697f5899e3ecaa058d2ec313f95f7368b45f5cddfb839a95fbad7ecd28e94a702d47001535afa808d72d6af6631ffa6321c7536191f8b9b90ae4dbbb3c81640a00d79b1300b79e4bbf3071592847a4aa5e4cb044",
        ),
        (
            Digest::Sha512,
            11000,
            "4896e9feea079c5814fd335660726f6ad6faa5e5208cfea1400930ce34f86f0669f6a2f298d49e4848398197ea5b4f261e9ef5bd8d21ad7b1eed2be85811e2e305028dbce2439af4293d441aba339ea21281a3eabb54bf7f4b16856cf49ddee37e97129e14754ea2c0c80fdb16679790",
        ),
    ];
}
