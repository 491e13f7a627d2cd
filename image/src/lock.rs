//! One builder at a time per cache entry; the others wait, and are told for whom.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{At, Error, Result};
use crate::progress::{Progress, Unit};

/// How often a waiter is told that it still waits.
const TICK: Duration = Duration::from_secs(1);

/// An exclusive lock on a file, given back on drop and by the kernel when the process dies.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// Takes the lock file `path`, waiting at most `wait`; says through `progress` who holds it.
///
/// # Errors
/// [`Error::Locked`] with the holder's name when `wait` is over, or `progress` is stopped.
pub fn acquire(path: &Path, wait: Duration, progress: &dyn Progress) -> Result<Lock> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .at("open the lock", path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => wait_for(&mut file, path, wait, progress)?,
        Err(TryLockError::Error(source)) => return Err(source).at("lock", path),
    }
    sign(&mut file).at("write the lock", path)?;
    Ok(Lock { file })
}

/// The kernel has no lock call with a time limit, so a thread waits without one. When the caller gives up,
/// the thread gives the lock back as soon as it gets it.
fn wait_for(file: &mut File, path: &Path, wait: Duration, progress: &dyn Progress) -> Result<()> {
    let (taken, taking) = channel();
    let same = file.try_clone().at("lock", path)?;
    thread::spawn(move || {
        let result = same.lock();
        // Nobody listens any more: closing the last handle unlocks.
        let _ = taken.send(result);
    });
    let begun = Instant::now();
    let mut named = String::new();
    loop {
        let waited = begun.elapsed();
        let holder = holder(file).unwrap_or_else(|| "another process".to_owned());
        if waited >= wait || progress.is_stopped() {
            return Err(Error::Locked { path: path.to_owned(), holder, waited: waited.as_secs() });
        }
        if holder != named {
            let text = if holder == own() {
                "waiting for another step of this bake".to_owned()
            } else {
                format!("waiting for {holder}, which does the same work")
            };
            progress.message(&text);
            named = holder;
        }
        progress.position(waited.as_secs(), Some(wait.as_secs()), Unit::Items);
        match taking.recv_timeout(TICK.min(wait.saturating_sub(waited))) {
            Ok(result) => return result.at("lock", path),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(std::io::Error::other("the waiting thread is gone")).at("lock", path);
            }
        }
    }
}

fn holder(file: &mut File) -> Option<String> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn sign(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", own())
}

/// How this process signs.
fn own() -> String {
    let program = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let program = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    format!("{program} (process {})", std::process::id())
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The name goes first: an empty file never accuses a process that has moved on.
        let _ = self.file.set_len(0);
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    #[test]
    fn a_second_taker_is_told_who_holds_the_lock() {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let path = dir.path().join("lock");
        let first = acquire(&path, Duration::ZERO, &Silent).expect("a free lock");
        let error = acquire(&path, Duration::ZERO, &Silent).expect_err("a held lock");
        assert!(error.to_string().contains(&format!("(process {})", std::process::id())), "{error}");
        drop(first);
        acquire(&path, Duration::ZERO, &Silent).expect("a lock given back");
    }

    /// Told to stop while it waits.
    #[derive(Debug, Default)]
    struct Stopped(std::sync::atomic::AtomicBool);

    impl Progress for Stopped {
        fn message(&self, _text: &str) {
            self.0.store(true, std::sync::atomic::Ordering::SeqCst);
        }

        fn position(&self, _position: u64, _total: Option<u64>, _unit: Unit) {}

        fn is_stopped(&self) -> bool {
            self.0.load(std::sync::atomic::Ordering::SeqCst)
        }
    }

    #[test]
    fn a_waiter_that_is_stopped_gives_up_long_before_its_time() {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let path = dir.path().join("lock");
        let _first = acquire(&path, Duration::ZERO, &Silent).expect("a free lock");
        let day = Duration::from_hours(24);
        let error = acquire(&path, day, &Stopped::default()).expect_err("it is stopped");
        assert!(matches!(error, Error::Locked { waited, .. } if waited < day.as_secs()), "{error}");
    }

    #[test]
    fn a_waiter_gets_the_lock_when_it_is_given_back() {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let path = dir.path().join("lock");
        let first = acquire(&path, Duration::ZERO, &Silent).expect("a free lock");
        thread::scope(|scope| {
            let waiter = scope.spawn(|| acquire(&path, Duration::from_secs(30), &Silent).map(drop));
            drop(first);
            waiter.join().expect("no panic").expect("the lock, in time");
        });
    }
}
