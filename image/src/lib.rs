//! A base root and an app layer become a bootable disk, the same bytes each time.
//!
//! ```text
//!  Debian's mirrors ─ resolve ─▶ debs: names, versions, hashes, for a lock file
//!                                 │
//!                               Base ─▶ base.tar, tree/ ─┐
//!                                          │ lower       ├─ tree::write_root_tar ─▶ root.tar ─ disk::write ─▶ disk.raw
//!                                      Overlay ─▶ upper ─┘  (base order, then         (ext4, GPT, ESP, GRUB:
//!                                          ▲                 the layer's own)          no root, mount or loop device)
//!                                    the app layer
//! ```
//!
//! Knows nothing of manifests or of the command line. Everything that it caches is complete or absent:
//! written beside its final name, then renamed. Whatever mounts or runs dies with the calling process.

pub mod error;
pub mod progress;
pub mod ids;

// What it needs from the host, checked or guarded.
pub mod space;
pub mod lock;
mod hash;
mod seen;
mod pending;
pub mod host;
mod debian;

// Which packages, exactly.
pub mod deb;
pub mod resolve;
mod repository;

// From packages to a disk, in order.
pub mod tools;
pub mod os;
pub mod suite;
pub mod exported;
mod recipe;
pub mod base;
pub mod overlay;
mod layer;
mod links;
mod copies;
pub mod tree;
mod pack;
mod ext4;
mod free;
mod grub;
mod esp;
mod gpt;
mod extent;
pub mod disk;

pub use base::{Base, BaseSpec};
pub use deb::Deb;
pub use debian::Mirror;
pub use disk::{Content, DiskReport, DiskSpec};
pub use error::{Error, Result};
pub use exported::Exported;
pub use os::Os;
pub use overlay::{Overlay, private_mounts};
pub use progress::{Progress, Silent, Unit};
pub use suite::Suite;
pub use tools::Tools;
