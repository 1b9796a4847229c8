//! Variables that make something happen to keys when they are SET to a key id.

use std::ffi::{CStr, c_int, c_longlong};
use std::sync::atomic::{AtomicI64, Ordering};

use super::super::bindings as c;
use super::super::error_log::ErrorLog;
use super::super::server_writable::ServerWritable;
use super::access::{InInit, InUpdate};
use super::value::{New, Value};
use super::variable::{Check, Kind, Update, Variable, check, update};
use crate::keystore::{KeyId, Reporter};

/// A row: a command, for a key id, or for all keys if the value is -1. It always reads 0.
pub(in crate::abi) struct KeyCommand {
    pub(super) name: &'static CStr,
    pub(super) comment: &'static CStr,
    /// What the variable does: "rotates".
    pub(super) verb: &'static str,
    /// The statement fails with the error, after the plugin's name.
    pub(super) run: fn(Keys) -> Result<(), String>,
}

/// The keys that a command is for.
pub(in crate::abi) enum Keys {
    All,
    One(KeyId),
}

impl Keys {
    /// The only key, or `None` for all.
    pub(super) fn only(self) -> Option<KeyId> {
        match self {
            Self::All => None,
            Self::One(id) => Some(id),
        }
    }
}

impl Kind for KeyCommand {
    type Declaration = c::mysql_sysvar_of_longlong;
    type Cell = AtomicI64;

    /// A value of the command line is no command.
    fn at_start(variable: &Variable<Self>, _: &InInit<'_>) {
        if variable.cell.load(Ordering::Relaxed) != 0 {
            variable.cell.store(0, Ordering::Relaxed);
            let (name, verb) = (variable.row.name.to_string_lossy(), variable.row.verb);
            ErrorLog.warning(&format!(
                "aws_key_management_{name} {verb} when it is SET, not at start; its value on the command line or in an \
                 option file is ignored"
            ));
        }
    }
}

impl Variable<KeyCommand> {
    pub(super) const fn new(this: &'static Self, row: KeyCommand) -> Self {
        let declaration = c::mysql_sysvar_of_longlong {
            flags: (c::PLUGIN_VAR_LONGLONG | c::PLUGIN_VAR_RQCMDARG) as c_int,
            name: row.name.as_ptr(),
            comment: row.comment.as_ptr(),
            check: Some(check::<KeyCommand>),
            update: Some(update::<KeyCommand>),
            value: this.cell.as_ptr(),
            def_val: 0,
            min_val: -1,
            max_val: u32::MAX as c_longlong,
            blk_sz: 0,
        };
        Self { declaration: ServerWritable::new(declaration), cell: AtomicI64::new(0), row }
    }
}

impl Check for KeyCommand {
    type Saved = c_longlong;

    fn check(variable: &Variable<Self>, value: Value<'_>) -> Result<c_longlong, String> {
        let number = value.number();
        let keys = match number {
            Some(0) => return Ok(0),
            Some(-1) => Some(Keys::All),
            Some(number) => u32::try_from(number).ok().and_then(KeyId::new).map(Keys::One),
            None => None,
        };
        let Some(keys) = keys else {
            let number = number.map_or_else(|| "NULL".to_owned(), |number| number.to_string());
            let name = variable.row.name.to_string_lossy();
            return Err(format!(
                "{number} is no key id; aws_key_management_{name} takes -1 (all keys) and 1 to 4294967295"
            ));
        };
        (variable.row.run)(keys).map(|()| 0)
    }
}

impl Update for KeyCommand {
    type New = New<c_longlong>;

    /// The check did the work.
    fn update(variable: &Variable<Self>, _: New<c_longlong>, _: &InUpdate<'_>) {
        variable.cell.store(0, Ordering::Relaxed);
    }
}
