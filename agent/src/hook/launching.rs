//! The launch hook is kept alive while bootstrap and checks advance, and the lifecycle is told how long it waits.

use super::{Hooks, Standing, jittered};
use crate::group::HookInfo;
use crate::lifecycle::{Event, Hook, Phase};
use crate::pauses::Pauses;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

/// A third of the shortest timeout that a hook can have (30 s): a launch that is answered sooner after its boot than this
/// costs no call.
const SHORTEST_THIRD: Duration = Duration::from_secs(10);
/// Longest pause while the hook cannot be read: two thirds of most timeouts are left by then.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

impl Hooks {
    /// Records heartbeats until the launch is decided; `since_boot` is the machine's age, which is about the hook's.
    /// `events` is told of each that was taken. A launch in which nothing has moved for a whole timeout hangs: no more
    /// heartbeats then, and the lifecycle gives up before the hook does. Nothing is changed by a hook that cannot be read.
    pub async fn beat_while_launching(&self, since_boot: Duration, events: &mpsc::Sender<Event>) {
        let began = Instant::now();
        sleep(SHORTEST_THIRD.saturating_sub(since_boot)).await;
        let mut pauses = Pauses::new(self.poll, LONGEST_PAUSE);
        let info = loop {
            if !self.is_launching() {
                return;
            }
            match self.info(Hook::Launch).await {
                Ok(Some(info)) => break info,
                Ok(None) => return,
                Err(error) => self.report(Hook::Launch, &error),
            }
            sleep(pauses.next_pause()).await;
        };
        let third = info.heartbeat_timeout / 3;
        let mut pause = third.saturating_sub(since_boot + began.elapsed());
        let until = Instant::now() + info.global_timeout;
        let mut withheld = false;
        while Instant::now() < until {
            sleep(jittered(pause)).await;
            pause = third;
            if !self.is_launching() {
                return;
            }
            let advanced = self.board.lock().advanced;
            if advanced.is_some_and(|at| at.elapsed() >= info.heartbeat_timeout) {
                if !std::mem::replace(&mut withheld, true) {
                    tracing::warn!(hook = "launch", "heartbeat withheld, the launch does not advance");
                    self.board.note("heartbeat withheld: the launch does not advance");
                }
                continue;
            }
            withheld = false;
            match self.beat_launch(&info, events).await {
                Beat::Taken => pauses.reset(),
                Beat::Again => pause = pauses.next_pause().min(third),
                Beat::Past => return,
            }
        }
    }

    fn is_launching(&self) -> bool {
        let status = self.board.lock();
        matches!(status.phase, Phase::Bootstrapping | Phase::Warming) && status.failure.is_none()
    }

    async fn beat_launch(&self, info: &HookInfo, events: &mpsc::Sender<Event>) -> Beat {
        match self.beat(info).await {
            Ok(()) => {
                self.board.error(Hook::Launch.name(), None);
                tracing::info!(hook = "launch", "heartbeat recorded");
                // The loop listens for as long as this runs.
                let _ = events.send(Event::LaunchHeld { timeout: info.heartbeat_timeout }).await;
                Beat::Taken
            }
            // Not yet in its wait, or past it: only the state tells.
            Err(error) if error.is("ValidationError") => match self.group.member().await {
                Ok(Some(member)) if self.standing(Hook::Launch, &member.state) == Standing::Past => {
                    Beat::Past
                }
                _ => Beat::Again,
            },
            Err(error) => {
                self.report(Hook::Launch, &error);
                Beat::Again
            }
        }
    }
}

/// What came of a heartbeat.
enum Beat {
    Taken,
    Again,
    Past,
}

#[cfg(test)]
mod tests;
