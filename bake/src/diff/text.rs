//! A difference for a person's screen: what matters first, long lists cut with their count.

use std::fmt;

use super::compare::{Change, Changes, Difference};

/// Lines shown of one owner's files, and of one text's diff; `--json` has them all.
const LIST: usize = 12;
const HUNK: usize = 40;

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old       {}\nnew       {}", self.old, self.new)?;
        let size = &self.size;
        writeln!(
            f,
            "size      {} → {} MiB, {} → {} entries",
            size.old_bytes >> 20,
            size.new_bytes >> 20,
            size.old_entries,
            size.new_entries
        )?;
        if let Some(blocks) = &self.blocks {
            writeln!(f, "disk      {} blocks of 512 KiB changed", blocks.changed)?;
        }
        if self.touches(super::Aspect::Any) {
            section(f, "packages", &self.packages, usize::MAX)?;
            section(f, "units", &self.units, usize::MAX)?;
            section(f, "users and groups", &self.users, usize::MAX)?;
            section(f, "privileges", &self.privileges, usize::MAX)?;
            section(f, "ports", &self.ports, usize::MAX)?;
            for (owner, changes) in &self.files {
                section(f, &format!("files of {owner}"), changes, LIST)?;
            }
            for text in &self.config {
                hunk(f, &text.path, &text.diff)?;
            }
        } else {
            write!(f, "\nno difference")?;
        }
        Ok(())
    }
}

fn section(f: &mut fmt::Formatter<'_>, title: &str, changes: &Changes, most: usize) -> fmt::Result {
    if changes.0.is_empty() {
        return Ok(());
    }
    write!(f, "\n{title} ({})\n", changes.0.len())?;
    for change in changes.0.iter().take(most) {
        line(f, change)?;
    }
    if changes.0.len() > most {
        writeln!(f, "  … {} more (--json has all)", changes.0.len() - most)?;
    }
    Ok(())
}

fn line(f: &mut fmt::Formatter<'_>, change: &Change) -> fmt::Result {
    let what = &change.what;
    match (&change.old, &change.new) {
        (Some(old), Some(new)) => writeln!(f, "  ~ {what}: {old} → {new}"),
        (None, Some(new)) => writeln!(f, "  + {what}: {new}"),
        (Some(old), None) => writeln!(f, "  - {what}: {old}"),
        (None, None) => Ok(()),
    }
}

fn hunk(f: &mut fmt::Formatter<'_>, path: &str, diff: &str) -> fmt::Result {
    writeln!(f, "\n{path}")?;
    let lines = diff.lines().count();
    for line in diff.lines().take(HUNK) {
        writeln!(f, "  {line}")?;
    }
    if lines > HUNK {
        writeln!(f, "  … {} more lines (--json has all)", lines - HUNK)?;
    }
    Ok(())
}
