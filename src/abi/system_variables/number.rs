//! Variables that are a number.

use std::ffi::{CStr, c_int};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicI32, Ordering};

use super::super::bindings as c;
use super::super::server_writable::ServerWritable;
use super::access::{InInit, InUpdate};
use super::value::New;
use super::variable::{Kind, OnSet, Update, Variable, update};

/// A row: an `int`. What lies outside of the range becomes the nearest number of it, with a warning of the server.
pub(in crate::abi) struct Number<T: 'static> {
    pub(super) name: &'static CStr,
    pub(super) comment: &'static CStr,
    pub(super) default: c_int,
    pub(super) range: RangeInclusive<c_int>,
    /// What a number of the range stands for.
    pub(super) meaning: fn(c_int) -> T,
    pub(super) on_set: OnSet<fn(T)>,
}

impl<T: 'static> Kind for Number<T> {
    type Declaration = c::mysql_sysvar_of_int;
    type Cell = AtomicI32;
}

impl<T: 'static> Variable<Number<T>> {
    pub(super) const fn new(this: &'static Self, row: Number<T>) -> Self {
        let declaration = c::mysql_sysvar_of_int {
            flags: c::PLUGIN_VAR_INT as c_int | row.on_set.flags(),
            name: row.name.as_ptr(),
            comment: row.comment.as_ptr(),
            check: None,
            update: Some(update::<Number<T>>),
            value: this.cell.as_ptr(),
            def_val: row.default,
            min_val: *row.range.start(),
            max_val: *row.range.end(),
            blk_sz: 0,
        };
        Self { declaration: ServerWritable::new(declaration), cell: AtomicI32::new(0), row }
    }

    pub(in crate::abi) fn read(&self, _: &InInit<'_>) -> T {
        (self.row.meaning)(self.cell.load(Ordering::Relaxed))
    }
}

impl<T: 'static> Update for Number<T> {
    type New = New<c_int>;

    fn update(variable: &Variable<Self>, New(number): New<c_int>, _: &InUpdate<'_>) {
        variable.cell.store(number, Ordering::Relaxed);
        if let OnSet::Call(change) = variable.row.on_set {
            change((variable.row.meaning)(number));
        }
    }
}
