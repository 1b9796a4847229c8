//! Why a message is refused.

/// Why a message cannot be encrypted or decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CipherError {
    /// The key has not 16, 24 or 32 bytes.
    #[error("an AES key has 16, 24 or 32 bytes")]
    KeyLength,
    /// The IV has not 16 bytes.
    #[error("an AES initialisation vector has 16 bytes")]
    IvLength,
    /// The padding of the last block is wrong: a wrong key or IV, or damaged data.
    #[error("wrong padding: wrong key or damaged data")]
    BadPadding,
    /// The ciphertext is empty or does not end where it must.
    #[error("the ciphertext was cut short")]
    Truncated,
    /// The tag does not fit the ciphertext: a wrong key or IV, or damaged data.
    #[error("wrong authentication tag: wrong key or damaged data")]
    Tampered,
    /// An authenticated ciphertext came in more than one piece.
    #[error("an authenticated ciphertext must be decrypted in one piece")]
    Split,
    /// More than the counter of GCM can number, about 64 GiB.
    #[error("the message is too long for AES-GCM")]
    TooLong,
    /// The output is shorter than `update_len` says. Nothing was written or taken in.
    #[error("the output buffer is too small")]
    OutputTooSmall,
}
