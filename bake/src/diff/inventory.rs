//! Every entry of a root, with the hash of its content, and the few texts that say what the root is.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

/// Texts up to here are kept, to be read and shown; dpkg's status of a server is about 200 KiB.
const TEXT_LIMIT: u64 = 2 << 20;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Folder,
    File,
    Link,
    Device,
}

/// One entry of a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    /// The permission bits, SUID, SGID and sticky among them.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    /// SHA-256 of a file's content.
    pub(super) content: Option<[u8; 32]>,
    /// Where a symbolic link points.
    pub(super) link: Option<String>,
}

/// A root, read once.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    /// By path without a leading slash.
    pub(super) entries: BTreeMap<String, Entry>,
    /// Contents of the files that [`is_telling`].
    pub(super) texts: BTreeMap<String, Vec<u8>>,
}

impl Inventory {
    /// Takes in one entry, reading `content` to its end.
    pub(super) fn add(&mut self, path: String, bare: Entry, content: &mut dyn Read) -> anyhow::Result<()> {
        let mut entry = bare;
        if entry.kind == Kind::File {
            let keep = is_telling(&path) && entry.size <= TEXT_LIMIT;
            let (hash, text) = hashed(content, keep).with_context(|| format!("failed to read /{path}"))?;
            entry.content = Some(hash);
            if keep {
                self.texts.insert(path.clone(), text);
            }
        }
        self.entries.insert(path, entry);
        Ok(())
    }

    /// An archive's second name of a file that it has told of before.
    pub(super) fn hard_link(&mut self, path: &str, of: &str) {
        let of = of.trim_start_matches("./").trim_matches('/');
        if let Some(entry) = self.entries.get(of).cloned() {
            self.entries.insert(path.to_owned(), entry);
        }
        if let (true, Some(text)) = (is_telling(path), self.texts.get(of).cloned()) {
            self.texts.insert(path.to_owned(), text);
        }
    }

    /// A text that was kept.
    pub(super) fn text(&self, path: &str) -> Option<std::borrow::Cow<'_, str>> {
        self.texts.get(path).map(|bytes| String::from_utf8_lossy(bytes))
    }
}

fn hashed(content: &mut dyn Read, keep: bool) -> std::io::Result<([u8; 32], Vec<u8>)> {
    let (mut hash, mut text, mut buffer) = (Sha256::new(), Vec::new(), vec![0; 64 << 10]);
    loop {
        let read = content.read(&mut buffer)?;
        if read == 0 {
            return Ok((hash.finalize().into(), text));
        }
        hash.update(&buffer[..read]);
        if keep {
            text.extend_from_slice(&buffer[..read]);
        }
    }
}

/// What a running system makes anew at each boot, or mounts: no part of an image.
pub(super) fn is_volatile(path: &str) -> bool {
    const VOLATILE: [&str; 6] = ["proc", "sys", "dev", "run", "tmp", "var/tmp"];
    VOLATILE
        .iter()
        .any(|top| path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// Whether a file's text is wanted: configuration, units, and the databases of packages.
fn is_telling(path: &str) -> bool {
    let unit = ["usr/lib/systemd/", "lib/systemd/", "usr/lib/sysusers.d/", "usr/lib/tmpfiles.d/"];
    let list =
        path.strip_prefix("var/lib/dpkg/info/").is_some_and(|name| name.strip_suffix(".list").is_some());
    path.starts_with("etc/")
        || unit.iter().any(|top| path.starts_with(top))
        || path == "var/lib/dpkg/status"
        || list
        || path.ends_with(".dist-info/METADATA")
}
