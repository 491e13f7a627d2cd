//! What the tests share.

pub(crate) mod disk;
pub(crate) mod emulator;
