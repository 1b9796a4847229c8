//! What a MariaDB server is to an encryption plugin, in this process: for tests, the benchmark and the fuzzer.
//!
//! | module | what it is |
//! |---|---|
//! | [`plugin`] | loads a plugin or takes one that is linked in, calls init, the callbacks and deinit |
//! | `variables` | fills in a plugin's variables, and owns their memory, as a server does |
//! | [`sql_function`] | calls a function for SQL of the plugin's library, as a statement does |
//! | `status` | reads a plugin's status variables, as a server does |
//! | `declaration` | the server's structs: a plugin's declaration, variable, callbacks |
//! | `message` | a whole message through functions that encrypt it part by part |
//! | [`server_aes`] | the server's own AES, to compare a plugin's with |
//! | [`mock_key_file`] | key files for the plugin's feature `mock` |

mod declaration;
mod message;
pub mod mock_key_file;
pub mod plugin;
pub mod server_aes;
pub mod sql_function;
mod status;
mod variables;

pub use declaration::{Crypt, CtxFinish, CtxInit, CtxUpdate, Declaration, Encryption};
pub use message::SLACK;
pub use plugin::{Cipher, FailedInit, KeyVersion, Plugin, Running};
