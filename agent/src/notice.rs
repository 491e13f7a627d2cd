//! Who says "go": the group's target lifecycle state, a spot interruption, a rebalance recommendation, SIGTERM.

use crate::board::Board;
use crate::clock::{Clock, Moment};
use crate::config::Rebalance;
use crate::imds::{Error, Imds};
use crate::lifecycle::{Event, Notice, Place};
use crate::pauses::Pauses;
use serde::Deserialize;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Longest time between two reads of the spot interruption: AWS's advice.
const SPOT_POLL: Duration = Duration::from_secs(5);
/// And of the rebalance recommendation, when it is only reported: nothing is done about it that could come late.
const ADVICE_POLL: Duration = Duration::from_secs(30);
/// Longest pause after failed reads: the service is link-local and one read is all it takes, while a spot interruption that
/// falls into an outage has two minutes from its start.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// `spot/instance-action`, as far as it is used.
#[derive(Debug, Deserialize)]
struct Interruption {
    action: String,
    time: String,
}

/// Polls the metadata service for as long as the process lives. An error changes nothing and is polled through.
pub struct Poller {
    /// The service.
    pub imds: Arc<Imds>,
    /// Time between two reads of the target state.
    pub poll: Duration,
    /// What a rebalance recommendation does.
    pub rebalance: Rebalance,
    /// The board.
    pub board: Board,
    /// The clock.
    pub clock: Clock,
    /// Where notices go.
    pub events: mpsc::Sender<Event>,
}

impl std::fmt::Debug for Poller {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Poller").field("poll", &self.poll).finish_non_exhaustive()
    }
}

/// When each item is to be read next. It moves on with an answer, so that a read that failed is made up for.
#[derive(Debug, Clone, Copy)]
struct Due {
    state: Instant,
    spot: Instant,
    advice: Instant,
    /// The state was absent once, and the lifecycle has heard so.
    groupless: bool,
}

impl Poller {
    /// Runs until nobody listens.
    pub async fn run(self) {
        let mut pauses = Pauses::new(self.poll, LONGEST_PAUSE);
        let now = Instant::now();
        let mut due = Due { state: now, spot: now, advice: now, groupless: false };
        loop {
            let answer = self.look(&mut due).await;
            let error = answer.as_ref().err().map(ToString::to_string);
            if self.board.error("imds", error.as_deref()) {
                if let Some(reason) = &error {
                    tracing::warn!(reason, "metadata service not read, asking again");
                } else {
                    tracing::info!("metadata service read again");
                }
            }
            match answer {
                Ok(false) => return,
                Ok(true) => {
                    pauses.reset();
                    tokio::time::sleep_until(due.state.min(due.spot).min(due.advice)).await;
                }
                Err(_) => tokio::time::sleep(pauses.next_pause().max(self.poll)).await,
            }
        }
    }

    /// Reads what is due; `false` when nobody listens any more.
    async fn look(&self, due: &mut Due) -> Result<bool, Error> {
        let now = Instant::now();
        if now >= due.state {
            let state = self.imds.get("autoscaling/target-lifecycle-state").await?;
            due.state = self.clock.beat(self.poll);
            let absent = state.is_none() && !std::mem::replace(&mut due.groupless, true);
            if !self.target(state).await || absent && self.events.send(Event::Groupless).await.is_err() {
                return Ok(false);
            }
        }
        if now >= due.spot {
            let text = self.imds.get("spot/instance-action").await?;
            due.spot = self.clock.beat(SPOT_POLL);
            if let Some(deadline) = text.and_then(|text| self.interruption(&text))
                && !self.send(Notice::Spot, Some(deadline)).await
            {
                return Ok(false);
            }
        }
        if now >= due.advice {
            let advice = self.imds.get("events/recommendations/rebalance").await?;
            let heeded = self.rebalance == Rebalance::Drain;
            due.advice = self.clock.beat(if heeded { SPOT_POLL } else { ADVICE_POLL });
            if advice.is_some() {
                return Ok(self.rebalance().await);
            }
        }
        Ok(true)
    }

    async fn target(&self, state: Option<String>) -> bool {
        // Absent is no state: outside a group, or too early to tell.
        let Some(state) = state else { return true };
        let changed =
            self.board.lock().target_state.replace(state.clone()).is_none_or(|before| before != state);
        if changed {
            tracing::info!(target_state = state, "target lifecycle state changed");
            self.board.note(format!("target lifecycle state is {state}"));
        }
        match Place::parse(&state) {
            Some(place) if changed => self.events.send(Event::Target(place)).await.is_ok(),
            None if is_the_end(&state) => self.send(Notice::Group, None).await,
            // Said before, or unknown: a state that this agent has never heard of changes nothing.
            Some(_) | None => true,
        }
    }

    fn interruption(&self, text: &str) -> Option<Moment> {
        let wall = SystemTime::now();
        let (action, deadline) = parse_interruption(text, wall, self.clock.now())?;
        if self.board.error("spot", Some(&format!("EC2 will {action} this spot instance"))) {
            tracing::warn!(action, "spot interruption");
        }
        Some(deadline)
    }

    async fn rebalance(&self) -> bool {
        if self.board.error("rebalance", Some("EC2 recommends rebalancing this spot instance")) {
            tracing::warn!("rebalance recommended");
        }
        self.rebalance != Rebalance::Drain || self.send(Notice::Rebalance, None).await
    }

    async fn send(&self, notice: Notice, deadline: Option<Moment>) -> bool {
        // Said once: a notice stays up until the instance is gone, and merging it again decides nothing.
        let heard = self.board.lock().notices.contains(&notice);
        heard || self.events.send(Event::Notice { notice, deadline }).await.is_ok()
    }
}

fn is_the_end(target_state: &str) -> bool {
    matches!(target_state, "Terminated" | "Warmed:Terminated")
}

/// The action and the moment of it. A time that cannot be read, or that lies in the past, is now: the interruption is
/// announced, so there is none to lose. Text that is no such document is no interruption.
fn parse_interruption(text: &str, wall: SystemTime, now: Moment) -> Option<(String, Moment)> {
    /// EC2 announces two minutes ahead; a wall clock that is off must not make it more.
    const AHEAD: Duration = Duration::from_mins(2);
    let Interruption { action, time } = serde_json::from_str(text).ok()?;
    if !matches!(action.as_str(), "terminate" | "stop" | "hibernate") {
        return None;
    }
    let ahead = humantime::parse_rfc3339_weak(&time)
        .ok()
        .and_then(|at| at.duration_since(wall).ok())
        .unwrap_or_default();
    Some((action, now + ahead.min(AHEAD)))
}

#[cfg(test)]
mod tests;
