//! The JSON, and the three functions as a server calls them. In a process that is no server nobody has the right PROCESS; the
//! function itself is for connections that have it, and its memory is tried here without one.

#![allow(clippy::expect_used)] // clippy sees no tests in the helpers

use std::ffi::CStr;
use std::ptr;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::*;
use crate::abi::export::Argument;
use crate::cipher::Algorithm;
use crate::keystore::{KeyName, ListedVersion, VersionState};
use crate::kms::EncryptionContext;

fn listed(version: u32, state: VersionState) -> ListedVersion {
    ListedVersion {
        name: KeyName::new(7, version).expect("a name"),
        is_latest: false,
        state,
        algorithm: None,
        key_bits: None,
        created: None,
        created_by: String::new(),
        master_key: None,
        wraps: 0,
        encryption_context: None,
        last_verified: None,
        error: None,
    }
}

#[test]
fn a_row_has_all_columns_with_dates_as_sql_has_them() {
    let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    let version = ListedVersion {
        is_latest: true,
        algorithm: Some(Algorithm::AesCtr),
        key_bits: Some(256),
        created: at(1_795_489_805),
        created_by: "dba@%".to_owned(),
        master_key: Some("arn:aws:kms:..".to_owned()),
        wraps: 2,
        encryption_context: Some(EncryptionContext::parse("stage=prod, server=db1").expect("a context")),
        last_verified: at(0),
        ..listed(3, VersionState::Ok)
    };
    let expected = json!([{
        "KEY_ID": 7, "KEY_VERSION": 3, "IS_LATEST": true, "STATE": "ok", "ALGORITHM": "AES_CTR", "KEY_BITS": 256,
        "CREATED": "2026-11-24 03:10:05", "CREATED_BY": "dba@%", "MASTER_KEY": "arn:aws:kms:..", "WRAPS": 2,
        "CONTEXT": "server=db1,stage=prod", "LAST_VERIFIED": "1970-01-01 00:00:00", "ERROR": null
    }]);
    assert_eq!(parse(&json::of(&[version])), expected);
}

#[test]
fn what_is_not_known_is_null_and_the_states_have_the_words_that_are_documented() {
    use VersionState::{Failed, LeftBehind, Missing, NotLoaded, NotTrusted, Ok, Retired, Unready};
    let all = [Ok, Unready, NotTrusted, Failed, Missing, LeftBehind, Retired, NotLoaded];
    let json = parse(&json::of(&all.map(|state| listed(1, state))));
    let words: Vec<&str> = json.as_array().expect("rows").iter().filter_map(|row| row["STATE"].as_str()).collect();
    assert_eq!(words, ["ok", "unready", "not trusted", "failed", "missing", "left behind", "retired", "not loaded"]);
    let documented = include_str!("../../../docs/operation.md");
    assert!(words.iter().all(|word| documented.contains(&format!("| `{word}` |"))), "{words:?}");
    for column in ["ALGORITHM", "KEY_BITS", "CREATED", "MASTER_KEY", "CONTEXT", "LAST_VERIFIED", "ERROR"] {
        assert_eq!(json[0].get(column), Some(&Value::Null), "{column}");
    }
    assert_eq!(json::of(&[]), "[]");
}

#[test]
fn the_views_and_the_documents_have_the_columns_of_a_row() {
    let json = parse(&json::of(&[listed(1, VersionState::Ok)]));
    let sql = include_str!("../../../sql/aws_key_management.sql");
    let documented = include_str!("../../../docs/operation.md");
    let columns = json[0].as_object().expect("a row");
    for column in columns.keys() {
        assert!(sql.contains(&format!("PATH '$.{column}'")), "{column}");
        assert!(documented.contains(&format!("`{column}`")), "{column}");
    }
    assert_eq!(sql.matches(" PATH '$.").count(), columns.len());
}

#[test]
fn a_text_is_ascii_whatever_it_says_and_is_read_back_as_it_was() {
    let error = "caf\u{e9} \u{1f511} \"quoted\" \\ \n\u{7f}\0";
    let text = json::of(&[ListedVersion { error: Some(error.to_owned()), ..listed(1, VersionState::Failed) }]);
    assert!(text.is_ascii(), "{text}");
    assert_eq!(parse(&text)[0]["ERROR"], error);
}

#[test]
fn without_the_right_the_function_does_not_begin_and_says_why() {
    let mut call = Call::new(0);
    let (answer, message) = call.begin();
    assert_eq!((answer, message.as_str()), (1, "the PROCESS privilege is needed to see the keys"));
    let (answer, message) = Call::new(2).begin();
    assert_eq!((answer, message.as_str()), (1, "it takes no arguments"));
    // Not every server leaves this out after a failure.
    call.end();
}

#[test]
fn a_message_ends_within_its_memory() {
    let mut memory: Message = [MaybeUninit::uninit(); 512];
    say(&"\u{e9}".repeat(300), &mut memory);
    // SAFETY: a text that ends in NUL; that it does so within the memory, Miri sees.
    let text = unsafe { CStr::from_ptr(memory.as_ptr().cast()) };
    assert_eq!(text.to_str().expect("UTF-8"), "\u{e9}".repeat(255));
}

#[test]
fn before_init_and_after_deinit_of_the_plugin_the_answer_is_null() {
    let mut call = Call::new(0);
    call.begin();
    assert_eq!([call.text(), call.text()], [None, None]);
    call.end();
}

#[test]
fn a_text_lives_until_the_next_one_and_the_memory_is_given_back() {
    let mut call = Call::new(0);
    call.begin();
    for text in ["first", "a second one"] {
        // SAFETY: after the first function.
        let memory = unsafe { Memory::from_raw((call.init.as_mut_ptr(),)) };
        assert_eq!(memory.keep(text.to_owned()), text.as_bytes());
    }
    // Miri sees what is left behind.
    call.end();
    call.end();
}

#[test]
fn the_server_is_told_that_the_text_may_be_null_and_long() {
    let mut call = Call::new(0);
    call.begin();
    // SAFETY: the first function has written it.
    let max_length = unsafe { (*call.init.as_ptr()).max_length };
    // SAFETY: as above.
    let maybe_null = unsafe { (*call.init.as_ptr()).maybe_null };
    assert_eq!((max_length, maybe_null), (4_294_967_295, 1));
}

fn parse(json: &str) -> Value {
    serde_json::from_str(json).expect("JSON")
}

fn arguments(count: u32) -> c::UDF_ARGS {
    c::UDF_ARGS {
        arg_count: count,
        arg_type: ptr::null_mut(),
        args: ptr::null_mut(),
        lengths: ptr::null_mut(),
        maybe_null: ptr::null_mut(),
        attributes: ptr::null_mut(),
        attribute_lengths: ptr::null_mut(),
        extension: ptr::null_mut(),
    }
}

/// A call in a statement, with memory that nobody has initialised.
struct Call {
    init: MaybeUninit<c::UDF_INIT>,
    args: c::UDF_ARGS,
}

impl Call {
    fn new(count: u32) -> Self {
        assert_eq!(size_of::<State>(), size_of::<c::UDF_INIT>());
        Self { init: MaybeUninit::uninit(), args: arguments(count) }
    }

    fn begin(&mut self) -> (c_char, String) {
        let mut message: Message = [MaybeUninit::uninit(); 512];
        let at = (&raw mut message).cast::<c_void>();
        // SAFETY: what the server passes.
        let answer = unsafe { aws_key_management_keys_init(self.init.as_mut_ptr().cast(), &raw mut self.args, at) };
        // SAFETY: the function has failed, and said why.
        let text = unsafe { CStr::from_ptr(at.cast()) };
        (answer, text.to_str().expect("UTF-8").to_owned())
    }

    fn text(&mut self) -> Option<Vec<u8>> {
        let mut length = MaybeUninit::<c_ulong>::uninit();
        let mut is_null = MaybeUninit::<u8>::uninit();
        // SAFETY: what the server passes.
        let text = unsafe {
            aws_key_management_keys(
                self.init.as_mut_ptr(),
                &raw mut self.args,
                ptr::null_mut(),
                length.as_mut_ptr().cast(),
                is_null.as_mut_ptr().cast(),
                ptr::null_mut(),
            )
        };
        // SAFETY: the function has written it.
        let length = unsafe { length.assume_init() };
        // SAFETY: as above.
        let is_null = unsafe { is_null.assume_init() };
        assert_eq!((is_null == 1, length == 0), (text.is_null(), text.is_null()));
        // SAFETY: the text has that length.
        (!text.is_null()).then(|| unsafe { std::slice::from_raw_parts(text, length as usize) }.to_vec())
    }

    fn end(&mut self) {
        // SAFETY: after the first function.
        unsafe { aws_key_management_keys_deinit(self.init.as_mut_ptr()) };
    }
}
