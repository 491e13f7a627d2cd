//! Who watches over the invariants of a life (`words::Invariant`, by these names):
//!
//! - `CompletedOnce`: each hook once per action, with one verdict, and not asked again after the answer
//! - `NotBeforeWait`: the terminate hook in `Terminating:Wait` alone (or what stands for it), with CONTINUE alone
//! - `NoticeFirst`: nothing is deregistered unless somebody said "go"
//! - `NotReadyWhileLeaving`: never ready from the first notice on, across kills, too
//! - `LaunchVerdict`: CONTINUE by a ready instance only, ABANDON by a failed one only
//! - `DeadlineNeverGrows`: across kills and further notices, too
//! - `DrainBounded`: a drain ends at its deadline
//! - `RecordedFirst`: an effect is in the record before it is performed
//! - `NoticeHeeded`: within ten seconds in good weather
//! - `ExitBounded`: after SIGTERM within the deadline and the hook's grace
//! - `HookAnswered`: or its timeout has one of the reasons of `words::Reason`
//! - `RejoinWanted`: what was deregistered comes back only to who serves and is wanted in service
//! - `ComesBack`: and to each of those, after a stop of the agent, an operator's `ready` and a reboot
//! - `ReadyWhereWanted`: not ready on standby, out of the group or in the pool
//! - `LifeEnds`: every life does

mod words;
mod befalls;
mod calls;
mod returns;
mod excuses;

use std::collections::BTreeMap;
use std::time::Duration;

use kiln_agent::clock::Moment;
use kiln_agent::lifecycle::{
    Effect, HOOK_GRACE, Hook, HookStep, Lifecycle, Notice, OnFailure, Phase, Verdict,
};
use kiln_stage::lifecycle::State;

use crate::script::Script;
pub(crate) use words::{Ended, Invariant, Reason};

/// The bounds that a promise of time is held to, beyond the agent's own.
const SLACK: Duration = Duration::from_secs(3);
/// What the loop gives its last effects.
const LAST_EFFECTS: Duration = Duration::from_secs(5);
/// From a flip to a heeded notice in good weather: the longest pause of the poller, and a read.
const HEED: Duration = Duration::from_secs(10);

/// Sees all of a life.
#[expect(clippy::struct_excessive_bools, reason = "each is one fact of its own, set once or twice in a life")]
#[derive(Debug)]
pub(crate) struct Witness {
    pub(crate) verdict: Ended,
    /// The life as last recorded.
    pub(crate) life: Option<Lifecycle>,
    policy: OnFailure,
    rebalance_drains: bool,
    heartbeat: BTreeMap<String, Duration>,
    /// When AWS, the metadata service or the agent was out of reach.
    troubles: Vec<(Duration, Duration)>,
    down_since: Option<Duration>,
    state: State,
    waits_since: Duration,
    flipped: Option<Duration>,
    /// Somebody said "go", for good; an operator did; the group wants it back in its pool.
    told: bool,
    operator: bool,
    pool: bool,
    /// On the way back to the pool, up to where its hook has answered.
    returning: bool,
    /// A life knows that it is, or was, wanted in service.
    seen_service: bool,
    /// On its way back from standby, where hooks do not apply.
    from_standby: bool,
    /// An operator has taken the drain back, and the machine has woken, since the last drain began.
    ready: bool,
    woke: bool,
    leaving: bool,
    deadline: Option<Moment>,
    /// Since when.
    known: Moment,
    sigterm: Option<Duration>,
    going_off: bool,
    rebooted: bool,
    accepted: [Option<Verdict>; 2],
    asked: [Option<Verdict>; 2],
    launch_asked: Option<Duration>,
    /// A heartbeat of the launch hook was told to the life.
    held: bool,
    /// The launch hook is asked for by a process that found it open.
    resumed: bool,
    answered: [bool; 2],
    /// The hook's wait was reached at least once.
    waited: [bool; 2],
    /// The root is another, and its launch has yet to be let in.
    renewed: bool,
    /// The list that would bring targets back was lost with its disk.
    lost: bool,
    missed: Option<Duration>,
}

impl Witness {
    pub(crate) fn new(seed: u64, script: &Script) -> Self {
        let verdict = Ended { seed, broken: Vec::new(), seen: BTreeMap::new(), timeline: Vec::new() };
        let mut witness = Self {
            verdict,
            life: None,
            policy: script.policy.on_failure,
            rebalance_drains: script.rebalance_drains,
            heartbeat: script.hooks.iter().map(|hook| (hook.name.clone(), hook.heartbeat)).collect(),
            troubles: script.storms.iter().map(|storm| (storm.from, storm.to)).collect(),
            down_since: Some(Duration::ZERO),
            state: State::Pending,
            waits_since: Duration::ZERO,
            flipped: None,
            told: false,
            operator: false,
            pool: false,
            returning: false,
            seen_service: false,
            from_standby: false,
            ready: false,
            woke: false,
            leaving: false,
            deadline: None,
            known: Moment::default(),
            sigterm: None,
            going_off: false,
            rebooted: false,
            accepted: [None; 2],
            asked: [None; 2],
            launch_asked: None,
            held: false,
            resumed: false,
            answered: [false; 2],
            waited: [false; 2],
            renewed: false,
            lost: false,
            missed: None,
        };
        witness.tell(Duration::ZERO, &format!("{script:?}"));
        witness
    }

    pub(crate) fn tell(&mut self, at: Duration, text: &str) {
        self.verdict.timeline.push(format!("{:>9.3}  {text}", at.as_secs_f64()));
    }

    pub(crate) fn see(&mut self, what: &'static str, at: Duration, which: &str) {
        *self.verdict.seen.entry(what).or_default() += 1;
        self.tell(at, &format!("{what} {which}"));
    }

    pub(crate) fn broke(&mut self, invariant: Invariant, at: Duration, how: &str) {
        self.tell(at, &format!("BROKEN {invariant:?}: {how}"));
        // The first says most; a life that goes on after it repeats it each second.
        if self.verdict.broken.len() < 3 {
            self.verdict.broken.push(format!("{invariant:?}: {how} at {:.3} s", at.as_secs_f64()));
        }
    }

    // The process and what it records.

    pub(crate) fn started(&mut self, life: &Lifecycle, open: &[Effect], at: Duration) {
        self.tell(at, &format!("agent starts in {}, open: {open:?}", life.phase().name()));
        for effect in open {
            match effect {
                Effect::StartDrain { .. } => self.see("drain resumed", at, ""),
                Effect::CompleteHook(hook, _) => {
                    self.resumed |= *hook == Hook::Launch;
                    self.see("completion resumed", at, "");
                }
                _ => {}
            }
        }
        let before = self.life.take();
        let only = |allowed: &[Notice]| {
            before.as_ref().is_some_and(|before| before.notices().iter().all(|n| allowed.contains(n)))
        };
        let only_stopped = only(&[Notice::Shutdown]);
        if self.leaving
            && !only_stopped
            && only(&[Notice::Shutdown, Notice::Pool])
            && !life.phase().is_leaving()
        {
            // All that had kept it from the pool was the stop: its hook was answered.
            let open = before.as_ref().is_some_and(|before| before.hook(Hook::Terminate).is_open());
            if open {
                self.broke(Invariant::NotReadyWhileLeaving, at, "came back before its hook was answered");
            }
            self.see("came back: stopped on its way", at, "");
            (self.leaving, self.deadline, self.pool) = (false, None, false);
        }
        if self.rebooted || only_stopped {
            // A new life: its predecessor's drain is over.
            (self.leaving, self.deadline, self.held) = (false, None, false);
        }
        (self.rebooted, self.sigterm) = (false, None);
        self.troubles.push((self.down_since.take().unwrap_or(at), at));
    }

    pub(crate) fn stopped(&mut self, what: &'static str, at: Duration) {
        self.see(what, at, "");
        self.down_since.get_or_insert(at);
        self.answered = [false; 2];
    }

    pub(crate) fn recorded(&mut self, life: &Lifecycle, now: Moment, at: Duration) {
        let before = self.life.as_ref().map(|before| (before.phase(), before.ready(), before.failure()));
        if before != Some((life.phase(), life.ready(), life.failure())) {
            let (phase, ready) = (life.phase().name(), life.ready());
            self.tell(at, &format!("agent: {phase}, ready {ready}, failure {:?}", life.failure()));
        }
        if self.leaving && !life.phase().is_leaving() {
            self.came_back(at);
        }
        self.seen_service |= life.served();
        // What the hook allowed is used up by then.
        self.held &= life.failure().is_none();
        self.leaving |= life.phase().is_leaving();
        if self.leaving && (life.ready() || !life.phase().is_leaving()) {
            self.broke(Invariant::NotReadyWhileLeaving, at, life.phase().name());
        }
        if self.leaving && !(self.told || self.operator || self.pool) {
            self.broke(Invariant::NoticeFirst, at, "it leaves, and nobody has said so");
        }
        match (self.deadline, life.deadline()) {
            (Some(old), Some(new)) if new > old => self.broke(
                Invariant::DeadlineNeverGrows,
                at,
                &format!("from {} ms to {} ms", old.millis(), new.millis()),
            ),
            (Some(_), None) if self.leaving => self.broke(Invariant::DeadlineNeverGrows, at, "it is gone"),
            _ => {}
        }
        if self.deadline != life.deadline() {
            (self.deadline, self.known) = (life.deadline(), now);
        }
        self.life = Some(life.clone());
        self.turned(life, now, at);
    }

    pub(crate) fn turned(&mut self, life: &Lifecycle, now: Moment, at: Duration) {
        // A wall clock that is off can place a deadline in the past: it counts from when it was known.
        let overdue = life.deadline().is_some_and(|deadline| now > deadline.max(self.known) + SLACK);
        if life.phase() == Phase::Draining && overdue && self.calm(at) > SLACK {
            self.broke(Invariant::DrainBounded, at, "draining beyond its deadline");
        }
        if self.flipped.is_some_and(|flip| at > flip + HEED) && self.calm(at) > HEED && !self.leaving {
            self.broke(Invariant::NoticeHeeded, at, "the target state is Terminated, and it stays");
        }
        let late = HOOK_GRACE + LAST_EFFECTS + SLACK;
        let bound = |sigterm: Duration| {
            at > sigterm + late && self.deadline.is_none_or(|deadline| now > deadline + late)
        };
        if self.sigterm.is_some_and(bound) && self.calm(at) > SLACK {
            self.broke(Invariant::ExitBounded, at, "it runs on after SIGTERM");
        }
    }

    pub(crate) fn performing(&mut self, effect: Effect, at: Duration) {
        self.tell(at, &format!("agent: {effect:?}"));
        let Some(life) = self.life.clone() else {
            return self.broke(Invariant::RecordedFirst, at, "nothing was recorded yet");
        };
        let recorded = match effect {
            Effect::CompleteHook(hook, verdict) => life.hook(hook) == HookStep::Asked(verdict),
            Effect::StartDrain { deadline } | Effect::ShortenDrain { deadline } => {
                life.phase() == Phase::Draining && life.deadline() == Some(deadline)
            }
            Effect::WatchTerminate => life.hook(Hook::Terminate) == HookStep::Watched,
            _ => true,
        };
        if let Effect::CompleteHook(Hook::Launch, verdict) = effect {
            self.launch_asked.get_or_insert(at);
            let failed = life.failure().is_some();
            // A check may fail between the asking and a restart that asks again.
            let arrived = matches!(life.phase(), Phase::Serving | Phase::Warmed);
            let ready = arrived && (life.healthy() || std::mem::take(&mut self.resumed));
            let fits = match verdict {
                Verdict::Continue => ready && !failed,
                Verdict::Abandon => failed && !life.ready(),
            };
            if !fits {
                let (phase, failure) = (life.phase().name(), life.failure());
                self.broke(
                    Invariant::LaunchVerdict,
                    at,
                    &format!("{} while {phase}, failure {failure:?}", verdict.name()),
                );
            }
        }
        if let Effect::CompleteHook(Hook::Terminate, _) = effect
            && self.is_early(Hook::Terminate, self.state)
        {
            let state = self.state.name();
            self.broke(Invariant::NotBeforeWait, at, &format!("asked for in {state}"));
        }
        if let Effect::ShortenDrain { .. } = effect {
            self.see("deadline shortened", at, "");
        }
        if !recorded {
            self.broke(Invariant::RecordedFirst, at, &format!("{effect:?}"));
        }
    }
}

fn index(hook: Hook) -> usize {
    match hook {
        Hook::Launch => 0,
        Hook::Terminate => 1,
    }
}
