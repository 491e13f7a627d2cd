//! SIGINT and SIGTERM: what this process started is killed, the step fails, and the scratch folders go.
//!
//! ```text
//! kiln ─▶ unshare ─▶ first process of a namespace: bwrap ─▶ npm …         killed is the first process: when its parent
//!      ─▶ unshare ─▶ first process of a namespace: mmdebstrap ─▶ apt …    sees it end, the kernel has ended all else in there
//! ```

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::failure::Failure;

/// Work that was about to start a program when everything was killed has started it by the next time.
pub const KILL_EVERY: Duration = Duration::from_millis(100);

/// What an interruption has to reach. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<State>);

#[derive(Debug, Default)]
struct State {
    raised: AtomicBool,
    scratch: Mutex<HashSet<PathBuf>>,
}

impl Interrupt {
    /// Fails once a signal came; called between steps.
    pub fn check(&self) -> Result<(), Failure> {
        if self.0.raised.load(Ordering::SeqCst) { Err(Failure::Interrupted) } else { Ok(()) }
    }

    /// Makes [`Self::check`] fail from here on.
    pub fn raise(&self) {
        self.0.raised.store(true, Ordering::SeqCst);
    }

    /// Does both, `right` on a thread of its own, to the end of each. When one fails, what this process started is killed,
    /// so that the other ends soon.
    ///
    /// # Errors
    /// Of the one that failed first.
    pub fn both<L, R: Send>(
        &self,
        left: impl FnOnce() -> anyhow::Result<L>,
        right: impl FnOnce() -> anyhow::Result<R> + Send,
    ) -> anyhow::Result<(L, R)> {
        let race = Race::default();
        let (left, right) = std::thread::scope(|scope| {
            let right = scope.spawn(|| race.run(right));
            (race.run(left), right.join())
        });
        let failed = race.failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        match (failed, left, right) {
            (None, Some(left), Ok(Some(right))) => Ok((left, right)),
            (Some(error), ..) => Err(error),
            _ => Err(anyhow::anyhow!("one of two steps ended without a word")),
        }
    }

    /// A folder that is removed when the guard drops, or by [`Self::sweep`] if that never comes.
    pub fn scratch(&self, path: &Path) -> std::io::Result<Scratch> {
        held(&self.0.scratch).insert(path.to_owned());
        std::fs::create_dir_all(path)?;
        Ok(Scratch { path: path.to_owned(), interrupt: self.clone() })
    }

    /// Removes every scratch folder that is still registered: the way out when a step does not return in time.
    pub fn sweep(&self) {
        for path in held(&self.0.scratch).drain() {
            let _ = std::fs::remove_dir_all(path);
        }
    }
}

/// Two pieces of work side by side.
#[derive(Debug, Default)]
struct Race {
    failed: Mutex<Option<anyhow::Error>>,
    over: Mutex<usize>,
    ended: Condvar,
}

impl Race {
    fn run<T>(&self, work: impl FnOnce() -> anyhow::Result<T>) -> Option<T> {
        let result = work().map_err(|error| held(&self.failed).get_or_insert(error).to_string());
        let mut over = held(&self.over);
        *over += 1;
        self.ended.notify_all();
        while result.is_err() && *over < 2 {
            kill_children();
            let waited = self.ended.wait_timeout(over, KILL_EVERY);
            over = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        result.ok()
    }
}

/// See [`Interrupt::scratch`].
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    interrupt: Interrupt,
}

impl Scratch {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        held(&self.interrupt.0.scratch).remove(&self.path);
        // A folder that was renamed to its final name is gone, as it should be.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Kills what this process started: a namespace's first process, any other child itself. To be repeated until the
/// work has returned, since that may be about to start another.
pub fn kill_children() {
    let parents = parents();
    let children = |of: i32| parents.iter().filter(move |(_, parent)| *parent == of).map(|(id, _)| *id);
    for child in children(nix::unistd::getpid().as_raw()) {
        let first: Vec<_> = children(child).collect();
        for id in if first.is_empty() { vec![child] } else { first } {
            // One that is already gone needs no signal.
            let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

/// Every process of this machine with its parent.
fn parents() -> Vec<(i32, i32)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter_map(|id| Some((id, stat_field(id, 1)?.try_into().ok()?))).collect()
}

/// A number of `/proc/<id>/stat`, counted from the field after the program's name: 1 is the parent, 19 the start time.
pub fn stat_field(id: i32, field: usize) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name may hold anything but is in parentheses.
    stat.rsplit_once(')')?.1.split_whitespace().nth(field)?.parse().ok()
}

/// A poisoned lock still guards a usable set: a panicking thread must not keep the clean-up from running.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_folder_goes_with_its_guard() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("scratch");
        let scratch = Interrupt::default().scratch(&path).expect("it is made");
        assert!(scratch.path().is_dir());
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn a_raised_interruption_ends_the_next_check() {
        let interrupt = Interrupt::default();
        assert!(interrupt.check().is_ok());
        interrupt.clone().raise();
        assert!(matches!(interrupt.check(), Err(Failure::Interrupted)));
    }

    #[test]
    fn the_first_failure_ends_what_the_other_started_and_is_the_one_that_is_told() {
        let sleeping = || {
            let status = std::process::Command::new("sleep").arg("600").status()?;
            anyhow::bail!("sleep ended with {status}")
        };
        let failed = |error: &'static str| move || -> anyhow::Result<()> { Err(anyhow::anyhow!(error)) };
        let interrupt = Interrupt::default();
        let error = interrupt.both::<(), _>(sleeping, failed("no disk")).expect_err("the right one fails");
        assert_eq!(error.to_string(), "no disk");
        let error =
            interrupt.both(failed("no mirror"), sleeping).map(|((), ())| ()).expect_err("the left one");
        assert_eq!(error.to_string(), "no mirror");
        assert_eq!(interrupt.both(|| Ok(1), || Ok("two")).expect("both end well"), (1, "two"));
    }

    #[test]
    fn a_child_is_known_by_its_parent() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep starts");
        let id = i32::try_from(child.id()).expect("a process id");
        let own = nix::unistd::getpid().as_raw();
        let found = parents().contains(&(id, own));
        child.kill().and_then(|()| child.wait()).expect("it ends");
        assert!(found);
    }
}
