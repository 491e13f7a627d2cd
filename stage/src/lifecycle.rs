//! The Auto Scaling lifecycle of one instance: (state, event, now) → effects. No I/O, no clock.
//!
//! ```text
//!  Pending ─▶ Pending:Wait ─CONTINUE─▶ Pending:Proceed ─registered─▶ InService
//!                  │ ABANDON                                            │ scaled in
//!                  ▼                                                    ▼
//!  Terminated ◀─off─ Terminating:Proceed ◀─completed─ Terminating:Wait ◀─targets gone─ Terminating
//! ```
//!
//! The order is that of "Amazon EC2 Auto Scaling instance lifecycle" and "How lifecycle hooks work" in AWS's guide.

mod terms;

use std::time::Duration;

pub use terms::{ActionResult, Hook, State, Transition};

/// What happens to an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Time passed.
    Tick,
    /// `CompleteLifecycleAction` for a hook.
    Completed(String, ActionResult),
    /// `RecordLifecycleActionHeartbeat` for a hook.
    Heartbeat(String),
    /// All target groups have it.
    Registered,
    /// The group wants to be smaller.
    ScaledIn,
    /// No target group has it any more, deregistration delays included.
    TargetsGone,
    /// It is off.
    PoweredOff,
}

/// What has to be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The state changed; for the timeline.
    Moved(State, State),
    /// A hook ran out of time and got its default result; for the timeline.
    TimedOut(String, ActionResult),
    /// Register with the target groups, then send [`Event::Registered`].
    Register,
    /// Deregister from the target groups, then send [`Event::TargetsGone`] when that is done.
    Deregister,
    /// Power it off, then send [`Event::PoweredOff`].
    PowerOff,
}

/// AWS's answer to a completion or heartbeat outside of `Wait`: `ValidationError`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no active lifecycle action")]
pub struct NoActiveAction;

#[derive(Debug)]
struct Action {
    hook: Hook,
    deadline: Duration,
    limit: Duration,
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
    waiting: Vec<Action>,
}

impl Lifecycle {
    /// An instance launched at `now` into a group with these hooks: `Pending` for `pending`, and deregistered by the group
    /// `deregister_lag` after it was told to go.
    pub fn new(hooks: Vec<Hook>, pending: Duration, deregister_lag: Duration, now: Duration) -> Self {
        let state = State::Pending;
        Self { state, since: now, hooks, pending, deregister_lag, deregistered: false, waiting: Vec::new() }
    }

    /// Where it is.
    pub fn state(&self) -> State {
        self.state
    }

    /// When it came there.
    pub fn since(&self) -> Duration {
        self.since
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
            (State::Terminated, _) => {}
            (_, Event::PoweredOff) => self.enter(State::Terminated, now, &mut effects),
            (State::Pending, Event::Tick) if now >= self.since + self.pending => {
                self.enter(State::PendingWait, now, &mut effects);
            }
            (State::PendingProceed, Event::Registered) => self.enter(State::InService, now, &mut effects),
            (state, Event::ScaledIn) if !state.going() => self.enter(State::Terminating, now, &mut effects),
            (State::Terminating, Event::Tick)
                if !self.deregistered && now >= self.since + self.deregister_lag =>
            {
                self.deregistered = true;
                effects.push(Effect::Deregister);
            }
            (State::Terminating, Event::TargetsGone) if self.deregistered => {
                self.enter(State::TerminatingWait, now, &mut effects);
            }
            (State::PendingWait | State::TerminatingWait, Event::Tick) => self.expire(now, &mut effects),
            // Late answers, such as a registration that ends after the scale-in.
            (_, _) => {}
        }
        Ok(effects)
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
        match (self.state, result) {
            (State::PendingWait, ActionResult::Abandon) => self.enter(State::Terminating, now, effects),
            (State::TerminatingWait, ActionResult::Abandon) => {
                self.enter(State::TerminatingProceed, now, effects);
            }
            (State::PendingWait, _) if self.waiting.is_empty() => {
                self.enter(State::PendingProceed, now, effects);
            }
            (State::TerminatingWait, _) if self.waiting.is_empty() => {
                self.enter(State::TerminatingProceed, now, effects);
            }
            (_, _) => {}
        }
    }

    fn enter(&mut self, state: State, now: Duration, effects: &mut Vec<Effect>) {
        effects.push(Effect::Moved(self.state, state));
        self.state = state;
        self.since = now;
        self.waiting.clear();
        match state {
            State::PendingWait => self.hold(Transition::Launching, State::PendingProceed, now, effects),
            State::PendingProceed => effects.push(Effect::Register),
            State::TerminatingWait => {
                self.hold(Transition::Terminating, State::TerminatingProceed, now, effects);
            }
            State::TerminatingProceed => effects.push(Effect::PowerOff),
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
mod tests;
