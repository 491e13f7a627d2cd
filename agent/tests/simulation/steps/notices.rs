//! The poller's rounds: target state, spot action, rebalance.

use std::time::Duration;

use kiln_agent::clock::Moment;
use kiln_agent::lifecycle::{Event, Notice, Place};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::{Steps, TWO_MINUTES};

const SPOT_POLL: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

impl Steps {
    /// As `Poller::run`: target state, spot action, rebalance.
    pub(crate) async fn poll(&self, events: mpsc::Sender<Event>) {
        let (poll, heed) = {
            let inner = self.cloud.lock();
            (inner.script.poll, inner.script.rebalance_drains)
        };
        let (mut failures, mut spot_due) = (0, Instant::now());
        loop {
            let pause = match self.read(&mut spot_due, heed, &events).await {
                Ok(()) => {
                    failures = 0;
                    poll
                }
                Err(()) => self.pause(&mut failures, poll, LONGEST_PAUSE).max(poll),
            };
            sleep(pause).await;
        }
    }

    async fn read(&self, spot_due: &mut Instant, heed: bool, events: &mpsc::Sender<Event>) -> Result<(), ()> {
        let target = self.cloud.metadata(|aws| aws.lifecycle.target().map(str::to_owned)).await?;
        if target.is_none() {
            // The lifecycle makes nothing of the second.
            let _ = events.send(Event::Groupless).await;
        }
        if let Some(state) = target {
            let before = self.target.lock().expect("a panic ends the simulation").replace(state.clone());
            match Place::parse(&state) {
                Some(place) if before.as_ref() != Some(&state) => {
                    let _ = events.send(Event::Target(place)).await;
                }
                None if matches!(state.as_str(), "Terminated" | "Warmed:Terminated") => {
                    self.send(events, Notice::Group, None).await;
                }
                _ => {}
            }
        }
        if Instant::now() < *spot_due {
            return Ok(());
        }
        *spot_due = Instant::now() + SPOT_POLL;
        let action = self.cloud.metadata(|aws| aws.spot.map(|at| at.as_millis().to_string())).await?;
        if let Some(at) = action.and_then(|text| text.parse().ok()).map(Duration::from_millis) {
            // The document names a wall time; a clock that is off makes it nearer or further, within two minutes.
            let off = i128::from(self.cloud.lock().wall) * 1000;
            let ahead = signed(at) - signed(self.cloud.now()) - off;
            let ahead =
                Duration::from_millis(u64::try_from(ahead.max(0)).unwrap_or(u64::MAX)).min(TWO_MINUTES);
            self.send(events, Notice::Spot, Some(self.clock.now() + ahead)).await;
        }
        if self
            .cloud
            .metadata(|aws| aws.rebalance.then(String::new))
            .await?
            .is_some_and(|text| text.is_empty())
            && heed
        {
            self.send(events, Notice::Rebalance, None).await;
        }
        Ok(())
    }

    async fn send(&self, events: &mpsc::Sender<Event>, notice: Notice, deadline: Option<Moment>) {
        let heard =
            self.cloud.lock().witness.life.as_ref().is_some_and(|life| life.notices().contains(&notice));
        if !heard {
            // A loop that has ended takes its poller with it.
            let _ = events.send(Event::Notice { notice, deadline }).await;
        }
    }
}

fn signed(duration: Duration) -> i128 {
    i128::try_from(duration.as_millis()).unwrap_or(i128::MAX)
}
