//! The instance's rows in its target groups: read whole, told to leave by id, port and zone, and read again; and what
//! was told by this agent is put back on request.
//!
//! ```text
//!  leave:   read ─▶ ours stay ─▶ noted in left.json ─▶ deregister ─▶ read again …     all groups side by side
//!               └─▶ none stays: told
//!  rejoin:  left.json ─▶ still attached ─▶ register ─▶ struck from left.json
//! ```

mod calls;
mod left;
mod rejoin;
mod row;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;

pub(crate) use calls::read_rows;
pub use left::{PATH, owed};
pub use row::must_be_told;

use crate::aws::Error;
use crate::board::{Board, TargetRow};
use crate::group::Group;
use crate::pauses::Pauses;
use futures_util::future::join_all;
use left::Left;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{RwLock, Semaphore};
use tokio::time::Instant;

/// Time between two reads while targets have yet to leave.
const POLL: Duration = Duration::from_secs(1);
/// Until the first read after a call: the control plane shows `draining` at once, and the drain waits for it.
const FIRST_LOOK: Duration = Duration::from_millis(300);
/// Longest pause after a failed call; a drain is short.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A row that was told so often and still stays is told at growing pauses; one that is `unused` holds nothing any more,
/// since nothing is routed to it.
const TELLINGS: u32 = 3;
/// Calls at a time: an instance is in few groups, and the memory of a connection each has to fit the agent's budget.
const CALLS: usize = 8;

/// Takes the instance out of its target groups, and back in.
#[derive(Debug)]
pub struct Targets {
    group: Arc<Group>,
    configured: Option<Vec<String>>,
    board: Board,
    left: Left,
    slots: Semaphore,
    /// The way that was asked for last: out, or back in.
    leaving: AtomicBool,
    /// Shared by register calls under way, which a way out waits for.
    turn: RwLock<()>,
    /// When AWS last answered, or was first asked.
    heard: Mutex<Option<Instant>>,
}

/// What one target group still wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Every row of ours is leaving, has left, or was never there.
    Told,
    /// Rows have just been told; the next read shows whether it took.
    Asked,
    /// The group cannot be read or changed by this instance's role, or there is no such thing.
    Refused,
}

impl Targets {
    /// Target groups as configured, or those that the Auto Scaling group is attached to; what is deregistered is noted
    /// under `root`.
    pub fn new(group: Arc<Group>, configured: Option<Vec<String>>, board: Board, root: &Path) -> Self {
        Self {
            group,
            configured,
            board,
            left: Left::new(root),
            slots: Semaphore::new(CALLS),
            leaving: AtomicBool::new(false),
            turn: RwLock::new(()),
            heard: Mutex::default(),
        }
    }

    /// How long AWS has not answered while the targets are to leave.
    pub fn silence(&self) -> Duration {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).map_or(Duration::ZERO, |at| at.elapsed())
    }

    fn heard(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Comes back when every target of every group has been told to leave. Through outages; a group that is deleted
    /// or denied is done with, and said so. The drain's deadline bounds it.
    pub async fn leave(&self) {
        self.leaving.store(true, Ordering::SeqCst);
        drop(self.turn.write().await);
        self.heard();
        self.board.lock().errors.retain(|part, _| !part.starts_with("targets"));
        let mut pauses = Pauses::new(POLL, LONGEST_PAUSE);
        let (groups, ids) = loop {
            match self.groups_and_ids().await {
                Ok(found) => break found,
                Err(error) => {
                    self.report("", &error);
                    if error.is_denied() {
                        return;
                    }
                }
            }
            tokio::time::sleep(pauses.next_pause()).await;
        };
        self.heard();
        self.report_ok("");
        if let Some(id) = ids.first() {
            self.remembered(self.left.claim(id));
        }
        // A group that is no longer attached is not to be come back to.
        self.remembered(self.left.retain(|arn| groups.iter().any(|group| group == arn)));
        join_all(groups.iter().map(|arn| self.see_off(arn, &ids))).await;
    }

    async fn see_off(&self, arn: &str, ids: &[String]) {
        let mut pauses = Pauses::new(POLL, LONGEST_PAUSE);
        let mut told = 0;
        loop {
            let pause = match self.tell(arn, ids, told).await {
                Ok(Standing::Told | Standing::Refused) => return,
                Ok(Standing::Asked) => {
                    told += 1;
                    match told {
                        1 => FIRST_LOOK,
                        _ if told <= TELLINGS => POLL,
                        _ => pauses.next_pause(),
                    }
                }
                Err(error) => {
                    self.report(arn, &error);
                    pauses.next_pause()
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// The groups: as configured, or those attached to the Auto Scaling group; `None` where the instance is in none.
    async fn groups(&self) -> Result<Option<Vec<String>>, Error> {
        if let Some(arns) = &self.configured {
            return Ok(Some(arns.clone()));
        }
        match self.group.name().await? {
            Some(name) => Ok(Some(self.group.target_groups(&name).await?)),
            None => Ok(None),
        }
    }

    /// The groups, and what our rows are listed by: the instance's id, or its addresses in groups of type `ip`.
    async fn groups_and_ids(&self) -> Result<(Vec<String>, Vec<String>), Error> {
        let groups = self.groups().await?.unwrap_or_default();
        if groups.is_empty() {
            return Ok((groups, Vec::new()));
        }
        let mut ids = vec![self.group.instance_id().await?.to_owned()];
        ids.extend_from_slice(self.group.addresses().await?);
        Ok((groups, ids))
    }

    async fn tell(&self, arn: &str, ids: &[String], told: u32) -> Result<Standing, Error> {
        let rows = match self.rows(arn, ids).await {
            Ok(rows) => rows,
            Err(error) => return self.excuse(arn, error),
        };
        self.show(arn, &rows.ours);
        let staying = rows.staying();
        if staying.is_empty() {
            return if rows.whole {
                Ok(Standing::Told)
            } else {
                Err(Error::lacks("DescribeTargetHealth", "the id of some target"))
            };
        }
        if told >= TELLINGS && staying.iter().all(|row| row.state == "unused") {
            tracing::warn!(
                target_group = arn,
                "targets are unused and still listed, the drain goes on without"
            );
            return Ok(Standing::Told);
        }
        match self.deregister_all(arn, &staying).await {
            Ok(()) => Ok(Standing::Asked),
            Err(error) => self.excuse(arn, error),
        }
    }

    /// A deleted group is done with; a denied one is out of reach, and its Auto Scaling group tells it anyway.
    fn excuse(&self, arn: &str, error: Error) -> Result<Standing, Error> {
        if is_gone(&error) {
            self.show(arn, &[]);
            tracing::info!(target_group = arn, "target group is deleted");
            return Ok(Standing::Told);
        }
        if error.is_denied() || error.is("ValidationError") {
            self.report(arn, &error);
            tracing::warn!(target_group = arn, reason = %error, "target group out of reach, its rows are not told");
            return Ok(Standing::Refused);
        }
        Err(error)
    }

    fn show(&self, arn: &str, rows: &[TargetRow]) {
        self.heard();
        self.report_ok(arn);
        let mut status = self.board.lock();
        status.targets.retain(|row| row.group != arn);
        status.targets.extend_from_slice(rows);
    }

    /// Each group's error under a name of its own: another's answer must not wipe it out.
    fn report(&self, arn: &str, error: &Error) {
        if !error.is_silence() {
            self.heard();
        }
        let text = error.to_string();
        if self.board.error(&part(arn), Some(&text)) {
            tracing::warn!(target_group = arn, reason = text, "target group call failed");
        }
    }

    fn report_ok(&self, arn: &str) {
        self.board.error(&part(arn), None);
    }

    /// A list that cannot be written costs only its memory of a kill: the way out goes on.
    fn remembered(&self, written: std::io::Result<()>) {
        let error = written.err().map(|error| format!("failed to write {PATH}: {error}"));
        if self.board.error("left", error.as_deref()) && error.is_some() {
            tracing::warn!(reason = error, "list of deregistered targets not written");
        }
    }
}

fn is_gone(error: &Error) -> bool {
    error.is("TargetGroupNotFound") || error.is("TargetGroupNotFoundException")
}

/// `web` of `arn:…:targetgroup/web/6d0ecf831eec9f09`.
fn name(arn: &str) -> &str {
    arn.split('/').nth(1).unwrap_or(arn)
}

/// The board's name of a group's errors.
fn part(arn: &str) -> String {
    if arn.is_empty() { "targets".to_owned() } else { format!("targets {}", name(arn)) }
}
