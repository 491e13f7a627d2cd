//! What the whole-program stories share: the programs, a baked starter, a stage, a guest, a browser, an emulator.

#![expect(
    clippy::missing_panics_doc,
    reason = "a helper fails its story by panicking, with all that is known"
)]

pub mod browser;
pub mod disk;
pub mod emulator;
pub mod killed;
pub mod leftovers;
pub mod programs;
pub mod publication;
pub mod qemu;
pub mod rehearsal;
pub mod story;
pub mod told;
pub mod starter;
