//! The status variables of the calls of KMS: those of all calls, and the same of each operation.

use super::c;
use super::row::{END, Row, list, of_list, of_row};
use crate::abi::plugin::Figures;
use crate::abi::server_writable::ServerWritable;
use crate::kms::Call;

macro_rules! calls {
    (
        $(#[$meta:meta])*
        $visibility:vis static $list:ident = $calls:expr; $($prefix:literal: $inner:ident;)*
    ) => {
        list! {
            $(#[$meta])*
            $visibility static $list = {
                calls: u64 = |figures| ($calls)(figures).calls;
                calls_failed: u64 = |figures| ($calls)(figures).failed;
                calls_throttled: u64 = |figures| ($calls)(figures).throttled;
                retries: u64 = |figures| ($calls)(figures).retries;
                time_us: u64 = |figures| ($calls)(figures).time_us;
                max_time_us: u64 = |figures| ($calls)(figures).max_time_us;
                $($prefix: $inner;)*
            }
        }
    };
}

macro_rules! calls_of_each {
    ($($call:ident: $list:ident, $prefix:literal;)+) => {
        $(calls! {
            static $list = |figures: &Figures| figures.kms.calls(Call::$call);
        })+

        calls! {
            /// All of them: `calls`, .. and of each operation `decrypt_calls`, ..
            pub(super) static LIST = |figures: &Figures| figures.kms.all_calls();
            $($prefix: $list;)+
        }

        /// Every operation has its rows.
        const _: fn(Call) = |call| match call {
            $(Call::$call => (),)+
        };
    };
}

calls_of_each! {
    GenerateDataKeyWithoutPlaintext: GENERATE, "generate";
    Encrypt: ENCRYPT, "encrypt";
    Decrypt: DECRYPT, "decrypt";
}
