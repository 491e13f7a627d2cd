//! A disk image becomes an EBS snapshot and an AMI, or nothing at all.
//!
//! ```text
//! disk.raw ──▶ scan ──▶ StartSnapshot ─ PutSnapshotBlock × n ─ CompleteSnapshot ──▶ RegisterImage ──▶ receipt
//!    name taken by the same digest? adopted, nothing is sent ─────────────────────────────▲
//! ```
//!
//! ```no_run
//! # async fn demo() -> Result<(), Box<dyn std::error::Error>> {
//! use std::path::Path;
//!
//! use kiln_ami::{Clients, Journal, PublishSpec, publish};
//!
//! let clients = Clients::from_env(None).await?;
//! let spec = PublishSpec::new("disk.raw", "shop", "9f86d081884c7d659a2feaa0c55ad015");
//! let head = spec.head(&clients.region, "2030-01-01T00:00:00Z".parse()?);
//! let mut journal = Journal::begin(Path::new("publication.jsonl"), head)?;
//! let watch = |progress| eprintln!("{progress}");
//! let published = publish(&clients, &spec, &mut journal, &watch, std::future::pending()).await?;
//! println!("{}", published.image_id);
//! # Ok(()) }
//! ```
//!
//! The library prints nothing and reads no manifest: `kiln publish` is one caller.

mod spec;
mod clients;
mod credentials;
mod thing;
mod journal;
mod publish;
mod undo;
mod remedy;
mod discover;
mod origin;
// The steps of a publication, in order.
mod disk;
mod blocks;
mod snapshot;
mod pace;
mod upload;
mod image;
mod wait;
mod after;
mod parameter;
// The end of an image's life.
mod retire;
mod gc;
// An image that an instance makes of itself.
mod base;
mod bucket;
mod group;
mod builder;
// What the caller sees.
mod progress;
mod receipt;
mod error;
mod call;

pub use base::{Base, BaseImage};
pub use blocks::Blocks;
pub use builder::{Builder, ORDERS, Pack};
pub use call::{CallError, Kind};
pub use clients::{Clients, defaults};
pub use discover::{Open, open_publications};
pub use disk::{BLOCK_SIZE, Disk};
pub use error::{Error, Failure};
pub use gc::{Judged, judge_images, retire, users as image_users};
pub use journal::Journal;
pub use origin::digest_of;
pub use progress::{Progress, Watch};
pub use publish::{publish, published};
pub use receipt::Published;
pub use retire::{Terms, Verdict};
pub use spec::{
    After, BASE_TAG, BootMode, DIGEST_TAG, EXPIRES_TAG, NAME_TAG, OWNER_TAG, PUBLICATION_TAG, PUBLISHED,
    PUBLISHING, PublishSpec, STATE_TAG, Source,
};
pub use thing::{CopyAsk, GroupAsk, Head, SnapshotAsk, Thing, What, fresh_id};
pub use undo::{Undone, abort};
pub use upload::Sent;
pub use wait::Waits;
