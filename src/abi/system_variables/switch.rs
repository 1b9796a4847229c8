//! Variables that are ON or OFF.

use std::ffi::{CStr, c_int};
use std::sync::atomic::{AtomicU8, Ordering};

use super::super::bindings as c;
use super::super::server_writable::ServerWritable;
use super::access::InInit;
use super::variable::{Kind, Variable};

/// A row: a `bool` that only the start can set, OFF by default.
pub(in crate::abi) struct Switch {
    pub(super) name: &'static CStr,
    pub(super) comment: &'static CStr,
}

impl Kind for Switch {
    type Declaration = c::mysql_sysvar_of_bool;
    type Cell = AtomicU8;
}

impl Variable<Switch> {
    pub(super) const fn new(this: &'static Self, row: Switch) -> Self {
        let declaration = c::mysql_sysvar_of_bool {
            flags: (c::PLUGIN_VAR_BOOL | c::PLUGIN_VAR_READONLY | c::PLUGIN_VAR_OPCMDARG) as c_int,
            name: row.name.as_ptr(),
            comment: row.comment.as_ptr(),
            check: None,
            update: None,
            value: this.cell.as_ptr().cast(),
            def_val: 0,
        };
        Self { declaration: ServerWritable::new(declaration), cell: AtomicU8::new(0), row }
    }

    pub(in crate::abi) fn read(&self, _: &InInit<'_>) -> bool {
        self.cell.load(Ordering::Relaxed) != 0
    }
}
