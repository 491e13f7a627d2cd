//! The layer's own entries, packed behind the base's.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use tar::{EntryType, Header};

use crate::error::{At, Error, Result};
use crate::layer::Layer;
use crate::links::Survey;
use crate::progress::{Progress, Unit};
use crate::tree::Sink;

/// Appends the layer's own entries.
pub(crate) fn add(
    upper: &Path,
    layer: &Layer,
    survey: &Survey,
    epoch: u64,
    sink: &mut Sink,
    progress: &dyn Progress,
) -> Result<u64> {
    let order = layer.order(&survey.dirs);
    let total = order.len() as u64;
    let mut first_names = BTreeMap::new();
    for (done, path) in (1..).zip(order) {
        let full = upper.join(path);
        let meta = full.symlink_metadata().at("look at", &full)?;
        let linked = match (meta.nlink() > 1 && meta.is_file()).then(|| first_names.entry(meta.ino())) {
            Some(Entry::Occupied(first)) => Some(*first.get()),
            Some(Entry::Vacant(unseen)) => {
                unseen.insert(path);
                None
            }
            None => None,
        };
        append(&full, path, &meta, linked, epoch, sink).map_err(|source| Error::Io {
            doing: "pack",
            path: full.clone(),
            source,
        })?;
        progress.position(done, Some(total), Unit::Items);
    }
    Ok(total)
}

fn append(
    full: &Path,
    path: &Path,
    meta: &Metadata,
    linked: Option<&Path>,
    epoch: u64,
    sink: &mut Sink,
) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(meta.mode() & 0o7777);
    header.set_uid(meta.uid().into());
    header.set_gid(meta.gid().into());
    header.set_mtime(epoch);
    header.set_size(0);
    nameless(&mut header);
    let kind = meta.file_type();
    if let Some(first) = linked {
        header.set_entry_type(EntryType::Link);
        return sink.append_link(&mut header, dotted(path, false), dotted(first, false));
    }
    let pax = attributes(full)?;
    if !pax.is_empty() {
        sink.append_pax_extensions(pax.iter().map(|(key, value)| (key.as_str(), value.as_slice())))?;
    }
    if kind.is_dir() {
        header.set_entry_type(EntryType::Directory);
        sink.append_data(&mut header, dotted(path, true), io::empty())
    } else if kind.is_symlink() {
        header.set_entry_type(EntryType::Symlink);
        sink.append_link(&mut header, dotted(path, false), fs::read_link(full)?)
    } else if kind.is_file() {
        header.set_size(meta.len());
        sink.append_data(&mut header, dotted(path, false), File::open(full)?.take(meta.len()))
    } else {
        header.set_entry_type(match () {
            () if kind.is_char_device() => EntryType::Char,
            () if kind.is_block_device() => EntryType::Block,
            () => EntryType::Fifo,
        });
        header
            .set_device_major(u32::try_from(nix::sys::stat::major(meta.rdev())).map_err(io::Error::other)?)?;
        header
            .set_device_minor(u32::try_from(nix::sys::stat::minor(meta.rdev())).map_err(io::Error::other)?)?;
        sink.append_data(&mut header, dotted(path, false), io::empty())
    }
}

/// Attributes that belong to a file and not to the overlay or the host's security module.
fn attributes(full: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut pax = Vec::new();
    for name in xattr::list(full)? {
        let wanted = name == "security.capability" || name.as_bytes().starts_with(b"user.");
        if wanted && let (Some(value), Some(name)) = (xattr::get(full, &name)?, name.to_str()) {
            pax.push((format!("SCHILY.xattr.{name}"), value));
        }
    }
    pax.sort();
    Ok(pax)
}

/// Owners are numbers: the names are the image's affair, not the host's.
pub(crate) fn nameless(header: &mut Header) {
    // Only headers in the old V7 format have no such fields, and tar's writers have not made those in decades.
    let _ = header.set_username("");
    let _ = header.set_groupname("");
}

/// `./etc/` and `./etc/hosts`, as in the base.
pub(crate) fn dotted(path: &Path, dir: bool) -> PathBuf {
    let mut name = std::ffi::OsString::from("./");
    name.push(path);
    if dir && !path.as_os_str().is_empty() {
        name.push("/");
    }
    name.into()
}
