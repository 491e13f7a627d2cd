//! `kiln diff A B`: what changed between two roots, by package, file, unit, user, port and block.
//!
//! ```text
//!  digest, image folder, root.tar ──────────────────┐
//!                                                   ├─ source ─▶ Inventory ─ facts ─▶ Facts ─┬─ compare ─▶ Difference
//!  a folder, `/` of an instance, its tar on stdin ──┘                              the other ┘          text, JSON ◀─┘
//! ```

mod compare;
mod facts;
mod inventory;
mod source;
#[cfg(test)]
mod tests;
mod text;

pub use compare::{Blocks, Change, Changes, Difference};
pub use source::Side;

use crate::bench::Bench;
use crate::failure::Failure;
use crate::store::Store;
use anyhow::Context as _;
use clap::ValueEnum;
use facts::Facts;

/// What a pipeline may refuse to let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Aspect {
    /// Debian packages and Python wheels.
    Packages,
    /// Files, folders and links that no package's version explains.
    Files,
    /// Which units are enabled or masked.
    Units,
    /// Users and groups.
    Users,
    /// SUID and SGID files, and what everyone may write.
    Privileges,
    /// Ports that the configuration listens on.
    Ports,
    /// Files under /etc.
    Config,
    /// Anything at all.
    Any,
}

/// Compares two sides as a caller names them.
///
/// # Errors
/// [`Failure::Usage`] for a side that is none; a root that cannot be read.
pub fn diff(bench: &Bench, store: &Store, old: &str, new: &str) -> anyhow::Result<Difference> {
    if old == source::STREAM && new == source::STREAM {
        return Err(no_side("only one side can come on standard input: name the other".to_owned()));
    }
    let (old, new) = (Side::find(store, old)?, Side::find(store, new)?);
    let read = |index, side: &Side| -> anyhow::Result<Facts> {
        let step = bench.report.step(index, 2, "read");
        let inventory =
            side.read(&step, &bench.interrupt).with_context(|| format!("failed to read {}", side.name))?;
        step.done(
            crate::report::Outcome::Built,
            format!("{}: {} entries", side.name, inventory.entries.len()),
        );
        Ok(Facts::of(inventory))
    };
    let facts = (read(1, &old)?, read(2, &new)?);
    let mut difference = compare::compare(&old.name, &facts.0, &new.name, &facts.1);
    difference.blocks = blocks(&old, &new)?;
    Ok(difference)
}

fn blocks(old: &Side, new: &Side) -> anyhow::Result<Option<Blocks>> {
    let (Some(old), Some(new)) = (&old.disk, &new.disk) else {
        return Ok(None);
    };
    let changed = kiln_image::disk::blocks_changed(old, new).context("failed to compare the disks")?;
    Ok(changed.map(|changed| Blocks { changed }))
}

/// What a caller named is no side.
fn no_side(text: String) -> anyhow::Error {
    Failure::Usage(text).into()
}
