//! Who may touch the values of the variables, and when.

use std::ffi::c_void;
use std::marker::PhantomData;

use super::super::export::Argument;

/// Proof that nobody else writes the values of the variables.
pub(in crate::abi) trait SoleAccess {}

/// Proof of being in init, the only place where values of the command line are read: the server runs one init at a time, and
/// no SET before it has succeeded. The argument of init.
pub(in crate::abi) struct InInit<'a>(PhantomData<&'a *mut ()>);

impl SoleAccess for InInit<'_> {}

impl Argument for InInit<'_> {
    type Raw = (*mut c_void,);

    /// To be made in init only.
    unsafe fn from_raw(_: (*mut c_void,)) -> Self {
        Self(PhantomData)
    }
}

/// Proof of being in the update function of a variable, which the server calls under LOCK_global_system_variables. The
/// argument that points to the value.
pub(super) struct InUpdate<'a>(PhantomData<&'a *mut ()>);

impl SoleAccess for InUpdate<'_> {}

impl Argument for InUpdate<'_> {
    type Raw = (*mut c_void,);

    /// To be made in an update function only.
    unsafe fn from_raw(_: (*mut c_void,)) -> Self {
        Self(PhantomData)
    }
}
