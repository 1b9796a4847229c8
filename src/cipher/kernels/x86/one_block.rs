//! AES-NI.

one_block_loops!("aes,avx,pclmulqdq");
