//! The server's declarations, made by bindgen from its headers (see `include/plugin.h` and `build.rs`).

#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals, dead_code, missing_docs)]
#![allow(clippy::all)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
