//! Variables with one of several named values.

use std::ffi::{CStr, c_char, c_int, c_ulong, c_void};
use std::mem::offset_of;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::bindings as c;
use super::super::server_writable::ServerWritable;
use super::access::{InInit, InUpdate};
use super::value::New;
use super::variable::{Kind, OnSet, Update, Variable, update};

/// A row: an enumeration.
pub(in crate::abi) struct Choice<T: 'static> {
    pub(super) name: &'static CStr,
    pub(super) comment: &'static CStr,
    /// The first is the default.
    pub(super) values: Choices<T>,
    pub(super) on_set: OnSet<fn(T)>,
}

/// The values of an enumeration, made by [`choices`].
pub(in crate::abi) struct Choices<T: 'static> {
    pub(super) type_lib: &'static ServerWritable<TypeLib>,
    /// What the number of a value stands for.
    pub(super) meanings: &'static [T],
}

/// `TYPELIB` as servers since 11.4.9 and 11.8 have it. Older ones, whose headers the plugin may be built with, know nothing of
/// the last member and never read it; without it, newer ones read what lies behind.
#[repr(C)]
pub(in crate::abi) struct TypeLib {
    count: u32,
    name: *const c_char,
    type_names: *mut *const c_char,
    type_lengths: *mut u32,
    hidden_values: *mut c_void,
}

const _: () = assert!(size_of::<usize>() == size_of::<c_ulong>());
const _: () = assert!(size_of::<TypeLib>() == 40 && offset_of!(TypeLib, hidden_values) == 32);
const _: () = assert!(offset_of!(TypeLib, type_names) == offset_of!(c::st_typelib, type_names));
const _: () = assert!(offset_of!(TypeLib, type_lengths) == offset_of!(c::st_typelib, type_lengths));

impl TypeLib {
    /// `names` ends in NULL, which is not counted.
    pub(super) const fn new<const N: usize>(names: &'static ServerWritable<[*const c_char; N]>) -> Self {
        Self {
            count: N as u32 - 1,
            name: c"".as_ptr(),
            type_names: names.as_ptr().cast(),
            type_lengths: ptr::null_mut(),
            hidden_values: ptr::null_mut(),
        }
    }
}

/// Names and meanings of an enumeration's values.
macro_rules! choices {
    [$(($name:literal, $meaning:expr)),+ $(,)?] => {{
        static NAMES: ServerWritable<[*const std::ffi::c_char; [$($name),+].len() + 1]> =
            ServerWritable::new([$($name.as_ptr(),)+ std::ptr::null()]);
        static TYPE_LIB: ServerWritable<TypeLib> = ServerWritable::new(TypeLib::new(&NAMES));
        Choices { type_lib: &TYPE_LIB, meanings: &[$($meaning),+] }
    }};
}
pub(super) use choices;

impl<T: Copy + Sync + 'static> Kind for Choice<T> {
    type Declaration = c::mysql_sysvar_of_enum;
    /// The server's `unsigned long`, which has this size on every Unix.
    type Cell = AtomicUsize;
}

impl<T: Copy + Sync + 'static> Variable<Choice<T>> {
    pub(super) const fn new(this: &'static Self, row: Choice<T>) -> Self {
        let declaration = c::mysql_sysvar_of_enum {
            flags: c::PLUGIN_VAR_ENUM as c_int | row.on_set.flags(),
            name: row.name.as_ptr(),
            comment: row.comment.as_ptr(),
            check: None,
            update: Some(update::<Choice<T>>),
            value: this.cell.as_ptr().cast(),
            def_val: 0,
            typelib: row.values.type_lib.as_ptr().cast(),
        };
        Self { declaration: ServerWritable::new(declaration), cell: AtomicUsize::new(0), row }
    }

    pub(in crate::abi) fn read(&self, _: &InInit<'_>) -> T {
        self.row.values.meaning(self.cell.load(Ordering::Relaxed))
    }
}

impl<T: Copy> Choices<T> {
    /// The server has checked that the number is that of a value.
    fn meaning(&self, number: usize) -> T {
        *self.meanings.get(number).unwrap_or(&self.meanings[0])
    }
}

impl<T: Copy + Sync + 'static> Update for Choice<T> {
    type New = New<usize>;

    fn update(variable: &Variable<Self>, New(number): New<usize>, _: &InUpdate<'_>) {
        variable.cell.store(number, Ordering::Relaxed);
        if let OnSet::Call(change) = variable.row.on_set {
            change(variable.row.values.meaning(number));
        }
    }
}
