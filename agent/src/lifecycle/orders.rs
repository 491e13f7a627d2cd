//! Every order of events, several deep, against the invariants that no order may break.

use super::*;
use std::collections::HashMap;
use std::time::Duration;

const DEPTH: usize = 7;
/// Longer than a third of every bound below, so that deadlines fall inside the orders tried.
const STEP: Duration = Duration::from_secs(40);

const EVENTS: &[Event] = &[
    Event::Bootstrapped { ok: true },
    Event::Bootstrapped { ok: false },
    Event::Healthy,
    Event::Unhealthy,
    Event::Target(Place::Service),
    Event::Target(Place::Pool),
    Event::Target(Place::Standby),
    Event::Notice { notice: Notice::Group, deadline: None },
    Event::Notice { notice: Notice::Spot, deadline: Some(Moment::from_millis(150_000)) },
    Event::Notice { notice: Notice::Shutdown, deadline: None },
    Event::TerminateWaitSeen,
    Event::HookSettled { hook: Hook::Launch, settled: Settled::Completed },
    Event::HookSettled { hook: Hook::Launch, settled: Settled::NothingOwed },
    Event::HookSettled { hook: Hook::Terminate, settled: Settled::Completed },
    Event::DrainEnded,
    Event::Tick,
];

/// Seventeen million orders of six, and the seventh of each: orders that lead to the same life with the same past are
/// gone through once, so that one more event costs a factor of three rather than of sixteen.
#[test]
fn no_order_of_events_breaks_an_invariant() {
    let fresh = Lifecycle::new(policy(), Moment::default());
    // From where an order begins: a new instance, and one in service, which a launch of three events away is.
    let mut served = fresh.clone();
    let mut history = History::default();
    let path = [Event::Bootstrapped { ok: true }, Event::Target(Place::Service), Event::Healthy];
    for (at, event) in path.into_iter().enumerate() {
        served = step(&served, event, &mut history, Moment::from_millis(at as u64), &path);
    }
    explore(fresh, History::default(), &[]);
    explore(served, history, &path);
}

/// What has been seen along one order of events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct History {
    /// Answers to the launch hook, and the actions that there were to answer.
    launches: usize,
    second_actions: usize,
    terminates: usize,
    drains: usize,
    returns: usize,
    /// Since the last drain began.
    wait_seen: bool,
    /// By a notice that there is no way back from.
    noticed: bool,
    exited: bool,
}

fn explore(life: Lifecycle, history: History, path: &[Event]) {
    let mut layer = HashMap::from([((life, history), path.to_owned())]);
    for depth in 0..DEPTH {
        let now = Moment::default() + STEP * u32::try_from(depth + 1).expect("a small number");
        let mut next = HashMap::new();
        for ((life, history), path) in &layer {
            for event in EVENTS {
                let mut path = path.clone();
                path.push(*event);
                let mut seen = *history;
                let after = step(life, *event, &mut seen, now, &path);
                next.entry((after, seen)).or_insert(path);
            }
        }
        layer = next;
    }
}

fn step(before: &Lifecycle, event: Event, seen: &mut History, now: Moment, path: &[Event]) -> Lifecycle {
    let mut after = before.clone();
    let effects = after.handle(event, now);
    seen.wait_seen |= event == Event::TerminateWaitSeen;
    seen.noticed |= matches!(event, Event::Notice { .. }) && !before.exited;
    if event == Event::Target(Place::Service) && before.launch_for == Place::Pool {
        seen.second_actions += 1;
    }
    check(before, &after, &effects, seen, path);
    check_resume(&after, now, path);
    after
}

fn check(before: &Lifecycle, after: &Lifecycle, effects: &[Effect], seen: &mut History, path: &[Event]) {
    assert!(!seen.exited || effects.is_empty(), "effects after Exit: {path:?}");
    for (at, effect) in effects.iter().enumerate() {
        match effect {
            Effect::CompleteHook(Hook::Launch, verdict) => {
                seen.launches += 1;
                assert!(!seen.noticed, "launch hook answered after a notice: {path:?}");
                let arrived = matches!(after.phase(), Phase::Serving | Phase::Warmed) && after.healthy();
                let passes = arrived && after.failure().is_none();
                assert_eq!(
                    *verdict == Verdict::Continue,
                    passes,
                    "wrong answer to the launch hook: {path:?}"
                );
            }
            Effect::CompleteHook(Hook::Terminate, verdict) => {
                seen.terminates += 1;
                assert_eq!(*verdict, Verdict::Continue, "{path:?}");
                assert!(seen.wait_seen, "completed before Terminating:Wait: {path:?}");
                assert_eq!(after.phase(), Phase::Drained, "completed before the drain's end: {path:?}");
            }
            Effect::StartDrain { .. } => {
                seen.drains += 1;
                seen.wait_seen = false;
            }
            Effect::ShortenDrain { deadline } => {
                assert!(before.deadline().is_some_and(|old| *deadline < old), "{path:?}");
            }
            Effect::Exit => {
                assert_eq!(at, effects.len() - 1, "Exit is not the last effect: {path:?}");
                assert_eq!(after.phase(), Phase::Drained, "{path:?}");
                seen.exited = true;
            }
            Effect::WatchTerminate | Effect::FlushMetrics => {}
        }
    }
    if before.phase().is_leaving() && !after.phase().is_leaving() {
        seen.returns += 1;
        // Called into service while it drained: that is an action too.
        seen.second_actions += usize::from(after.place == Some(Place::Service));
        assert!(!seen.noticed, "came back after a notice: {path:?}");
        assert!(before.notices() == [Notice::Pool], "came back from a drain: {path:?}");
        assert!(!after.ready(), "ready without a check since the drain: {path:?}");
    }
    let actions = 1 + seen.second_actions;
    assert!(seen.launches <= actions, "launch hook answered twice for one action: {path:?}");
    assert!(seen.drains <= 1 + seen.returns, "drained twice at a time: {path:?}");
    assert!(seen.terminates <= 2 + seen.returns, "terminate hook completed twice for one action: {path:?}");
    let pooled = before.notices().contains(&Notice::Pool) || after.notices().contains(&Notice::Pool);
    assert!(seen.terminates <= 1 || pooled || seen.returns > 0, "terminate hook completed twice: {path:?}");
    assert!(!(seen.noticed && after.ready()), "ready after a notice: {path:?}");
    assert!(!seen.noticed || after.phase().is_leaving(), "a notice was not heeded: {path:?}");
    assert_eq!(after.notices().is_empty(), !after.phase().is_leaving(), "{path:?}");
    assert!(!after.ready() || after.place != Some(Place::Standby), "ready on standby: {path:?}");
    assert!(!after.ready() || after.place != Some(Place::Pool), "ready in the warm pool: {path:?}");
    if let (Some(old), Some(new)) = (before.deadline(), after.deadline()) {
        assert!(new <= old, "the deadline grew: {path:?}");
    }
}

/// An agent killed here and started again asks for what is open, and for nothing else.
fn check_resume(life: &Lifecycle, now: Moment, path: &[Event]) {
    let (again, effects) = life.clone().resume(policy(), now);
    for effect in &effects {
        match effect {
            Effect::CompleteHook(hook, _) => assert!(life.hook(*hook).is_open(), "{path:?}"),
            Effect::StartDrain { deadline } => {
                assert_eq!((Phase::Draining, Some(*deadline)), (again.phase(), life.deadline()), "{path:?}");
            }
            Effect::WatchTerminate => assert!(again.phase().is_leaving(), "{path:?}"),
            other => panic!("a resumed life asked for {other:?}: {path:?}"),
        }
    }
    assert!(!(again.phase().is_leaving() && again.ready()), "{path:?}");
}

fn policy() -> Policy {
    Policy {
        bootstrap_deadline: Duration::from_secs(100),
        ready_deadline: Duration::from_mins(1),
        on_failure: OnFailure::Abandon,
        drain_max: Duration::from_secs(110),
        margin: Duration::from_secs(5),
    }
}
