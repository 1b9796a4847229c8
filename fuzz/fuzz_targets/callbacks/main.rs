//! Drives the exported callbacks with lists of calls that the fuzzer makes up: several contexts at once, any order and
//! split, in place and overlapping, wrong lengths, NULLs, damaged ciphertexts. It knows what each call must answer.
//!
//! Buffers have exactly the length that the interface asks for and lie on the heap, where AddressSanitizer sees each
//! access beyond. A panic in a callback ends the fuzzer by the hook of `libfuzzer_sys`, before the plugin catches it.
//! `AWS_KEY_MANAGEMENT_AES_PATH` says on which path of AES this CPU works, if not on the fastest.

#![no_main]

mod buffer;
mod context;
mod lookups;
mod message;
mod plugin;
mod script;

use context::Context;
use message::{Known, Message};
use script::{Memory, Nulls, Script, Step};

libfuzzer_sys::fuzz_target!(
    init: {
        plugin::callbacks();
    },
    |script: Script| run(script)
);

fn run(script: Script) {
    let mut contexts: [Option<Context>; script::CONTEXTS] = Default::default();
    let mut known: Vec<Known> = Vec::new();
    for step in script.steps.into_iter().take(MOST_STEPS) {
        match step {
            Step::Latest { name } => lookups::latest(&name),
            Step::Key { name, room, buffer, length } => lookups::key(&name, room, buffer, length),
            Step::EncryptedLength { name, length } => lookups::encrypted_length(&name, length),
            Step::Init { context, memory, begin, nulls } => {
                context::init(&mut contexts[context.index()], &memory, &begin, &nulls, &known);
            }
            Step::Update { context, part, place, nulls } => {
                if let Some(context) = &mut contexts[context.index()] {
                    context.update(&part, &place, &nulls);
                }
            }
            Step::Finish { context, offset, nulls } => {
                let ended = contexts[context.index()].as_mut().and_then(|context| context.finish(offset, &nulls));
                remember(&mut known, ended);
            }
            Step::Message { offset, begin, parts } => {
                let (none, mut place) = (Nulls::none(), None);
                context::init(&mut place, &Memory::New { offset }, &begin, &none, &known);
                let ended = place.and_then(|mut context| {
                    parts.iter().flatten().for_each(|(part, place)| context.update(part, place, &none));
                    context.finish(offset, &none)
                });
                remember(&mut known, ended);
            }
        }
    }
}

/// What was encrypted may be decrypted in a later step.
fn remember(known: &mut Vec<Known>, ended: Option<Message>) {
    if known.len() < MOST_KNOWN {
        known.extend(ended.and_then(Message::into_known));
    }
}

const MOST_STEPS: usize = 100;
const MOST_KNOWN: usize = 10;
