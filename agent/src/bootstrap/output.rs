//! What a part prints: to the journal line by line, and to a file that keeps the head and the tail of it.

use super::outcome::Desk;
use crate::child::Ear;
use crate::durable;
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes kept of the beginning, written as they come: a part that hangs can be looked at.
const HEAD: usize = 32 * 1024;
/// Bytes kept of the end, where failures say why; written when the part has ended.
const TAIL: usize = 32 * 1024;

/// The output of one part.
#[derive(Debug)]
pub(super) struct Output {
    part: String,
    path: PathBuf,
    desk: Arc<Desk>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Made by the first byte.
    file: Option<File>,
    total: u64,
    tail: VecDeque<u8>,
    error: Option<io::Error>,
}

impl Output {
    /// The output of `part` into `folder`; what an earlier run left there is removed.
    pub(super) fn new(part: &str, folder: &Path, desk: Arc<Desk>) -> Self {
        let path = folder.join(format!("{part}.log"));
        let error = durable::remove(&path).err();
        Self { part: part.to_owned(), path, desk, kept: Mutex::new(Kept { error, ..Kept::default() }) }
    }

    /// Writes the tail; says how many bytes were printed. A file that cannot be written does not fail the part: its
    /// output is in the journal.
    pub(super) fn end(&self) -> u64 {
        let mut kept = self.kept();
        let Kept { file, total, tail, .. } = &mut *kept;
        if let Some(file) = file {
            let dropped = *total - (HEAD as u64).min(*total) - tail.len() as u64;
            let gap =
                if dropped > 0 { format!("\n[… {dropped} bytes left out …]\n") } else { String::new() };
            let (one, two) = tail.as_slices();
            let written = [gap.as_bytes(), one, two].into_iter().try_for_each(|bytes| file.write_all(bytes));
            kept.error = kept.error.take().or(written.err());
        }
        if let Some(error) = &kept.error {
            tracing::warn!(part = self.part, path = %self.path.display(), reason = %error, "output not kept");
        }
        kept.total
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn take(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let room = HEAD.saturating_sub(usize::try_from(self.total).unwrap_or(HEAD));
        self.total += bytes.len() as u64;
        let (head, rest) = bytes.split_at(room.min(bytes.len()));
        let rest = &rest[rest.len().saturating_sub(TAIL)..];
        self.tail.drain(..(self.tail.len() + rest.len()).saturating_sub(TAIL).min(self.tail.len()));
        self.tail.extend(rest);
        if head.is_empty() || self.error.is_some() {
            return Ok(());
        }
        let mut file = if let Some(file) = self.file.take() {
            file
        } else {
            fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
            // What a part prints is nobody else's: it may show what the part was given.
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?
        };
        file.write_all(head)?;
        self.file = Some(file);
        Ok(())
    }
}

impl Ear for Output {
    fn bytes(&self, bytes: &[u8]) {
        let mut kept = self.kept();
        if let Err(error) = kept.take(&self.path, bytes) {
            kept.error = Some(error);
        }
        drop(kept);
        self.desk.printed();
    }

    fn line(&self, stream: &'static str, line: &str) {
        tracing::info!(part = self.part, stream, "{line}");
    }

    fn flooded(&self, stream: &'static str) {
        tracing::warn!(part = self.part, stream, "output is a flood: further lines are dropped");
    }
}
