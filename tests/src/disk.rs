//! A disk as a power cut leaves it, told from the system calls that were made: what was synced, and what only might be.
//!
//! POSIX promises no more than this: bytes are kept by `fsync` of the file, names by `fsync` of their folder, all by `sync`.

use std::collections::{BTreeMap, BTreeSet};

/// Files by their paths, with their bytes.
pub type Left = BTreeMap<String, Vec<u8>>;

/// What a process asked of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// A program is run.
    Run(String),
    /// A file is there, empty if it is new or cut.
    Open {
        /// Its path.
        path: String,
        /// Whether what it held is dropped.
        cut: bool,
    },
    /// Bytes at the end of a file.
    Write(String, Vec<u8>),
    /// A folder is made.
    Folder(String),
    /// A file or folder is written to the disk.
    Sync(String),
    /// All of the disk is.
    SyncAll,
    /// A file gets another name.
    Rename(String, String),
    /// A name goes.
    Remove(String),
}

/// A file's bytes, by a number that stays with it under each name.
type Inode = usize;

/// The disk and the page cache over it.
#[derive(Debug, Default)]
pub struct Disk {
    cached: Vec<Vec<u8>>,
    kept: Vec<Vec<u8>>,
    /// Names as programs see them, and as the disk has them; folders have no number.
    names: BTreeMap<String, Option<Inode>>,
    kept_names: BTreeMap<String, Option<Inode>>,
}

impl Disk {
    /// An empty one with these folders.
    pub fn new(folders: &[&str]) -> Self {
        let names: BTreeMap<_, _> = folders.iter().map(|path| ((*path).to_owned(), None)).collect();
        Self { kept_names: names.clone(), names, ..Self::default() }
    }

    /// Does as it is asked. What is none of this disk's is passed over.
    pub fn make(&mut self, call: &Call) {
        match call {
            Call::Run(_) => {}
            Call::Open { path, cut } => {
                if let Some(Some(file)) = self.names.get(path) {
                    if *cut {
                        self.cached[*file].clear();
                    }
                } else if !self.names.contains_key(path) && self.names.contains_key(folder(path)) {
                    self.names.insert(path.clone(), Some(self.cached.len()));
                    self.cached.push(Vec::new());
                    self.kept.push(Vec::new());
                }
            }
            Call::Write(path, bytes) => {
                if let Some(Some(file)) = self.names.get(path) {
                    self.cached[*file].extend_from_slice(bytes);
                }
            }
            Call::Folder(path) => {
                if self.names.contains_key(folder(path)) {
                    self.names.insert(path.clone(), None);
                }
            }
            Call::Sync(path) => match self.names.get(path) {
                Some(Some(file)) => self.kept[*file] = self.cached[*file].clone(),
                Some(None) => self.keep_names(path),
                None => {}
            },
            Call::SyncAll => {
                self.kept.clone_from(&self.cached);
                self.kept_names.clone_from(&self.names);
            }
            Call::Rename(from, to) => {
                if let Some(file) = self.names.remove(from) {
                    self.names.insert(to.clone(), file);
                }
            }
            Call::Remove(path) => {
                self.names.remove(path);
            }
        }
    }

    fn keep_names(&mut self, of: &str) {
        self.kept_names.retain(|path, _| folder(path) != of);
        let names = self.names.iter().filter(|(path, _)| folder(path) == of);
        self.kept_names.extend(names.map(|(path, file)| (path.clone(), *file)));
    }

    /// Nothing but what was synced.
    pub fn least(&self) -> Left {
        left(&self.kept_names, &self.kept)
    }

    /// All of it: the kernel wrote it before it was asked to.
    pub fn most(&self) -> Left {
        left(&self.names, &self.cached)
    }

    /// Every name, and the bytes that were synced: names may be written first.
    pub fn names(&self) -> Left {
        left(&self.names, &self.kept)
    }
}

/// Files whose folders are all there.
fn left(names: &BTreeMap<String, Option<Inode>>, bytes: &[Vec<u8>]) -> Left {
    let folders: BTreeSet<&str> =
        names.iter().filter(|(_, file)| file.is_none()).map(|(path, _)| path.as_str()).collect();
    let reached = |path: &str| {
        let mut above = folder(path);
        while !above.is_empty() && folders.contains(above) {
            above = folder(above);
        }
        above.is_empty()
    };
    let files =
        names.iter().filter_map(|(path, file)| Some((path, (*file)?))).filter(|(path, _)| reached(path));
    files.map(|(path, file)| (path.clone(), bytes[file].clone())).collect()
}

fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The calls of `strace -f -y` that succeeded, in the order in which they returned.
pub fn calls(trace: &str) -> Vec<Call> {
    let mut begun: BTreeMap<&str, &str> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((pid, text)) = line.split_once(' ') else { continue };
        let text = text.trim_start();
        if let Some(start) = text.strip_suffix(" <unfinished ...>") {
            begun.insert(pid, start);
        } else if let Some((_, end)) =
            text.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>"))
        {
            let start = begun.remove(pid).unwrap_or_default();
            calls.extend(call(&format!("{start}{end}")));
        } else {
            calls.extend(call(text));
        }
    }
    calls
}

fn call(text: &str) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    if result.starts_with('-') || result.starts_with('?') {
        return None;
    }
    let mut strings = strings(arguments).into_iter();
    let mut path = || strings.next().and_then(|bytes| String::from_utf8(bytes).ok());
    // `9</a/file>`: what -y says of a descriptor.
    let described = || Some(arguments.split_once('<')?.1.split_once('>')?.0.to_owned());
    Some(match name {
        "execve" => Call::Run(path()?),
        "open" | "openat" | "creat" => {
            let cut = arguments.contains("O_TRUNC") || name == "creat";
            if !cut && !arguments.contains("O_CREAT") {
                return None;
            }
            Call::Open { path: path()?, cut }
        }
        "write" => {
            let to = described()?;
            Call::Write(to, self::strings(arguments.split_once('>')?.1).into_iter().next()?)
        }
        "fsync" | "fdatasync" => Call::Sync(described()?),
        "sync" => Call::SyncAll,
        "mkdir" | "mkdirat" => Call::Folder(path()?),
        "rename" | "renameat" | "renameat2" => Call::Rename(path()?, path()?),
        "unlink" | "unlinkat" => Call::Remove(path()?),
        _ => return None,
    })
}

/// The strings in quotes, with C's escapes undone.
fn strings(text: &str) -> Vec<Vec<u8>> {
    let (mut found, mut bytes) = (Vec::new(), text.bytes().peekable());
    while bytes.by_ref().any(|byte| byte == b'"') {
        let mut string = Vec::new();
        while let Some(byte) = bytes.next().filter(|byte| *byte != b'"') {
            if byte != b'\\' {
                string.push(byte);
                continue;
            }
            match bytes.next() {
                Some(b'n') => string.push(b'\n'),
                Some(b't') => string.push(b'\t'),
                Some(b'r') => string.push(b'\r'),
                Some(digit @ b'0'..=b'7') => {
                    let mut code = u32::from(digit - b'0');
                    while let Some(next) = bytes.next_if(|next| (b'0'..=b'7').contains(next)) {
                        code = code * 8 + u32::from(next - b'0');
                    }
                    string.extend(u8::try_from(code));
                }
                Some(other) => string.push(other),
                None => {}
            }
        }
        found.push(string);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rename_without_a_sync_is_lost_and_one_before_its_bytes_is_torn() {
        let trace = "7 mkdir(\"/d/e\", 0777) = 0\n\
            7 openat(AT_FDCWD</>, \"/d/e/a.new\", O_WRONLY|O_CREAT|O_EXCL, 0600) = 3</d/e/a.new>\n\
            7 write(3</d/e/a.new>, \"{\\\"a\\\":\\n\", 6 <unfinished ...>\n\
            8 mkdir(\"/d/e\", 0777) = -1 EEXIST (File exists)\n\
            7 <... write resumed>) = 6\n\
            7 rename(\"/d/e/a.new\", \"/d/e/a\") = 0\n";
        let mut disk = Disk::new(&["/d"]);
        for call in calls(trace) {
            disk.make(&call);
        }
        assert_eq!(disk.least(), Left::new());
        let file = |bytes: &[u8]| Left::from([("/d/e/a".to_owned(), bytes.to_vec())]);
        assert_eq!((disk.most(), disk.names()), (file(b"{\"a\":\n"), file(b"")));
        for (synced, least) in [("/d/e/a", Left::new()), ("/d/e", Left::new()), ("/d", file(b"{\"a\":\n"))] {
            for call in calls(&format!("7 fsync(3<{synced}>) = 0")) {
                disk.make(&call);
            }
            assert_eq!(disk.least(), least, "{synced}");
        }
    }
}
