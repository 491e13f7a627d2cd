//! SIGINT and SIGTERM: the running child is killed, the step fails, and the scratch folders go.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::failure::Failure;

/// What an interruption has to reach. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<State>);

#[derive(Debug, Default)]
struct State {
    raised: AtomicBool,
    children: Mutex<HashSet<u32>>,
    scratch: Mutex<HashSet<PathBuf>>,
}

impl Interrupt {
    /// Fails once a signal came; called between steps.
    pub fn check(&self) -> Result<(), Failure> {
        if self.0.raised.load(Ordering::SeqCst) { Err(Failure::Interrupted) } else { Ok(()) }
    }

    /// Kills every child. A sandbox dies whole with its first process.
    pub fn raise(&self) {
        self.0.raised.store(true, Ordering::SeqCst);
        for id in held(&self.0.children).iter() {
            if let Ok(id) = i32::try_from(*id) {
                // A child that is already gone needs no signal.
                let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
            }
        }
    }

    /// Registers a child while `wait` runs. Fails at once if the signal came before the child did.
    pub fn during<T>(&self, child: u32, wait: impl FnOnce() -> T) -> Result<T, Failure> {
        held(&self.0.children).insert(child);
        if self.check().is_err() {
            self.raise();
        }
        let result = wait();
        held(&self.0.children).remove(&child);
        self.check()?;
        Ok(result)
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
    fn an_interruption_kills_the_running_child() {
        let interrupt = Interrupt::default();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep starts");
        let raiser = interrupt.clone();
        let result = interrupt.during(child.id(), || {
            raiser.raise();
            child.wait().expect("the child ends")
        });
        assert!(matches!(result, Err(Failure::Interrupted)));
    }
}
