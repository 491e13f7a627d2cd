//! What is known of a part on this instance: a mark before it begins and its result after, each whole and synced.
//!
//! ```text
//!  no mark, or another instance's ─▶ run          begun, no result ─▶ run again       ┐ unless it must not be
//!  ok ─▶ done (on each boot: for this boot)       failed ──────────▶ run again        ┘ repeated
//! ```

use super::Failure;
use super::plan::Part;
use crate::{clock, durable};
use kiln_userdata::Every;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A part that was begun this often and never came to an end is not begun again: it takes the machine down each time.
/// More than power cuts and reboots by others ever come in a row, and a loop of reboots is over within minutes.
const ENDLESS: u32 = 10;

/// How far a part has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// It was begun, and nobody knows how it ended.
    Begun,
    /// It has done its work.
    Ok,
    /// It has failed.
    Failed,
}

/// The file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) part: String,
    pub(super) hash: String,
    pub(super) instance_id: String,
    pub(super) boot_id: String,
    pub(super) state: State,
    /// How often it was begun since it last came to an end.
    pub(super) begun: u32,
    pub(super) reason: Option<String>,
    /// Of the last change, for people.
    pub(super) at: String,
}

/// What is to be done about a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is run.
    Run {
        /// It was begun before and may have done some of its work.
        again: bool,
        /// How often it will have been begun without an end.
        begun: u32,
    },
    /// It is done.
    Done,
    /// It is not run again, and it has not succeeded: why.
    Refused(String),
}

/// The marks of one instance.
#[derive(Debug)]
pub(super) struct Marks {
    folder: PathBuf,
    instance_id: String,
    boot_id: String,
}

impl Marks {
    /// Those that lie in `folder`.
    pub(super) fn new(folder: &Path, instance_id: &str, boot_id: &str) -> Self {
        Self { folder: folder.join("marks"), instance_id: instance_id.into(), boot_id: boot_id.into() }
    }

    /// Where the mark of `part` lies.
    pub(super) fn path(&self, part: &Part<'_>) -> PathBuf {
        self.folder.join(format!("{}.json", part.key))
    }

    /// Judges `part` by its mark.
    pub(super) fn judge(&self, part: &Part<'_>) -> Result<Verdict, Failure> {
        Ok(match self.read(part)? {
            Some(mark) => judge(&mark, part, &self.boot_id, &self.path(part)),
            None => Verdict::Run { again: false, begun: 1 },
        })
    }

    /// Leaves word that `part` begins, for the `begun`th time.
    pub(super) fn begin(&self, part: &Part<'_>, begun: u32) -> Result<(), Failure> {
        self.write(part, State::Begun, begun, None)
    }

    /// Leaves word of how it ended.
    pub(super) fn end(&self, part: &Part<'_>, failure: Option<&str>) -> Result<(), Failure> {
        self.write(part, if failure.is_some() { State::Failed } else { State::Ok }, 0, failure)
    }

    fn write(&self, part: &Part<'_>, state: State, begun: u32, reason: Option<&str>) -> Result<(), Failure> {
        let mark = Mark {
            part: part.name.clone(),
            hash: part.hash.clone(),
            instance_id: self.instance_id.clone(),
            boot_id: self.boot_id.clone(),
            state,
            begun,
            reason: reason.map(str::to_owned),
            at: clock::wall_time(),
        };
        let path = self.path(part);
        let written = serde_json::to_vec(&mark)
            .map_err(std::io::Error::from)
            .and_then(|bytes| durable::write(&path, &bytes, 0o600));
        written.map_err(|source| Failure::Keep { path, source })
    }

    fn read(&self, part: &Part<'_>) -> Result<Option<Mark>, Failure> {
        let path = self.path(part);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Failure::Keep { path, source }),
        };
        // A mark that makes no sense was made by somebody: the part was begun, and that is all that is known.
        let mark = serde_json::from_slice(&bytes).unwrap_or_else(|_| Mark {
            part: part.name.clone(),
            hash: part.hash.clone(),
            instance_id: self.instance_id.clone(),
            boot_id: String::new(),
            state: State::Begun,
            begun: 1,
            reason: None,
            at: String::new(),
        });
        Ok(Some(mark).filter(|mark| mark.instance_id == self.instance_id && mark.hash == part.hash))
    }
}

fn judge(mark: &Mark, part: &Part<'_>, boot_id: &str, path: &Path) -> Verdict {
    let run = |again, begun| Verdict::Run { again, begun };
    let refused = |what: &str| {
        Verdict::Refused(format!("{} {what}; remove {} to run it again", part.title, path.display()))
    };
    match (mark.state, part.every) {
        (State::Ok, Every::Instance) => Verdict::Done,
        (State::Ok, Every::Boot) if mark.boot_id == boot_id => Verdict::Done,
        (State::Ok, Every::Boot) => run(false, 1),
        (State::Failed, _) if !part.repeat => {
            let reason = mark.reason.as_deref().unwrap_or("it failed");
            refused(&format!("has failed before and must not be repeated (repeat = false): {reason}"))
        }
        (State::Failed, _) => run(true, 1),
        (State::Begun, _) if !part.repeat => {
            refused("was begun, nobody knows how it ended, and it must not be repeated (repeat = false)")
        }
        (State::Begun, _) if mark.begun >= ENDLESS => {
            refused(&format!("was begun {ENDLESS} times and never came to an end: it takes the machine down"))
        }
        (State::Begun, _) => run(true, mark.begun + 1),
    }
}
