//! For CPUs that have no kernel here.

use super::super::CipherError;
use super::Bytes;

/// There is none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Kernel {}

impl Kernel {
    pub(in super::super) fn detected() -> impl Iterator<Item = Self> {
        std::iter::empty()
    }

    pub(in super::super) fn name(self) -> &'static str {
        match self {}
    }
}

/// There are none without a kernel.
pub(in super::super) struct RoundKeys(Kernel);

impl RoundKeys {
    pub(in super::super) fn room(kernel: Kernel, _: usize) -> Result<Self, CipherError> {
        match kernel {}
    }

    pub(in super::super) fn make_encrypting(&mut self, _: &[u8]) {
        match self.0 {}
    }

    pub(in super::super) fn make_decrypting(&mut self, _: &[u8], _: &mut Bytes) {
        match self.0 {}
    }

    pub(in super::super) fn cbc_encrypt(&self, _: &mut Bytes, _: &[Bytes], _: &mut [Bytes]) {
        match self.0 {}
    }

    pub(in super::super) fn cbc_decrypt(&self, _: &mut Bytes, _: &[Bytes], _: &mut [Bytes]) {
        match self.0 {}
    }

    pub(in super::super) fn ctr(&self, _: &mut u128, _: &[Bytes], _: &mut [Bytes], _: Option<&mut Bytes>) {
        match self.0 {}
    }

    pub(in super::super) fn gcm(
        &self,
        _: &mut Hash,
        _: &mut u128,
        _: &[Bytes],
        _: &mut [Bytes],
        _: Option<&mut Bytes>,
        _: Hashed,
    ) {
        match self.0 {}
    }

    pub(in super::super) fn encrypt(&self, _: &mut Bytes) {
        match self.0 {}
    }
}

/// Which side of GCM is the ciphertext.
pub(in super::super) enum Hashed {
    Input,
    Output,
}

/// There is none without a kernel.
pub(in super::super) struct Hash(Kernel);

impl Hash {
    pub(in super::super) fn new(kernel: Kernel) -> Self {
        match kernel {}
    }

    pub(in super::super) fn set_key(&mut self, _: &Bytes) {
        match self.0 {}
    }

    pub(in super::super) fn block(&mut self, _: &Bytes) {
        match self.0 {}
    }

    pub(in super::super) fn value(&self) -> &Bytes {
        match self.0 {}
    }
}
