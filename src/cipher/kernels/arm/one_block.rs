//! AES and products of polynomials.

one_block_loops!("neon,aes");
