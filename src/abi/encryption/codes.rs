//! The numbers of the interface: flags that come in, codes that go out.

use std::ffi::{c_int, c_uint};

use super::super::bindings as c;
use super::super::export::Plain;
use crate::cipher::{CipherError, Direction, Padding};

/// No such key or version, or no answer: `ENCRYPTION_KEY_VERSION_INVALID`, (~(unsigned int)0).
pub(super) const INVALID: c_uint = c_uint::MAX;

/// The buffer is shorter than the key.
pub(super) const TOO_SMALL: c_uint = c::ENCRYPTION_KEY_BUFFER_TOO_SMALL;

/// As a length: more than the server's type can hold, for a message of nearly 4 GiB. No caller has one.
pub(super) const TOO_LONG: c_uint = c_uint::MAX;

// What the server's own functions answer: MY_AES_BAD_DATA, MY_AES_OPENSSL_ERROR, MY_AES_BAD_KEYSIZE
// (mysql/service_my_crypt.h).
pub(super) const BAD_DATA: c_int = -100;
pub(super) const ERROR: c_int = -101;
pub(super) const BAD_KEY_SIZE: c_int = -102;

/// Why a message cannot go on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Failure {
    /// The server did not keep to its own rules: NULL, an overlap that destroys the input, a context that was not made.
    Misuse,
    /// The cipher's.
    Cipher(CipherError),
}

impl From<CipherError> for Failure {
    fn from(error: CipherError) -> Self {
        Self::Cipher(error)
    }
}

impl Failure {
    pub(super) fn code(self) -> c_int {
        match self {
            Self::Cipher(CipherError::BadPadding | CipherError::Truncated | CipherError::Tampered) => BAD_DATA,
            Self::Cipher(CipherError::KeyLength) => BAD_KEY_SIZE,
            Self::Cipher(_) | Self::Misuse => ERROR,
        }
    }
}

/// What the flags `ENCRYPTION_FLAG_*` say.
#[derive(Clone, Copy)]
pub(super) struct Flags {
    pub(super) direction: Direction,
    pub(super) padding: Padding,
}

impl Plain for Flags {
    type Raw = (c_int,);

    #[inline(always)]
    fn from_plain((flags,): (c_int,)) -> Self {
        let has = |flag: c_uint| flags.cast_unsigned() & flag != 0;
        Self {
            direction: if has(c::ENCRYPTION_FLAG_ENCRYPT) { Direction::Encrypt } else { Direction::Decrypt },
            padding: if has(c::ENCRYPTION_FLAG_NOPAD) { Padding::None } else { Padding::Pkcs7 },
        }
    }
}
