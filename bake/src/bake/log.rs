//! A bake's log, from its first step on: it ends beside the image or, of a bake that failed, as `.kiln/failed.log`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::bench::Bench;
use crate::store::Store;

/// Open until it is dropped.
#[derive(Debug)]
pub(super) struct Log<'a> {
    bench: &'a Bench,
    path: PathBuf,
    failed: PathBuf,
}

impl<'a> Log<'a> {
    pub(super) fn begin(bench: &'a Bench, store: &Store) -> anyhow::Result<Self> {
        let (path, failed) = store.logs();
        bench.report.log_to(&path).with_context(|| format!("failed to open the log {}", path.display()))?;
        Ok(Self { bench, path, failed })
    }

    /// Leaves a copy in `to`, for a bake that goes on from here.
    pub(super) fn copy(&self, to: &Path) -> anyhow::Result<()> {
        std::fs::copy(&self.path, to).context("failed to copy the log").map(drop)
    }

    /// Takes over what the bake that this one goes on from had logged.
    pub(super) fn go_on(&self, from: &Path) {
        for line in std::fs::read_to_string(from).unwrap_or_default().lines() {
            self.bench.report.note(line);
        }
    }

    /// Puts it beside the image; what is said from here on is not in it.
    pub(super) fn keep(&self, building: &Path) -> anyhow::Result<()> {
        self.bench.report.end_log();
        std::fs::rename(&self.path, building.join("log")).context("failed to move the log to the image")
    }

    /// Keeps it for whoever asks why; an interruption needs no explanation.
    pub(super) fn fail(&self, error: &anyhow::Error) {
        if self.bench.interrupt.check().is_err() {
            return;
        }
        self.bench.report.say(&format!("the whole log: {}", self.failed.display()));
        self.bench.report.note(&format!("error: {error:#}"));
        // The error itself is what matters; without this file it is still told.
        let _ = std::fs::rename(&self.path, &self.failed);
    }
}

impl Drop for Log<'_> {
    fn drop(&mut self) {
        self.bench.report.end_log();
        // It has its other name, or nobody wants it.
        let _ = std::fs::remove_file(&self.path);
    }
}
