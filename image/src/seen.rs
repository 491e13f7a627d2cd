//! Hashes of files by what says that they are as they were, as git's index has them: a second look reads nothing.
//!
//! ```text
//! size, mtime, ctime, inode, device: all the same ─▶ the hash of before
//!                                        otherwise ─▶ read ─▶ remembered, once the file has been left alone for a while
//! ```
//!
//! Nobody can set a file's time of change (ctime) back: whatever writes to it moves that. Within one tick of the clock it
//! would not be seen to move, so that what was changed lately is read again the next time (git calls it racy).

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{At, Result};
use crate::hash::{self, Hashing};

/// Where a cache has it.
const FOLDER: &str = "seen";
/// Seconds that a file has to be left alone before its hash is remembered: the coarsest clock of a file system's.
const SETTLED: i64 = 2;

/// What was seen of one root.
#[derive(Debug)]
pub(crate) struct Seen {
    file: PathBuf,
    /// Facts and hash by name, of before.
    known: HashMap<Vec<u8>, (String, String)>,
    /// Those of this look.
    met: HashMap<Vec<u8>, (String, String)>,
    /// Seconds since 1970 when this look began.
    now: i64,
    /// Files whose bytes this look has read.
    read: usize,
}

impl Seen {
    /// What `cache` remembers of the root at `path`; nothing of one that it has never seen.
    pub(crate) fn open(cache: &Path, path: &Path, now: SystemTime) -> Self {
        let file = cache.join(FOLDER).join(hash::of_parts([path.as_os_str().as_bytes()]));
        let known = fs::read(&file).map(|text| parse(&text)).unwrap_or_default();
        let since = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self { file, known, met: HashMap::new(), now: i64::try_from(since).unwrap_or_default(), read: 0 }
    }

    /// SHA-256 of the file at `path`, in hex; `name` is what it is remembered by, `meta` of before it is read.
    pub(crate) fn hash(&mut self, name: &[u8], path: &Path, meta: &Metadata) -> Result<String> {
        let facts = facts(meta);
        let sha256 = match self.known.get(name) {
            Some((known, sha256)) if *known == facts => sha256.clone(),
            _ => {
                self.read += 1;
                let mut sink = Hashing::new(io::sink());
                io::copy(&mut File::open(path).at("open", path)?, &mut sink).at("read", path)?;
                sink.finish().1
            }
        };
        if meta.ctime().max(meta.mtime()) + SETTLED <= self.now {
            self.met.insert(name.to_owned(), (facts, sha256.clone()));
        }
        Ok(sha256)
    }

    /// Remembers this look, and says how many files it has read.
    pub(crate) fn keep(self) -> usize {
        if self.met != self.known {
            // Without it the next look takes longer, and that is all.
            let _cache_is_read_only = self.write();
        }
        self.read
    }

    fn write(&self) -> io::Result<()> {
        let folder = self.file.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        let mut text = Vec::new();
        for (name, (facts, sha256)) in &self.met {
            text.extend_from_slice(format!("{facts} {sha256} ").as_bytes());
            text.extend_from_slice(name);
            text.push(0);
        }
        file.write_all(&text)?;
        file.persist(&self.file)?;
        Ok(())
    }
}

/// Everything that a change of a file's bytes changes something of.
fn facts(meta: &Metadata) -> String {
    let (mtime, ctime) = ((meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec()));
    let (size, inode, device) = (meta.size(), meta.ino(), meta.dev());
    format!("{size}:{}.{}:{}.{}:{inode}:{device}", mtime.0, mtime.1, ctime.0, ctime.1)
}

fn parse(text: &[u8]) -> HashMap<Vec<u8>, (String, String)> {
    let entry = |entry: &[u8]| {
        let mut fields = entry.splitn(3, |byte| *byte == b' ');
        let mut text = || String::from_utf8(fields.next()?.to_vec()).ok();
        let (facts, sha256) = (text()?, text()?);
        Some((fields.next()?.to_vec(), (facts, sha256)))
    };
    text.split(|byte| *byte == 0).filter_map(entry).collect()
}
