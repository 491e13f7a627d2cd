//! Heartbeats of both hooks, and the way back into the target groups.

use std::time::Duration;

use kiln_agent::hook::Standing;
use kiln_agent::lifecycle::{Event, Hook, Phase};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::{POLL, Steps};
use crate::cloud::Error;

/// A third of the shortest timeout of a hook.
const SHORTEST_THIRD: Duration = Duration::from_secs(10);

impl Steps {
    /// As `Hooks::beat_while_draining`.
    pub(crate) async fn beat_while_draining(&self, events: &mpsc::Sender<Event>) {
        let mut heartbeat: Option<Duration> = None;
        loop {
            let pause = self.jittered(heartbeat.map_or(POLL, |heartbeat| heartbeat / 3));
            sleep(pause).await;
            if self.phase() != Phase::Draining {
                return;
            }
            if heartbeat.is_none() {
                let read = self.cloud.call("DescribeLifecycleHooks", |aws| Ok(aws.hook(Hook::Terminate)));
                heartbeat = read.await.ok().flatten();
                if let Some(heartbeat) = heartbeat {
                    let _ = events.send(Event::TerminateHeld { limit: heartbeat * 100 }).await;
                }
            } else {
                // The next one may be taken.
                let _ = self.beat(Hook::Terminate).await;
            }
        }
    }

    /// As `Hooks::beat_while_launching`; the launch always advances here, until it hangs for good.
    pub(crate) async fn beat_while_launching(&self, events: &mpsc::Sender<Event>) {
        let since_boot = self.clock.now().since(kiln_agent::clock::Moment::default());
        sleep(SHORTEST_THIRD.saturating_sub(since_boot)).await;
        let mut failures = 0;
        let heartbeat = loop {
            if !self.is_launching() {
                return;
            }
            match self.cloud.call("DescribeLifecycleHooks", |aws| Ok(aws.hook(Hook::Launch))).await {
                Ok(Some(heartbeat)) => break heartbeat,
                Ok(None) => return,
                Err(_) => sleep(self.pause(&mut failures, POLL, Duration::from_secs(15))).await,
            }
        };
        let third = heartbeat / 3;
        let since_boot = self.clock.now().since(kiln_agent::clock::Moment::default());
        let mut pause = third.saturating_sub(since_boot);
        loop {
            sleep(self.jittered(pause)).await;
            pause = third;
            if !self.is_launching() {
                return;
            }
            if self.cloud.lock().launch_hangs() {
                continue;
            }
            match self.beat(Hook::Launch).await {
                Ok(()) => {
                    failures = 0;
                    let _ = events.send(Event::LaunchHeld { timeout: heartbeat }).await;
                    self.cloud.lock().witness.held();
                }
                Err(Error::Invalid) => {
                    let member =
                        self.cloud.call("DescribeAutoScalingInstances", |aws| Ok(aws.member())).await;
                    if let Ok(Some(state)) = member
                        && self.standing(Hook::Launch, state) == Standing::Past
                    {
                        return;
                    }
                    pause = self.pause(&mut failures, POLL, third);
                }
                Err(Error::Lost) => pause = self.pause(&mut failures, POLL, third),
            }
        }
    }

    fn is_launching(&self) -> bool {
        let inner = self.cloud.lock();
        inner.witness.life.as_ref().is_some_and(|life| {
            matches!(life.phase(), Phase::Bootstrapping | Phase::Warming) && life.failure().is_none()
        })
    }

    async fn beat(&self, hook: Hook) -> Result<(), Error> {
        self.cloud.call("RecordLifecycleActionHeartbeat", |aws| aws.beat(hook)).await
    }

    /// As `Targets::rejoin`.
    pub(crate) async fn rejoin(&self) -> bool {
        let groups = self.cloud.lock().groups.len();
        let mut failures = 0;
        for group in 0..groups {
            let back = |aws: &mut crate::cloud::Inner| {
                aws.register(group);
                Ok(())
            };
            while self.cloud.call("RegisterTargets", back).await.is_err() {
                sleep(self.pause(&mut failures, Duration::from_secs(1), Duration::from_secs(10))).await;
            }
        }
        true
    }
}
