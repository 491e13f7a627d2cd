//! What the calls do, and how time passes at AWS.

use std::time::Duration;

use kiln_agent::lifecycle::{Hook, Verdict};
use kiln_stage::lifecycle::{ActionResult, Effect, Event, State};
use kiln_stage::targets::Health;
use rand::RngExt;

use super::{Error, ID, Inner, STALE};
use crate::script::{Fault, LAUNCH, TERMINATE};

impl Inner {
    pub(super) fn catch_up(&mut self, now: Duration) {
        while self.ticked < now {
            self.ticked = (self.ticked + Duration::from_secs(1)).min(now);
            let at = self.ticked;
            for group in &mut self.groups {
                group.tick(at);
            }
            self.apply(&Event::Tick, at);
            if self.groups.iter().all(|group| group.targets().next().is_none()) {
                self.apply(&Event::TargetsGone, at);
            }
        }
    }

    /// Takes an event and performs what follows; `Err` outside of a wait state.
    pub(crate) fn apply(&mut self, event: &Event, now: Duration) -> bool {
        let Ok(effects) = self.lifecycle.handle(event, now) else { return false };
        for effect in effects {
            match effect {
                Effect::Moved(from, to) => {
                    self.before = from;
                    self.changed.notify_one();
                    self.witness.moved(from, to, now);
                }
                Effect::TimedOut(hook, _) => self.witness.timed_out(&hook, now),
                Effect::Register => {
                    for group in &mut self.groups {
                        group.register((ID.to_owned(), group.port), now);
                    }
                    self.apply(&Event::Registered, now);
                }
                Effect::Deregister => {
                    for group in &mut self.groups {
                        group.deregister(&(ID.to_owned(), group.port), now);
                    }
                }
                Effect::Machine(order) => self.orders.push_back(order),
            }
        }
        true
    }

    /// What goes wrong at `now`, of the faults that concern the caller.
    pub(super) fn fault(&mut self, now: Duration, concerns: impl Fn(Fault) -> bool) -> Option<Fault> {
        let found = self
            .script
            .storms
            .iter()
            .find(|storm| (storm.from..storm.to).contains(&now) && concerns(storm.fault));
        let storm = *found?;
        self.script.rng.random_bool(storm.chance).then_some(storm.fault)
    }

    pub(crate) fn see(&mut self, what: &'static str, name: &str) {
        let now = self.ticked;
        self.witness.see(what, now, name);
    }

    /// `DescribeAutoScalingInstances`: the state, as of a moment ago now and then.
    pub(crate) fn member(&mut self) -> Option<&'static str> {
        if self.ticked < self.script.listed || self.lifecycle.state() == State::Detached {
            return None;
        }
        let fresh = self.ticked >= self.lifecycle.since() + STALE;
        let stale = !fresh && self.script.rng.random_bool(0.2);
        Some(if stale { self.before } else { self.lifecycle.state() }.name())
    }

    /// `DescribeLifecycleHooks`: the heartbeat timeout of the one hook of a transition.
    pub(crate) fn hook(&self, hook: Hook) -> Option<Duration> {
        self.script.hooks.iter().find(|found| found.name == name(hook)).map(|found| found.heartbeat)
    }

    /// `CompleteLifecycleAction`
    pub(crate) fn complete(&mut self, hook: Hook, verdict: Verdict) -> Result<(), Error> {
        let (now, state) = (self.ticked, self.lifecycle.state());
        self.witness.completing(hook, verdict, state, now);
        let result = match verdict {
            Verdict::Continue => ActionResult::Continue,
            Verdict::Abandon => ActionResult::Abandon,
        };
        if self.apply(&Event::Completed(name(hook).to_owned(), result), now) {
            self.witness.completed(hook, verdict, now);
            return Ok(());
        }
        self.see("completion refused: no active action", hook.name());
        Err(Error::Invalid)
    }

    /// `RecordLifecycleActionHeartbeat`
    pub(crate) fn beat(&mut self, hook: Hook) -> Result<(), Error> {
        let now = self.ticked;
        if !self.apply(&Event::Heartbeat(name(hook).to_owned()), now) {
            return Err(Error::Invalid);
        }
        let what = match hook {
            Hook::Launch => "launch heartbeat recorded",
            Hook::Terminate => "heartbeat recorded",
        };
        self.see(what, "");
        Ok(())
    }

    /// `DescribeTargetHealth`: our rows, as port and state.
    pub(crate) fn rows(&self, group: usize) -> Vec<(u16, &'static str)> {
        self.groups[group].targets().map(|((_, port), health)| (*port, health.name())).collect()
    }

    /// `RegisterTargets`, of what the agent has deregistered.
    pub(crate) fn register(&mut self, group: usize) {
        let now = self.ticked;
        if !self.left.remove(&group) {
            return;
        }
        self.witness.registering(now);
        let port = self.groups[group].port;
        self.groups[group].register((ID.to_owned(), port), now);
    }

    /// The root is another, and with it the list of what was deregistered.
    pub(crate) fn new_disk(&mut self) {
        self.left.clear();
        self.served = false;
        self.witness.lost();
    }

    /// Whether a target group lacks us, or is about to.
    pub(crate) fn is_missed(&self) -> bool {
        self.groups.iter().any(|group| group.targets().all(|(_, health)| health == Health::Draining))
    }

    /// Whether nothing moves any more in bootstrap or checks: no turn of theirs lies ahead.
    pub(crate) fn launch_hangs(&self) -> bool {
        let ahead = |at: Duration| at > self.ticked;
        let boots = self.script.bootstrap.is_some_and(|(at, _)| ahead(at));
        !boots && !self.script.health.iter().any(|(at, _)| ahead(*at))
    }

    /// `DeregisterTargets`
    pub(crate) fn deregister(&mut self, group: usize, ports: &[u16]) {
        let now = self.ticked;
        self.witness.deregistering(now);
        self.left.insert(group);
        for port in ports {
            self.groups[group].deregister(&(ID.to_owned(), *port), now);
        }
    }
}

fn name(hook: Hook) -> &'static str {
    match hook {
        Hook::Launch => LAUNCH,
        Hook::Terminate => TERMINATE,
    }
}
