//! The life so far, a line each: appended to a file on a tmpfs, so that a killed agent's successor goes on with it, and
//! kept within bounds, so that a long life costs no more memory than a short one.

use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Where it lies under a root.
pub(super) const PATH: &str = "run/kiln/agent/story.jsonl";
/// The file's bound; when it is reached, the middle is left out.
const BYTES: u64 = 256 * 1024;
/// What stays of its beginning: the launch. A life has about fifty lines until it serves.
const HEAD: usize = 64 * 1024;
/// What stays of its end: the last days, and the drain.
const TAIL: usize = 96 * 1024;
/// A longer text is cut: errors quote what others say.
const TEXT: usize = 2000;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Its number, from 1, without gaps but where the middle was left out.
    pub n: u64,
    /// Wall time, RFC 3339 with milliseconds.
    pub at: String,
    /// What happened.
    pub what: String,
}

/// The file.
#[derive(Debug)]
pub struct Story {
    path: PathBuf,
    /// The number of the last line.
    last: Mutex<u64>,
}

impl Story {
    /// Opens the story under `root`, and goes on where it ends.
    pub fn open(root: &Path) -> Self {
        let path = root.join(PATH);
        let last = read(&path).unwrap_or_default().last().map_or(0, |line| line.n);
        Self { path, last: Mutex::new(last) }
    }

    /// Adds a line. The error is of no consequence but to the record.
    pub fn tell(&self, what: &str) -> io::Result<()> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let at = humantime::format_rfc3339_millis(std::time::SystemTime::now()).to_string();
        let line = Line { n: *last + 1, at, what: what.chars().take(TEXT).collect() };
        let mut text = serde_json::to_vec(&line)?;
        // In front too: what a killed writer left half done ends there.
        text.insert(0, b'\n');
        text.push(b'\n');
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        file.write_all(&text)?;
        *last = line.n;
        if file.metadata()?.len() > BYTES {
            self.shorten()?;
        }
        Ok(())
    }

    /// The lines after number `after`; those that make no sense are left out.
    pub fn since(&self, after: u64) -> io::Result<Vec<Line>> {
        Ok(read(&self.path)?.into_iter().filter(|line| line.n > after).collect())
    }

    fn shorten(&self) -> io::Result<()> {
        let lines = read(&self.path)?;
        let lines: Vec<Vec<u8>> = lines.iter().map(serde_json::to_vec).collect::<Result<_, _>>()?;
        let head = fitting(lines.iter(), HEAD);
        let tail = lines.len() - fitting(lines[head..].iter().rev(), TAIL);
        let text = [&lines[..head], &lines[tail..]].concat().join(&b'\n');
        let beside = self.path.with_extension("new");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(&text)?;
        file.write_all(b"\n")?;
        fs::rename(&beside, &self.path)
    }
}

/// How many of the first lines fit into so many bytes.
fn fitting<'a>(lines: impl Iterator<Item = &'a Vec<u8>>, bound: usize) -> usize {
    let mut taken = 0;
    lines
        .take_while(|line| {
            taken += line.len() + 1;
            taken <= bound
        })
        .count()
}

fn read(path: &Path) -> io::Result<Vec<Line>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    Ok(bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_successor_goes_on_after_the_last_whole_line() {
        let root = folder();
        let story = Story::open(root.path());
        story.tell("one").expect("the folder is ours");
        story.tell("two").expect("the folder is ours");
        let mut file = OpenOptions::new().append(true).open(root.path().join(PATH)).expect("it exists");
        file.write_all(b"\n{\"n\":3,\"at\":\"20").expect("the folder is ours");
        let story = Story::open(root.path());
        story.tell("three").expect("the folder is ours");
        let told: Vec<_> =
            story.since(1).expect("it reads").into_iter().map(|line| (line.n, line.what)).collect();
        assert_eq!(told, [(2, "two".to_owned()), (3, "three".to_owned())]);
    }

    #[test]
    fn a_long_life_keeps_its_beginning_and_its_end_within_the_bound() {
        let root = folder();
        let story = Story::open(root.path());
        for number in 1..=5000 {
            story.tell(&format!("{number} {}", "x".repeat(100))).expect("the folder is ours");
            let length = fs::metadata(root.path().join(PATH)).expect("it exists").len();
            assert!(length <= BYTES, "{length}");
        }
        let lines = story.since(0).expect("it reads");
        let numbers: Vec<u64> = lines.iter().map(|line| line.n).collect();
        assert!(numbers.starts_with(&[1, 2, 3]) && numbers.ends_with(&[4999, 5000]), "{numbers:?}");
        assert!(numbers.is_sorted() && numbers.len() > 600 && numbers.len() < 5000, "{}", numbers.len());
    }

    proptest! {
        #[test]
        fn a_file_of_anything_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..300), what in any::<String>()) {
            let root = folder();
            fs::write(root.path().join(PATH), bytes).expect("the folder is ours");
            let story = Story::open(root.path());
            story.tell(&what).expect("the folder is ours");
            let lines = story.since(0).expect("it reads");
            let cut: String = what.chars().take(TEXT).collect();
            prop_assert_eq!(&lines.last().expect("one is there").what, &cut);
        }
    }

    fn folder() -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder for the story");
        fs::create_dir_all(root.path().join(PATH).parent().expect("it lies in a folder"))
            .expect("it is ours");
        root
    }
}
