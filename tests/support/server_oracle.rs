//! The server's own AES, as the oracle.
#![allow(dead_code, reason = "each test uses its part")]

use aws_key_management::cipher::{Algorithm, Direction, Padding};

use super::cipher_cases::{Oracle, Setup};
use plugin_host::server_aes::{DECRYPT, ENCRYPT, Mode, NOPAD, ServerAes};

impl Oracle for ServerAes {
    fn message(&self, setup: Setup, key: &[u8], iv: &[u8; 16], input: &[u8]) -> Option<Vec<u8>> {
        self.crypt(mode(setup), flags(setup), key, iv, input).ok()
    }
}

/// The server's name for it.
pub fn mode(setup: Setup) -> Mode {
    match (setup.algorithm, setup.padding) {
        (Algorithm::AesCbc, _) => Mode::Cbc,
        (Algorithm::AesCtr, Padding::None) => Mode::Ctr,
        (Algorithm::AesCtr, Padding::Pkcs7) => Mode::Gcm,
    }
}

/// The server's flags.
pub fn flags(setup: Setup) -> i32 {
    let direction = match setup.direction {
        Direction::Encrypt => ENCRYPT,
        Direction::Decrypt => DECRYPT,
    };
    match setup.padding {
        Padding::None => direction | NOPAD,
        Padding::Pkcs7 => direction,
    }
}
