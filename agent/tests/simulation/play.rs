//! PLAYS one life: the script's fates at their times, the process started, killed and stopped, until the group has
//! seen the instance off.

mod machine;

use std::collections::VecDeque;
use std::time::Duration;

use kiln_agent::lifecycle::{Event as Heard, Notice};
use kiln_stage::lifecycle::{Event, Order, Pool};
use rand::RngExt;
use tokio::time::{advance, sleep_until};

use crate::agent::{Doom, Process, Saved};
use crate::cloud::Cloud;
use crate::script::Fate;
use crate::steps::TWO_MINUTES;
use crate::witness::{Ended, Invariant};

/// Longer than any life: the longest hook, drain and delay of a script take some minutes.
const LONGEST: Duration = Duration::from_hours(1);
/// EC2's patience with a machine that is told to power off.
const POWER_OFF: Duration = Duration::from_secs(150);
/// The same of a spot interruption.
const SPOT_OFF: Duration = Duration::from_secs(30);

/// Time passes at AWS when somebody looks, and an agent that is dead does not.
const LOOK: Duration = Duration::from_secs(5);

/// Plays the life of `seed` to its end.
pub(crate) async fn play(seed: u64) -> Ended {
    let cloud = Cloud::new(seed);
    let (fates, boot) = {
        let inner = cloud.lock();
        (inner.script.fates.iter().copied().collect(), inner.script.boot)
    };
    let mut play = Play {
        cloud,
        saved: Saved::default(),
        fates,
        booted: Duration::ZERO,
        starts: Some(boot),
        process: None,
        leaves: None,
        off: None,
        stops: None,
        asleep: None,
        new_root: None,
    };
    while !play.is_over() {
        play.act().await;
        play.wait().await;
    }
    if let Some(process) = play.process.take() {
        process.kill().await;
    }
    play.cloud.end()
}

/// How an agent ends whose machine is shut down and boots again.
const REBOOTED: &str = "machine rebooted in order";

struct Play {
    cloud: Cloud,
    saved: Saved,
    fates: VecDeque<(Duration, Fate)>,
    /// When the machine booted.
    booted: Duration,
    /// When the agent starts again.
    starts: Option<Duration>,
    process: Option<Process>,
    /// How the process is about to end, and when the next one starts after that.
    leaves: Option<(&'static str, Duration)>,
    /// When a machine that is going off is off whatever runs.
    off: Option<Duration>,
    /// When one that is stopped or hibernated for the pool is.
    stops: Option<(Order, Duration)>,
    /// It is off or hibernated, for the pool.
    asleep: Option<Order>,
    /// When EC2 tells the group that the root is another; the agent may run from it by then.
    new_root: Option<Duration>,
}

impl Play {
    fn is_over(&self) -> bool {
        let (now, mut inner) = (self.cloud.now(), self.cloud.lock());
        if now > LONGEST {
            let state = inner.lifecycle.state();
            inner.witness.broke(Invariant::LifeEnds, now, state.name());
        }
        inner.lifecycle.state().gone() || now > LONGEST
    }

    /// Until something is due.
    async fn wait(&mut self) {
        let (fate, stops) = (self.fates.front().map(|(at, _)| *at), self.stops.map(|(_, at)| at));
        let due = [fate, self.starts, self.off, stops, self.new_root];
        let now = self.cloud.now();
        let next = due.into_iter().flatten().fold(now + LOOK, Duration::min);
        let (timer, changed) = (sleep_until(self.cloud.instant(next.max(now))), self.cloud.changed());
        let wake = async {
            tokio::select! {
                biased;
                () = changed.notified() => {}
                () = timer => {}
            }
        };
        match &mut self.process {
            Some(process) => tokio::select! {
                biased;
                () = process.over() => {}
                () = wake => return,
            },
            None => return wake.await,
        }
        self.ended().await;
    }

    /// The process has ended, or its doom has come.
    async fn ended(&mut self) {
        let Some(process) = self.process.take() else { return };
        let now = self.cloud.now();
        if !process.is_over() {
            process.kill().await;
        }
        let stops = self.stops.is_some_and(|(order, _)| order == Order::Stop);
        let goes = self.off.is_some() || stops;
        let unasked = if goes { "agent left with the machine" } else { "agent ended unasked" };
        let (how, down) = self.leaves.take().unwrap_or((unasked, Duration::ZERO));
        self.cloud.lock().witness.stopped(how, now);
        if how == "agent ended unasked" {
            self.cloud.lock().witness.broke(Invariant::ExitBounded, now, "it ended, and nobody asked it to");
        }
        self.starts = (!goes && self.asleep.is_none()).then_some(now + down);
        if how == REBOOTED && self.starts.is_some() {
            self.boot_again();
        }
    }

    async fn act(&mut self) {
        let now = self.cloud.now();
        while self.fates.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, fate)) = self.fates.pop_front() {
                self.befall(fate).await;
            }
        }
        let (orders, spot) = {
            let mut inner = self.cloud.lock();
            (std::mem::take(&mut inner.orders), inner.spot.is_some_and(|at| at <= now))
        };
        for order in orders {
            self.order(order).await;
        }
        if spot {
            self.go_off(SPOT_OFF);
        }
        if let Some((order, at)) = self.stops
            && (at <= now || order == Order::Stop && self.process.is_none())
        {
            self.cut().await;
            (self.stops, self.asleep, self.starts) = (None, Some(order), None);
            if order == Order::Stop {
                self.forget();
            }
            self.cloud.lock().apply(&Event::Stopped, now);
        }
        if self.new_root.take_if(|at| *at <= now).is_some() {
            self.cloud.lock().apply(&Event::RootReplaced, now);
        }
        if self.starts.is_some_and(|at| at <= now) {
            self.starts = None;
            let process = Process::start(&self.cloud, &self.saved, now.saturating_sub(self.booted));
            if self.asleep.take() == Some(Order::Hibernate) {
                self.cloud.lock().witness.woke(now);
                process.say(Heard::Woke);
            }
            self.process = Some(process);
        }
        if self.off.is_some_and(|at| at <= now || self.process.is_none()) {
            self.cloud.lock().apply(&Event::PoweredOff, now);
        }
    }

    async fn befall(&mut self, fate: Fate) {
        let now = self.cloud.now();
        self.cloud.lock().witness.tell(now, &format!("fate: {fate:?}"));
        match fate {
            Fate::ScaleIn => {
                self.cloud.lock().apply(&Event::ScaledIn, now);
            }
            Fate::Return => {
                let pool = self.cloud.lock().script.pool.unwrap_or(Pool::Running);
                self.cloud.lock().apply(&Event::Returned(pool), now);
            }
            Fate::Call => drop(self.cloud.lock().apply(&Event::Called, now)),
            Fate::Standby => drop(self.cloud.lock().apply(&Event::StandbyEntered, now)),
            Fate::StandbyLeft => drop(self.cloud.lock().apply(&Event::StandbyLeft, now)),
            Fate::Detach => drop(self.cloud.lock().apply(&Event::Detached, now)),
            Fate::NewRoot => drop(self.cloud.lock().apply(&Event::RootReplacement, now)),
            Fate::Spot => {
                let mut inner = self.cloud.lock();
                inner.spot.get_or_insert(now + TWO_MINUTES);
                inner.witness.noticed(Notice::Spot, now);
            }
            Fate::Rebalance => {
                let mut inner = self.cloud.lock();
                inner.rebalance = true;
                inner.witness.noticed(Notice::Rebalance, now);
            }
            Fate::Poweroff => self.go_off(POWER_OFF),
            Fate::WallJump(seconds) => self.cloud.lock().wall += seconds,
            Fate::Freeze(span) => {
                self.cloud.lock().witness.trouble(now, now + span);
                advance(span).await;
            }
            // A machine that is going off does not come back, and starts nothing any more.
            _ if self.off.is_some() || self.stops.is_some() || self.asleep.is_some() => {}
            Fate::Drain(bound) => {
                if let Some(process) = &self.process {
                    self.cloud.lock().witness.noticed(Notice::Operator, now);
                    process.drain(bound);
                }
            }
            Fate::Ready => {
                if let Some(process) = &self.process {
                    self.cloud.lock().witness.taken_back(now);
                    process.say(Heard::Ready);
                }
            }
            Fate::Reboot => self.reboot().await,
            Fate::Shutdown => {
                if self.process.is_some() {
                    self.terminate();
                    self.leaves = Some((REBOOTED, Duration::ZERO));
                }
            }
            Fate::Kill(down) => self.kill(down).await,
            Fate::Restart(down) => {
                if let Some(process) = &mut self.process {
                    process.interrupt();
                    self.leaves = Some(("agent stopped by SIGINT", down));
                }
            }
            Fate::Stop(down) => {
                if self.process.is_some() {
                    self.terminate();
                    self.leaves = Some(("agent stopped by SIGTERM", down));
                }
            }
        }
    }

    async fn kill(&mut self, down: Duration) {
        let Some(process) = &self.process else { return };
        self.leaves = Some(("agent killed", down));
        let dice = self.cloud.lock().script.rng.random_range(0..3);
        match dice {
            0 => process.doom(Doom::BeforeTheRecord),
            1 => process.doom(Doom::BeforeTheEffects),
            _ => {
                if let Some(process) = self.process.take() {
                    process.kill().await;
                }
                self.leaves = None;
                self.cloud.lock().witness.stopped("agent killed", self.cloud.now());
                self.starts = Some(self.cloud.now() + down);
            }
        }
    }
}
