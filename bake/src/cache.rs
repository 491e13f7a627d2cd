//! The host's cache, bounded: what was not used for longest goes first, and nothing while a bake may need it.
//!
//! ```text
//! made here      base/<key>  tools/<key>  venvs/<key>  web/<key>  seen/<root>   goes first: a bake makes it again
//! from elsewhere debs/<hash>.deb  uv/<version>  npm  uv-cache                   goes last: mirrors drop old versions
//! ```

use std::fmt;
use std::fs::{self, File, FileTimes, TryLockError};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context as _;
use serde::Serialize;

use crate::bench::Bench;
use crate::failure::Failure;

/// Some twenty base roots with their archives; a bake that has made something new keeps the cache below it.
pub const BOUND: u64 = 20 << 30;

/// Folders whose entries each come and go by themselves; `true`: they were fetched, not made.
const PIECES: [(&str, bool); 7] = [
    ("base", false),
    ("tools", false),
    ("venvs", false),
    ("web", false),
    ("seen", false),
    ("debs", true),
    ("uv", true),
];

/// Folders that belong to another program, which keeps them as a whole.
const WHOLES: [&str; 2] = ["npm", "uv-cache"];

/// Something that can go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Under the cache: `base/9f6a0cedbed5…`.
    pub entry: PathBuf,
    /// What it takes on the disk.
    pub bytes: u64,
    #[serde(skip)]
    fetched: bool,
    #[serde(skip)]
    used: SystemTime,
}

/// What a collection did.
#[derive(Debug, Serialize)]
pub struct Collected {
    /// The cache.
    pub cache: PathBuf,
    /// The bound, in bytes.
    pub max: u64,
    /// What went, in that order.
    pub removed: Vec<Entry>,
    /// Bytes before and after.
    pub before: u64,
    /// See `before`.
    pub after: u64,
}

/// Held while a command takes things from the cache: nobody collects then.
#[derive(Debug)]
pub struct InUse(File);

impl InUse {
    /// Says that this process uses the cache, until it ends or drops this.
    ///
    /// # Errors
    /// The cache cannot be written; [`Failure::TryAgain`] while it is being collected.
    pub fn begin(bench: &Bench) -> anyhow::Result<Self> {
        let file = open(bench)?;
        match file.try_lock_shared() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => {
                bench.report.say("waiting for 'kiln gc --cache', which empties the cache");
                file.lock_shared().context("failed to lock the cache")?;
                Ok(Self(file))
            }
            Err(TryLockError::Error(error)) => Err(error).context("failed to lock the cache"),
        }
    }

    /// Keeps the cache below [`BOUND`] unless another process uses it: then that one will.
    ///
    /// # Errors
    /// Those of [`collect`].
    pub fn bound(self, bench: &Bench) -> anyhow::Result<()> {
        if self.0.try_lock().is_err() {
            return Ok(());
        }
        let collected = sweep(&bench.cache, BOUND)?;
        if !collected.removed.is_empty() {
            bench.report.say(&collected.to_string());
        }
        Ok(())
    }
}

/// Marks an entry as used now.
pub fn touch(path: &Path) {
    let now = FileTimes::new().set_modified(SystemTime::now());
    // A cache that cannot be written is still one that can be read.
    let _ = File::open(path).and_then(|file| file.set_times(now));
}

/// Removes what was not used for longest until at most `max` bytes are left.
///
/// # Errors
/// [`Failure::TryAgain`] while another process uses the cache; an entry cannot be removed.
pub fn collect(bench: &Bench, max: u64) -> anyhow::Result<Collected> {
    let file = open(bench)?;
    match file.try_lock() {
        Ok(()) => sweep(&bench.cache, max),
        Err(TryLockError::WouldBlock) => {
            let text =
                format!("{} is in use by another kiln: try again when that is done", bench.cache.display());
            Err(Failure::TryAgain(text).into())
        }
        Err(TryLockError::Error(error)) => Err(error).context("failed to lock the cache"),
    }
}

fn open(bench: &Bench) -> anyhow::Result<File> {
    let path = bench.cache_dir("")?.join("in-use");
    let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    file.with_context(|| format!("failed to open {}", path.display()))
}

fn sweep(cache: &Path, max: u64) -> anyhow::Result<Collected> {
    let entries = entries(cache);
    let before = entries.iter().map(|entry| entry.bytes).sum();
    let removed = chosen(entries, max);
    for Entry { entry, .. } in &removed {
        let path = cache.join(entry);
        let gone = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        gone.with_context(|| format!("failed to remove {}", path.display()))?;
    }
    let after = before - removed.iter().map(|entry| entry.bytes).sum::<u64>();
    Ok(Collected { cache: cache.to_owned(), max, removed, before, after })
}

/// Which entries go, in that order. Pure.
fn chosen(mut entries: Vec<Entry>, max: u64) -> Vec<Entry> {
    entries.sort_by(|left, right| {
        (left.fetched, left.used, &left.entry).cmp(&(right.fetched, right.used, &right.entry))
    });
    let mut left: u64 = entries.iter().map(|entry| entry.bytes).sum();
    let goes = |entry: &Entry| {
        let goes = left > max;
        left -= if goes { entry.bytes } else { 0 };
        goes
    };
    entries.into_iter().take_while(goes).collect()
}

fn entries(cache: &Path) -> Vec<Entry> {
    let mut found = Vec::new();
    for (folder, fetched) in PIECES {
        for entry in fs::read_dir(cache.join(folder)).into_iter().flatten().flatten() {
            let name = entry.file_name();
            // Locks say who builds an entry, and go on saying so.
            let a_lock = name == "lock" || Path::new(&name).extension().is_some_and(|end| end == "lock");
            if !a_lock {
                found.extend(entry_at(cache, &Path::new(folder).join(name), fetched));
            }
        }
    }
    found.extend(WHOLES.iter().filter_map(|name| entry_at(cache, Path::new(name), true)));
    found
}

fn entry_at(cache: &Path, entry: &Path, fetched: bool) -> Option<Entry> {
    let path = cache.join(entry);
    let used = fs::metadata(&path).ok()?.modified().ok()?;
    let files = walkdir::WalkDir::new(&path).into_iter().flatten().filter_map(|file| file.metadata().ok());
    let bytes = files.map(|file| file.blocks() * 512).sum();
    Some(Entry { entry: entry.to_owned(), bytes, fetched, used })
}

impl fmt::Display for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes >> 20;
        for Entry { entry, bytes, .. } in &self.removed {
            writeln!(f, "removed   {} ({} MiB)", entry.display(), mib(*bytes))?;
        }
        let Self { cache, max, before, after, .. } = self;
        write!(
            f,
            "cache     {}: {} MiB, was {}; at most {}",
            cache.display(),
            mib(*after),
            mib(*before),
            mib(*max)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn entry(name: &str, bytes: u64, age: u64, fetched: bool) -> Entry {
        let used = SystemTime::UNIX_EPOCH + Duration::from_hours(1000 - age);
        Entry { entry: name.into(), bytes, fetched, used }
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first_and_what_was_fetched_last() {
        let all = || vec![entry("new", 10, 1, false), entry("deb", 10, 9, true), entry("old", 10, 5, false)];
        let told = |max| chosen(all(), max).into_iter().map(|entry| entry.entry).collect::<Vec<_>>();
        let names = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(told(30), names(&[]));
        assert_eq!(told(29), names(&["old"]));
        assert_eq!(told(10), names(&["old", "new"]));
        assert_eq!(told(0), names(&["old", "new", "deb"]));
    }

    #[test]
    fn entries_are_found_with_their_sizes_and_locks_stay() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        for path in
            ["base/k1/tree/file", "base/k1.lock", "debs/lock", "debs/aa.deb", "npm/_cacache/x", "bench/own"]
        {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, [1; 8192]).expect("a file");
        }
        touch(&dir.path().join("base/k1"));
        let collected = sweep(dir.path(), 0).expect("everything can go");
        let told: Vec<_> = collected.removed.iter().map(|entry| entry.entry.display().to_string()).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        assert_eq!(told[0], "base/k1");
        assert!(collected.before >= 3 * 8192 && collected.after == 0, "{collected}");
        for stays in ["base/k1.lock", "debs/lock", "bench/own"] {
            assert!(dir.path().join(stays).exists(), "{stays}");
        }
    }
}
