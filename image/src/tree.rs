//! The root as one archive in a stable order: what the disk's layout follows.
//!
//! ```text
//!  base.tar order:  a b c d e …   minus what the layer replaces or removes (c)
//!  then the layer:  c' x y z      what changes most often last
//! ```
//!
//! `mke2fs -d` allocates blocks in the archive's order, so a changed app moves blocks at the end only.

use std::borrow::Cow;
use std::fs::{self, File, Metadata};
use std::io::{self, BufReader, BufWriter, IntoInnerError, PipeWriter, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tar::{Archive, Builder, Entry, Header};

use crate::copies::Copies;
use crate::error::{At, Result};
use crate::hash::Hashing;
use crate::layer::{Change, Layer};
use crate::links::{Survey, plain};
use crate::pack::{self, dotted, nameless};
use crate::pending::Pending;
use crate::progress::{Progress, Unit};
use crate::space;

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeReport {
    /// Entries in the archive.
    pub entries: u64,
    /// Bytes of the archive.
    pub bytes: u64,
    /// SHA-256 of the archive, in hex.
    pub sha256: String,
}

/// Where a root's archive goes.
pub(crate) type Sink = Builder<Hashing<BufWriter<Copies>>>;

/// Bytes that the archive of base and layer has, at most.
///
/// # Errors
/// One of them cannot be read.
pub fn size(base_tar: &Path, upper: &Path) -> Result<u64> {
    size_of(base_tar, &Layer::read(upper)?)
}

fn size_of(base_tar: &Path, layer: &Layer) -> Result<u64> {
    let base = fs::metadata(base_tar).at("look at", base_tar)?.len();
    // A header and what fills the last block; of a long name or an attribute two more of them.
    let added = layer.changes.values().filter_map(|(_, meta)| Some(meta.as_ref()?.len() + 4 * 512));
    Ok(base + added.sum::<u64>())
}

/// Writes base and layer as one archive to `out`: a pure function of `base_tar`, `upper`'s contents and
/// `epoch`, which is the time stamp of everything that comes from the layer. `out` appears complete or not
/// at all; `reader` gets the same bytes as they are written. Root reads all of `upper`.
///
/// # Errors
/// [`crate::Error::NoSpace`] before anything is written; something cannot be read or written.
pub fn write_root_tar(
    base_tar: &Path,
    upper: &Path,
    out: &Path,
    epoch: u64,
    reader: Option<PipeWriter>,
    progress: &dyn Progress,
) -> Result<TreeReport> {
    let layer = Layer::read(upper)?;
    let home = out.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    space::require(home, "root.tar", size_of(base_tar, &layer)?)?;

    progress.message("writing root.tar");
    let input = File::open(base_tar).at("open", base_tar)?;
    let survey = Survey::of(&mut Archive::new(BufReader::new(&input)), &layer, base_tar)?;
    let pending = Pending::create(out)?;
    let copies = Copies::new(pending.file()?, reader);
    let mut sink = Builder::new(Hashing::new(BufWriter::with_capacity(1 << 20, copies)));

    (&input).rewind().at("read", base_tar)?;
    let mut archive = Archive::new(BufReader::with_capacity(1 << 20, &input));
    let mut entries = copy_base(&mut archive, base_tar, &layer, &survey, &mut sink, &mut |entries| {
        progress.position(entries, Some(survey.entries), Unit::Items);
    })?;
    progress.message("adding the layer to root.tar");
    entries += pack::add(upper, &layer, &survey, epoch, &mut sink, progress)?;

    let (buffer, sha256, bytes) = sink.into_inner().at("write", out)?.finish();
    let copies = buffer.into_inner().map_err(IntoInnerError::into_error).at("write", out)?;
    copies.finish().at("write", out)?;
    pending.finish()?;
    Ok(TreeReport { entries, bytes, sha256 })
}

fn copy_base<R: Read>(
    archive: &mut Archive<R>,
    source: &Path,
    layer: &Layer,
    survey: &Survey,
    sink: &mut Sink,
    tick: &mut dyn FnMut(u64),
) -> Result<u64> {
    let mut written = 0;
    let mut orphans = Vec::new();
    for (seen, entry) in (1..).zip(archive.entries().at("read", source)?) {
        let mut entry = entry.at("read", source)?;
        if seen % 256 == 0 {
            tick(seen);
        }
        let path = plain(&entry.path().at("read", source)?);
        if let Some(heir) = survey.heirs.get(&path) {
            // The name goes, the bytes stay: they are the heir's from here on.
            copy(&mut entry, heir, None).and_then(|copy| copy.append(sink)).at("write", heir)?;
            orphans.push(heir.clone());
            written += 1;
            continue;
        }
        if layer.hides(&path) || orphans.contains(&path) {
            continue;
        }
        let over = match layer.changes.get(&path) {
            Some((Change::Dir { .. }, Some(meta))) => Some(meta),
            _ => None,
        };
        copy(&mut entry, &path, over)
            .and_then(|mut copy| {
                if let Some(first) = copy.link.as_ref().filter(|_| copy.header.entry_type().is_hard_link())
                    && let Some(heir) = survey.heirs.get(&plain(first))
                {
                    copy.link = Some(dotted(heir, false));
                }
                copy.append(sink)
            })
            .at("write", &path)?;
        written += 1;
    }
    Ok(written)
}

/// An entry of the base on its way into the new archive.
struct Copied<'a, R: Read> {
    header: Header,
    path: PathBuf,
    link: Option<PathBuf>,
    pax: Vec<(String, Vec<u8>)>,
    data: &'a mut R,
}

/// Takes over an entry; a directory that the layer changed keeps its place and time and takes the layer's
/// mode and owner (`over`).
fn copy<'a, 'e, R: Read>(
    entry: &'a mut Entry<'e, R>,
    path: &Path,
    over: Option<&Metadata>,
) -> io::Result<Copied<'a, Entry<'e, R>>> {
    let mut header = entry.header().clone();
    let link = entry.link_name()?.map(Cow::into_owned);
    let mut pax = Vec::new();
    if let Some(extensions) = entry.pax_extensions()? {
        for extension in extensions {
            let extension = extension?;
            let key = extension.key().map_err(io::Error::other)?;
            // Names are written anew, times are whole seconds; attributes are what is left.
            if key.starts_with("SCHILY.") {
                pax.push((key.to_owned(), extension.value_bytes().to_owned()));
            }
        }
    }
    if let Some(meta) = over {
        header.set_mode(meta.mode() & 0o7777);
        header.set_uid(meta.uid().into());
        header.set_gid(meta.gid().into());
    }
    nameless(&mut header);
    Ok(Copied { header, path: path.to_owned(), link, pax, data: entry })
}

impl<R: Read> Copied<'_, R> {
    fn append(mut self, sink: &mut Sink) -> io::Result<()> {
        if !self.pax.is_empty() {
            sink.append_pax_extensions(self.pax.iter().map(|(key, value)| (key.as_str(), value.as_slice())))?;
        }
        let name = dotted(&self.path, self.header.entry_type().is_dir());
        if let Some(link) = self.link {
            sink.append_link(&mut self.header, name, link)
        } else {
            sink.append_data(&mut self.header, name, self.data)
        }
    }
}
