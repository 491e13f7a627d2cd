//! Heartbeats: a hook is kept alive at a third of its timeout, while the drain or the launch advances.

use super::{Hooks, jittered};
use crate::aws::Error;
use crate::config::Selector;
use crate::group::HookInfo;
use crate::lifecycle::{Event, Hook, Phase};
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
    pub async fn beat_while_draining(&self, events: &mpsc::Sender<Event>) {
        let info = loop {
            if self.board.lock().phase != Phase::Draining {
                return;
            }
            match self.info(Hook::Terminate).await {
                Ok(Some(info)) => break info,
                // No such hook any more: there is nothing to keep alive.
                Ok(None) => return,
                Err(error) => self.report(Hook::Terminate, &error),
            }
            tokio::time::sleep(jittered(self.poll)).await;
        };
        // The loop listens for as long as this runs.
        let _ = events.send(Event::TerminateHeld { limit: info.global_timeout }).await;
        self.beat_for(&info).await;
    }

    pub(super) async fn beat_for(&self, info: &HookInfo) {
        let until = Instant::now() + info.global_timeout;
        let mut withheld = false;
        while Instant::now() < until {
            if !self.drains_for(jittered(info.heartbeat_timeout / 3)).await {
                return;
            }
            let advanced = self.board.lock().advanced;
            if advanced.is_some_and(|at| at.elapsed() >= info.heartbeat_timeout) {
                if !std::mem::replace(&mut withheld, true) {
                    tracing::warn!(hook = "terminate", "heartbeat withheld, the drain does not advance");
                    self.board.note("heartbeat withheld: the drain does not advance");
                }
                continue;
            }
            withheld = false;
            match self.beat(info).await {
                Ok(()) => {
                    self.board.error(Hook::Terminate.name(), None);
                    tracing::info!(hook = "terminate", "heartbeat recorded");
                }
                // Throttled or refused, the next one may be taken: two thirds of the timeout are left.
                Err(error) => self.report(Hook::Terminate, &error),
            }
        }
    }

    /// Lets `pause` pass while the drain lasts; `false` as soon as it has ended.
    async fn drains_for(&self, pause: Duration) -> bool {
        let end = Instant::now() + pause;
        loop {
            if self.board.lock().phase != Phase::Draining {
                return false;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            tokio::time::sleep(left.min(LOOK)).await;
        }
    }

    pub(super) async fn info(&self, hook: Hook) -> Result<Option<HookInfo>, Error> {
        let Some(group) = self.group.name().await? else {
            return Ok(None);
        };
        let mut found = self.group.hooks(&group, hook).await?.into_iter();
        let configured = match hook {
            Hook::Launch => &self.launch,
            Hook::Terminate => &self.terminate,
        };
        Ok(match configured {
            Selector::Named(name) => found.find(|info| info.name == *name),
            // Of several, none is known to be ours.
            Selector::Auto => found.next().filter(|_| found.next().is_none()),
        })
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
