//! The run state: the life so far, written before each effect, so that a killed agent goes on where it was.

use crate::clock::{self, Moment};
use crate::durable;
use crate::lifecycle::{Effect, Lifecycle, Policy};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// Where it lies under a root; on a tmpfs, so a reboot begins a new life.
pub const PATH: &str = "run/kiln/agent/state.json";

/// The file.
#[derive(Debug, Clone)]
pub struct State {
    path: PathBuf,
    boot_id: String,
}

#[derive(Serialize, Deserialize)]
struct Document<Life> {
    boot_id: String,
    life: Life,
}

impl State {
    /// The state file under `root`, of this boot.
    pub fn new(root: &Path) -> Self {
        Self { path: root.join(PATH), boot_id: clock::boot_id() }
    }

    /// The life to go on with, and what is open in it; a new one when there is none of this boot, with what it has `left`
    /// as [`Lifecycle::begin`] takes it.
    pub fn resume(&self, policy: Policy, now: Moment, left: bool) -> (Lifecycle, Vec<Effect>) {
        match self.read() {
            Ok(Some(life)) => {
                tracing::info!(phase = life.phase().name(), "life resumed");
                life.resume(policy, now)
            }
            Ok(None) => Lifecycle::begin(policy, now, left),
            Err(error) => {
                // Half a file cannot be (it is renamed into place); a new life reads all it needs from AWS.
                tracing::warn!(path = %self.path.display(), reason = %error, "state file not usable, life begins anew");
                Lifecycle::begin(policy, now, left)
            }
        }
    }

    /// Writes the life; atomic.
    pub fn write(&self, life: &Lifecycle) -> io::Result<()> {
        let document = Document { boot_id: self.boot_id.clone(), life };
        durable::write(&self.path, &serde_json::to_vec(&document)?, 0o600)
    }

    /// Reads the life as it was written; `None` when there is none of this boot.
    pub fn read(&self) -> io::Result<Option<Lifecycle>> {
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let document: Document<Lifecycle> = serde_json::from_slice(&bytes)?;
        // Moments of another boot mean nothing here.
        Ok((document.boot_id == self.boot_id).then_some(document.life))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::{Event, Hook, HookStep, Notice, Phase, Settled};
    use std::time::Duration;

    #[test]
    fn a_killed_agent_finds_the_same_drain() {
        let root = tempfile::tempdir().expect("a folder for the state");
        let state = State::new(root.path());
        let mut life = Lifecycle::new(policy(), at(0));
        life.handle(Event::Bootstrapped { ok: true }, at(1));
        life.handle(Event::Healthy, at(2));
        life.handle(Event::HookSettled { hook: Hook::Launch, settled: Settled::Completed }, at(3));
        life.handle(Event::Notice { notice: Notice::Group, deadline: None }, at(10));
        state.write(&life).expect("the folder is ours");

        let (resumed, effects) = State::new(root.path()).resume(policy(), at(20), false);
        assert_eq!(resumed, life);
        assert_eq!(effects, [Effect::StartDrain { deadline: at(70) }, Effect::WatchTerminate]);
        assert_eq!(resumed.hook(Hook::Launch), HookStep::Settled(Settled::Completed));
    }

    #[test]
    fn a_file_of_another_boot_or_of_no_sense_begins_a_new_life() {
        let root = tempfile::tempdir().expect("a folder for the state");
        let state = State::new(root.path());
        assert_eq!(state.resume(policy(), at(5), false).0.phase(), Phase::Bootstrapping);

        let mut life = Lifecycle::new(policy(), at(0));
        life.handle(Event::Notice { notice: Notice::Spot, deadline: None }, at(1));
        let other_boot = State { boot_id: "another".to_owned(), ..state.clone() };
        other_boot.write(&life).expect("the folder is ours");
        assert_eq!(state.resume(policy(), at(5), false).0.phase(), Phase::Bootstrapping);

        std::fs::write(root.path().join(PATH), "{\"boot_id\":").expect("the folder is ours");
        assert_eq!(state.resume(policy(), at(5), false).0.phase(), Phase::Bootstrapping);
    }

    fn policy() -> Policy {
        Policy { drain_max: Duration::from_mins(1), ..Policy::default() }
    }

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(seconds * 1000)
    }
}
