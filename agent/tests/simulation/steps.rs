//! The steps as the agent performs them, call by call, with its own judgements; pauses are drawn from the seed.

mod heartbeats;
mod notices;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kiln_agent::clock::{Clock, Moment};
use kiln_agent::drain::Evidence;
use kiln_agent::hook::{Standing, is_next, past, standing};
use kiln_agent::lifecycle::{Ended, Hook, Notice, Phase, Place, Settled, Verdict};
use kiln_agent::targets::must_be_told;
use rand::RngExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::cloud::{Cloud, Error};

const POLL: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const BOUND: Duration = Duration::from_hours(1);
const ABSENT_READS: u32 = 3;
const SAMPLE: Duration = Duration::from_millis(500);
/// EC2's announcement of an interruption.
pub(crate) const TWO_MINUTES: Duration = Duration::from_mins(2);

/// What the steps of one process share.
#[derive(Debug, Clone)]
pub(crate) struct Steps {
    pub(crate) cloud: Cloud,
    pub(crate) clock: Clock,
    /// The board's target lifecycle state, as last read by this process.
    pub(crate) target: Arc<Mutex<Option<String>>>,
}

impl Steps {
    /// As `Hooks::complete`.
    pub(crate) async fn complete(&self, hook: Hook, verdict: Verdict) -> Settled {
        let mut until = Instant::now() + BOUND;
        let (mut failures, mut absent, mut called, mut limit) = (0, 0, false, None);
        loop {
            if hook == Hook::Launch && self.phase().is_leaving() {
                let stopped = past(called, verdict, None);
                return if verdict == Verdict::Continue { Settled::NothingOwed } else { stopped };
            }
            let pause = match self.look(hook, verdict, &mut called, &mut limit).await {
                Ok(Some(settled)) => return settled,
                Ok(None) => {
                    (failures, absent) = (0, 0);
                    self.jittered(POLL)
                }
                Err(Trouble::Absent) => {
                    absent += 1;
                    if absent >= ABSENT_READS {
                        return past(called, verdict, None);
                    }
                    self.jittered(POLL)
                }
                Err(Trouble::Lost) => self.pause(&mut failures, Duration::from_secs(1), LONGEST_PAUSE),
            };
            if let Some(heartbeat) = limit.take() {
                until = Instant::now() + heartbeat * 100;
            }
            if Instant::now() + pause >= until {
                return Settled::GaveUp;
            }
            sleep(pause).await;
        }
    }

    async fn look(
        &self,
        hook: Hook,
        verdict: Verdict,
        called: &mut bool,
        limit: &mut Option<Duration>,
    ) -> Result<Option<Settled>, Trouble> {
        let member = self.cloud.call("DescribeAutoScalingInstances", |aws| Ok(aws.member())).await?;
        let state = member.ok_or(Trouble::Absent)?;
        let pooled = self.cloud.lock().witness.life.as_ref().is_some_and(|life| match hook {
            Hook::Launch => life.launch_for() == Place::Pool,
            Hook::Terminate => life.terminate_for() == Notice::Pool,
        });
        let over = past(*called, verdict, Some(state));
        if pooled && is_next(hook, state) {
            return Ok(Some(if hook == Hook::Launch { over } else { Settled::Superseded }));
        }
        match self.standing(hook, state) {
            Standing::Before => return Ok(None),
            Standing::Past => return Ok(Some(over)),
            Standing::Wait => {}
        }
        if !*called {
            *limit = self.cloud.call("DescribeLifecycleHooks", |aws| Ok(aws.hook(hook))).await?;
            if limit.is_none() {
                return Ok(Some(over));
            }
        }
        *called = true;
        match self.cloud.call("CompleteLifecycleAction", |aws| aws.complete(hook, verdict)).await {
            Ok(()) => {
                self.cloud.lock().witness.answered(hook);
                Ok(Some(Settled::Completed))
            }
            Err(Error::Invalid) => Ok(None),
            Err(Error::Lost) => Err(Trouble::Lost),
        }
    }

    /// As `Hooks::await_terminate`.
    pub(crate) async fn await_terminate(&self) -> bool {
        let watch = async {
            let (mut failures, mut absent) = (0, 0);
            loop {
                let answer = self.cloud.call("DescribeAutoScalingInstances", |aws| Ok(aws.member())).await;
                let pause = match answer.map(|state| state.map(|state| self.standing(Hook::Terminate, state)))
                {
                    Ok(None) if absent + 1 >= ABSENT_READS => return false,
                    Ok(None) => {
                        absent += 1;
                        self.jittered(POLL)
                    }
                    Ok(Some(Standing::Wait)) => return true,
                    Ok(Some(Standing::Past)) => return false,
                    Ok(Some(Standing::Before)) => self.jittered(POLL),
                    Err(_) => self.pause(&mut failures, Duration::from_secs(1), LONGEST_PAUSE),
                };
                sleep(pause).await;
            }
        };
        timeout(2 * BOUND, watch).await.unwrap_or(false)
    }

    /// As `Drain::run`.
    pub(crate) async fn drain(&self, deadline: watch::Receiver<Moment>) -> Ended {
        let busy_until = self.cloud.now() + self.cloud.lock().script.work;
        let quiet = self.cloud.lock().script.quiet;
        let mut evidence = Evidence::default();
        evidence.scripts_ended = true;
        let leave = self.leave();
        tokio::pin!(leave);
        let mut tick = tokio::time::interval(SAMPLE);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // In the order written: chance has its place in the seed.
                biased;
                () = &mut leave, if !evidence.told => evidence.told = true,
                _ = tick.tick() => {}
            }
            let work = if self.cloud.now() < busy_until { Some(1) } else { Some(0) };
            let now = self.clock.now();
            evidence.count(work, now);
            let Some(ended) = evidence.verdict(quiet, *deadline.borrow(), now).ended() else { continue };
            let what = match ended {
                Ended::Quiet => "drain ended by evidence",
                Ended::Unreachable => "drain ended without AWS",
                Ended::Overdue => "drain ended at its deadline",
            };
            self.cloud.lock().see(what, "");
            return ended;
        }
    }

    /// As `Targets::leave`.
    async fn leave(&self) {
        let groups = self.cloud.lock().groups.len();
        let mut open: Vec<usize> = (0..groups).collect();
        let mut failures = 0;
        while !open.is_empty() {
            let (mut still_open, mut failed) = (Vec::new(), false);
            for group in open {
                match self.tell(group).await {
                    Ok(true) => {}
                    Ok(false) => still_open.push(group),
                    Err(_) => {
                        failed = true;
                        still_open.push(group);
                    }
                }
            }
            open = still_open;
            let second = Duration::from_secs(1);
            let pause =
                if failed { self.pause(&mut failures, second, Duration::from_secs(10)) } else { second };
            if !open.is_empty() {
                sleep(pause).await;
            }
        }
    }

    async fn tell(&self, group: usize) -> Result<bool, Error> {
        let rows = self.cloud.call("DescribeTargetHealth", |aws| Ok(aws.rows(group))).await?;
        let staying: Vec<u16> =
            rows.iter().filter(|(_, state)| must_be_told(state, None)).map(|(port, _)| *port).collect();
        if staying.is_empty() {
            return Ok(true);
        }
        let told = |aws: &mut crate::cloud::Inner| {
            aws.deregister(group, &staying);
            Ok(())
        };
        self.cloud.call("DeregisterTargets", told).await.map(|()| false)
    }

    fn standing(&self, hook: Hook, state: &str) -> Standing {
        standing(hook, state, self.target.lock().expect("a panic ends the simulation").as_deref())
    }

    fn phase(&self) -> Phase {
        self.cloud
            .lock()
            .witness
            .life
            .as_ref()
            .map_or(Phase::Bootstrapping, kiln_agent::lifecycle::Lifecycle::phase)
    }

    fn pause(&self, failures: &mut u32, first: Duration, longest: Duration) -> Duration {
        let bound = (first * (1 << (*failures).min(16))).min(longest);
        *failures += 1;
        bound.mul_f64(self.cloud.lock().script.rng.random_range(0.25..=1.0))
    }

    fn jittered(&self, pause: Duration) -> Duration {
        pause.mul_f64(self.cloud.lock().script.rng.random_range(0.8..=1.2))
    }
}

enum Trouble {
    Absent,
    Lost,
}

impl From<Error> for Trouble {
    fn from(_: Error) -> Self {
        Self::Lost
    }
}
