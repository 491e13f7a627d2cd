//! The Auto Scaling lifecycle of one instance: (state, event, now) → effects. No I/O, no clock.
//!
//! ```text
//!  Pending ─▶ Pending:Wait ─CONTINUE─▶ Pending:Proceed ─registered─▶ InService ◀─▶ Standby, Detached
//!    ▲             │ ABANDON                                            │ scaled in          │ … with a reuse policy
//!    │ called      ▼                                                    ▼                    ▼
//!    │  Terminated ◀─off─ Terminating:Proceed ◀─completed─ Terminating:Wait ◀─targets gone─ Terminating
//!  Warmed:Stopped ◀─ Warmed:Pending:Proceed ◀─completed─ Warmed:Pending:Wait ◀──────────── Warmed:Pending
//!
//!  InService ─▶ ReplacingRootVolume ─targets gone─▶ …:Wait ─completed─▶ …:Proceed ─▶ RootVolumeReplaced ─▶ Pending ─▶ …
//! ```
//!
//! The order is that of "Amazon EC2 Auto Scaling instance lifecycle", "How lifecycle hooks work", "Lifecycle state
//! transitions for instances undergoing root volume replacement" and "… in a warm pool" in AWS's guide. It says that the
//! group deregisters an instance whose root is replaced, and not whether it waits for the deregistration delay: here it
//! does, as it does at a termination. Nor does it say what ABANDON means there: here the replacement goes on.

mod kinds;
mod terms;

use std::time::Duration;

pub use kinds::{Effect, Event, NoActiveAction, Order};
pub use terms::{ActionResult, Hook, Pool, State, Transition};

#[derive(Debug)]
struct Action {
    hook: Hook,
    deadline: Duration,
    limit: Duration,
}

/// What the state alone does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Just launched.
    Launched,
    /// On the usual way.
    Usual,
    /// Back from standby, where hooks do not apply.
    FromStandby,
    /// Back to the pool from service.
    ToPool,
}

/// One instance's lifecycle. `now` is time since any fixed moment.
#[derive(Debug)]
pub struct Lifecycle {
    state: State,
    since: Duration,
    hooks: Vec<Hook>,
    pending: Duration,
    deregister_lag: Duration,
    deregistered: bool,
    way: Way,
    waiting: Vec<Action>,
}

impl Lifecycle {
    /// An instance launched at `now` into a group with these hooks: `Pending` for `pending`, and deregistered by the group
    /// `deregister_lag` after it was told to go.
    pub fn new(hooks: Vec<Hook>, pending: Duration, deregister_lag: Duration, now: Duration) -> Self {
        Self {
            state: State::Pending,
            since: now,
            hooks,
            pending,
            deregister_lag,
            deregistered: false,
            way: Way::Launched,
            waiting: Vec::new(),
        }
    }

    /// The same, launched into a warm pool.
    #[must_use]
    pub fn into_pool(self, pool: Pool) -> Self {
        Self { state: State::WarmedPending(pool), way: Way::Usual, ..self }
    }

    /// Where it is.
    pub fn state(&self) -> State {
        self.state
    }

    /// When it came there.
    pub fn since(&self) -> Duration {
        self.since
    }

    /// IMDS's `autoscaling/target-lifecycle-state`, absent just after launch.
    pub fn target(&self) -> Option<&'static str> {
        match (self.state, self.way) {
            (State::Pending, Way::Launched) => None,
            (State::Pending, _) => Some("InService"),
            (state, _) => state.target(),
        }
    }

    /// Takes one event.
    ///
    /// # Errors
    /// [`NoActiveAction`] for a completion or heartbeat of a hook that holds nothing now; nothing changes then.
    pub fn handle(&mut self, event: &Event, now: Duration) -> Result<Vec<Effect>, NoActiveAction> {
        let mut effects = Vec::new();
        match (self.state, event) {
            (_, Event::Completed(hook, result)) => {
                let held =
                    self.waiting.iter().position(|action| action.hook.name == *hook).ok_or(NoActiveAction)?;
                self.waiting.remove(held);
                self.finish(*result, now, &mut effects);
            }
            (_, Event::Heartbeat(hook)) => {
                let action = self.waiting.iter_mut().find(|a| a.hook.name == *hook).ok_or(NoActiveAction)?;
                // A heartbeat restarts the whole timeout, it does not add to what was left.
                action.deadline = (now + action.hook.heartbeat).min(action.limit);
            }
            (state, _) if state.gone() => {}
            (state, Event::PoweredOff) => {
                let gone = if state.pooled() { State::WarmedTerminated } else { State::Terminated };
                self.enter(gone, now, &mut effects);
            }
            (state, Event::Tick) => self.pass(state, now, &mut effects),
            (State::PendingProceed, Event::Registered) => self.enter(State::InService, now, &mut effects),
            (state, Event::TargetsGone) if self.deregistered => {
                if let Some(next) = self.after_targets(state) {
                    self.enter(next, now, &mut effects);
                }
            }
            (State::WarmedPendingProceed(pool), Event::Stopped) => {
                self.enter(State::Warmed(pool), now, &mut effects);
            }
            (State::ReplacingRootVolumeProceed, Event::RootReplaced) => {
                self.enter(State::RootVolumeReplaced, now, &mut effects);
            }
            (state, wish) => self.wish(state, wish, now, &mut effects),
        }
        Ok(effects)
    }

    /// What the group or an operator wants of it.
    fn wish(&mut self, state: State, wish: &Event, now: Duration, effects: &mut Vec<Effect>) {
        let next = match (state, wish) {
            (state, Event::ScaledIn) if state.going() || state == State::Detached => return,
            (state, Event::ScaledIn) if state.pooled() => State::WarmedTerminating,
            (_, Event::ScaledIn) => State::Terminating,
            (State::InService, Event::Returned(pool)) => {
                self.way = Way::ToPool;
                State::WarmedPending(*pool)
            }
            (State::Warmed(pool), Event::Called) => {
                if pool != Pool::Running {
                    effects.push(Effect::Machine(Order::Start));
                }
                State::Pending
            }
            (State::InService, Event::StandbyEntered) => State::EnteringStandby,
            (State::Standby, Event::StandbyLeft) => {
                self.way = Way::FromStandby;
                State::Pending
            }
            (State::InService | State::Standby, Event::Detached) => State::Detaching,
            (State::InService, Event::RootReplacement) => State::ReplacingRootVolume,
            // Late answers, such as a registration that ends after the scale-in, and wishes that came too late.
            (_, _) => return,
        };
        self.enter(next, now, effects);
    }

    /// Time passed.
    fn pass(&mut self, state: State, now: Duration, effects: &mut Vec<Effect>) {
        let leaving = self.after_targets(state).is_some();
        match state {
            _ if leaving && !self.deregistered && now >= self.since + self.deregister_lag => {
                self.deregistered = true;
                effects.push(Effect::Deregister);
            }
            _ if leaving => {}
            State::Pending if now >= self.since + self.pending => {
                let next =
                    if self.way == Way::FromStandby { State::PendingProceed } else { State::PendingWait };
                self.enter(next, now, effects);
            }
            State::WarmedPending(pool) if now >= self.since + self.pending => {
                self.enter(State::WarmedPendingWait(pool), now, effects);
            }
            State::WarmedTerminating => self.enter(State::WarmedTerminatingWait, now, effects),
            State::RootVolumeReplaced => self.enter(State::Pending, now, effects),
            _ => self.expire(now, effects),
        }
    }

    /// Where a state leads that takes the instance out of its target groups.
    fn after_targets(&self, state: State) -> Option<State> {
        match state {
            State::Terminating => Some(State::TerminatingWait),
            State::WarmedPending(pool) if self.way == Way::ToPool => Some(State::WarmedPendingWait(pool)),
            State::EnteringStandby => Some(State::Standby),
            State::Detaching => Some(State::Detached),
            State::ReplacingRootVolume => Some(State::ReplacingRootVolumeWait),
            _ => None,
        }
    }

    fn expire(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        while let Some(held) = self.waiting.iter().position(|action| now >= action.deadline) {
            let action = self.waiting.remove(held);
            let result = action.hook.default_result;
            effects.push(Effect::TimedOut(action.hook.name, result));
            self.finish(result, now, effects);
        }
    }

    /// One hook is done with `result`: moves on when it was the last, or when it ends the others, too.
    fn finish(&mut self, result: ActionResult, now: Duration, effects: &mut Vec<Effect>) {
        let last = self.waiting.is_empty();
        let next = match (self.state, result) {
            (State::PendingWait, ActionResult::Abandon) => State::Terminating,
            (State::WarmedPendingWait(_), ActionResult::Abandon) => State::WarmedTerminating,
            (State::TerminatingWait, ActionResult::Abandon) => State::TerminatingProceed,
            (State::WarmedTerminatingWait, ActionResult::Abandon) => State::WarmedTerminatingProceed,
            (State::ReplacingRootVolumeWait, ActionResult::Abandon) => State::ReplacingRootVolumeProceed,
            (State::PendingWait, _) if last => State::PendingProceed,
            (State::WarmedPendingWait(pool), _) if last => State::WarmedPendingProceed(pool),
            (State::TerminatingWait, _) if last => State::TerminatingProceed,
            (State::WarmedTerminatingWait, _) if last => State::WarmedTerminatingProceed,
            (State::ReplacingRootVolumeWait, _) if last => State::ReplacingRootVolumeProceed,
            (_, _) => return,
        };
        self.enter(next, now, effects);
    }

    fn enter(&mut self, state: State, now: Duration, effects: &mut Vec<Effect>) {
        effects.push(Effect::Moved(self.state, state));
        (self.state, self.since) = (state, now);
        if self.way == Way::Launched {
            self.way = Way::Usual;
        }
        self.waiting.clear();
        match state {
            State::PendingWait => self.hold(Transition::Launching, State::PendingProceed, now, effects),
            State::PendingProceed => effects.push(Effect::Register),
            State::InService | State::Warmed(_) | State::RootVolumeReplaced => {
                (self.deregistered, self.way) = (false, Way::Usual);
            }
            State::WarmedPendingWait(pool) => {
                let way =
                    if self.way == Way::ToPool { Transition::Terminating } else { Transition::Launching };
                self.hold(way, State::WarmedPendingProceed(pool), now, effects);
            }
            State::WarmedPendingProceed(Pool::Stopped) => effects.push(Effect::Machine(Order::Stop)),
            State::WarmedPendingProceed(Pool::Hibernated) => effects.push(Effect::Machine(Order::Hibernate)),
            State::WarmedPendingProceed(Pool::Running) => {
                self.enter(State::Warmed(Pool::Running), now, effects);
            }
            State::TerminatingWait => {
                self.hold(Transition::Terminating, State::TerminatingProceed, now, effects);
            }
            State::WarmedTerminatingWait => {
                self.hold(Transition::Terminating, State::WarmedTerminatingProceed, now, effects);
            }
            State::ReplacingRootVolumeWait => {
                self.hold(Transition::Terminating, State::ReplacingRootVolumeProceed, now, effects);
            }
            State::TerminatingProceed | State::WarmedTerminatingProceed => {
                effects.push(Effect::Machine(Order::PowerOff));
            }
            State::ReplacingRootVolumeProceed => effects.push(Effect::Machine(Order::ReplaceRoot)),
            _ => {}
        }
    }

    fn hold(&mut self, transition: Transition, next: State, now: Duration, effects: &mut Vec<Effect>) {
        let held = self.hooks.iter().filter(|hook| hook.transition == transition).map(|hook| Action {
            hook: hook.clone(),
            deadline: now + hook.heartbeat,
            limit: now + hook.global(),
        });
        self.waiting = held.collect();
        if self.waiting.is_empty() {
            self.enter(next, now, effects);
        }
    }
}

#[cfg(test)]
mod pool_tests;
#[cfg(test)]
mod tests;
