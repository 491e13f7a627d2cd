//! Heartbeats: a hook is kept alive at a third of its timeout, while the drain or the launch advances.

use super::{Choice, Hooks, LONGEST_PAUSE, Standing};
use crate::aws::Error;
use crate::group::HookInfo;
use crate::lifecycle::{Event, Hook, Phase};
use crate::pauses::{Pauses, jittered};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How soon the end of a drain is seen between two heartbeats: the process waits at its end for what is under way, and
/// the power-off waits for the process.
const LOOK: Duration = Duration::from_millis(500);

impl Hooks {
    /// Records heartbeats while the drain lasts. Its deadline bounds them, and so does its progress: a drain in which
    /// nothing has moved for a whole heartbeat timeout hangs, and the group need not wait for it. `events` is told the
    /// hook's global timeout, which no heartbeat can put off.
    ///
    /// Called once the hook waits; the first beat comes at once, since nobody knows how much of its time is left.
    pub async fn beat_while_draining(&self, events: &mpsc::Sender<Event>) {
        let mut pauses = Pauses::new(self.poll, LONGEST_PAUSE);
        let info = loop {
            if self.board.lock().phase != Phase::Draining {
                return;
            }
            match self.info(Hook::Terminate).await {
                Ok(Some(info)) => break info,
                // No hook of ours: there is nothing to keep alive.
                Ok(None) => return,
                Err(error) => self.report(Hook::Terminate, &error),
            }
            if !self.rest(pauses.next_pause()).await {
                return;
            }
        };
        // The loop listens for as long as this runs.
        let _ = events.send(Event::TerminateHeld { limit: info.global_timeout }).await;
        self.beat_for(&info).await;
    }

    pub(super) async fn beat_for(&self, info: &HookInfo) {
        let (hook, began) = (info.hook, Instant::now());
        let third = info.heartbeat_timeout / 3;
        let mut pauses = Pauses::new(third / 8, third);
        let mut withheld = false;
        let mut pause = Duration::ZERO;
        while began.elapsed() + pause < info.global_timeout {
            if !self.rest(pause).await {
                return;
            }
            pause = jittered(third);
            let advanced = self.board.lock().advanced.unwrap_or(began);
            if advanced.elapsed() >= info.heartbeat_timeout {
                if !std::mem::replace(&mut withheld, true) {
                    tracing::warn!(hook = hook.name(), "heartbeat withheld, the drain does not advance");
                    self.board.note("heartbeat withheld: the drain does not advance");
                }
                continue;
            }
            withheld = false;
            match self.beat(info).await {
                Ok(()) => {
                    pauses.reset();
                    self.board.error(hook.name(), None);
                    tracing::info!(hook = hook.name(), "heartbeat recorded");
                }
                Err(error) if error.is("ValidationError") => {
                    // Not there yet, answered, timed out, or gone: the state tells which.
                    if self.is_past(hook).await {
                        return;
                    }
                }
                // Throttled, or no answer: two thirds of the timeout are left for the next ones, which come sooner.
                Err(error) => {
                    self.report(hook, &error);
                    pause = pauses.next_pause();
                }
            }
        }
    }

    /// Sleeps for `span`; `false` as soon as the drain is over.
    async fn rest(&self, span: Duration) -> bool {
        let until = Instant::now() + span;
        loop {
            if self.board.lock().phase != Phase::Draining {
                return false;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            tokio::time::sleep(left.min(LOOK)).await;
        }
    }

    /// The hook of ours, if there is one.
    pub(super) async fn info(&self, hook: Hook) -> Result<Option<HookInfo>, Error> {
        let Some(group) = self.group.name().await? else {
            return Ok(None);
        };
        Ok(match self.choose(hook, &group).await? {
            Choice::Ours(info) => Some(info),
            _ => None,
        })
    }

    /// Whether the hook's wait is over for good. An instance that is not listed may be about to be.
    async fn is_past(&self, hook: Hook) -> bool {
        match self.group.member().await {
            Ok(Some(member)) => self.standing(hook, &member.state) == Standing::Past,
            Ok(None) => false,
            Err(error) => {
                self.report(hook, &error);
                false
            }
        }
    }

    pub(super) async fn beat(&self, info: &HookInfo) -> Result<(), Error> {
        let Some(group) = self.group.name().await? else {
            return Ok(());
        };
        self.group
            .aws()
            .autoscaling()
            .await?
            .record_lifecycle_action_heartbeat()
            .auto_scaling_group_name(group)
            .lifecycle_hook_name(&info.name)
            .instance_id(self.group.instance_id().await?)
            .send()
            .await
            .map_err(|error| Error::new("RecordLifecycleActionHeartbeat", &error))?;
        Ok(())
    }
}
