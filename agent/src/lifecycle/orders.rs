//! Every order of events, several deep, against the invariants that no order may break.

use super::*;
use std::collections::HashMap;
use std::time::Duration;

const DEPTH: usize = 6;
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
    Event::Groupless,
    Event::Notice { notice: Notice::Group, deadline: None },
    Event::Notice { notice: Notice::Spot, deadline: Some(Moment::from_millis(150_000)) },
    Event::Notice { notice: Notice::Shutdown, deadline: None },
    Event::TerminateWaitSeen,
    Event::HookSettled { hook: Hook::Launch, settled: Settled::Completed },
    Event::HookSettled { hook: Hook::Launch, settled: Settled::NothingOwed },
    Event::HookSettled { hook: Hook::Terminate, settled: Settled::Completed },
    Event::DrainEnded(Ended::Quiet),
    Event::Notice { notice: Notice::Operator, deadline: Some(Moment::from_millis(130_000)) },
    Event::Ready,
    Event::Rejoined,
    Event::Served,
    Event::HookSettled { hook: Hook::Terminate, settled: Settled::Superseded },
    Event::LaunchHeld { timeout: Duration::from_secs(45) },
    Event::TerminateHeld { limit: Duration::from_mins(1) },
    Event::Silence,
    Event::Woke,
    Event::Tick,
];

/// Two hundred million orders of six from each beginning: orders that lead to the same life with the same past are gone
/// through once, so that one more event costs a factor of three rather than of twenty-six.
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
    explore(fresh, History::default(), &[], DEPTH);
    explore(served, history, &path, DEPTH);
    // After a reboot that left targets deregistered, which differs in nothing but their return, four events away.
    let rebooted = Lifecycle::begin(policy(), Moment::default(), true).0;
    explore(rebooted, History::default(), &[], DEPTH - 1);
}

/// What has been seen along one order of events.
#[expect(clippy::struct_excessive_bools, reason = "each is one fact of the past")]
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
    /// The checks have passed since the launch or the last drain.
    checked: bool,
    /// By EC2, which a machine that slept has behind it.
    announced: bool,
    exited: bool,
}

fn explore(life: Lifecycle, history: History, path: &[Event], deep: usize) {
    let mut layer = HashMap::from([((life, history), path.to_owned())]);
    for depth in 0..deep {
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
    match event {
        _ if before.exited => {}
        Event::Healthy => seen.checked = true,
        Event::HookSettled { settled: Settled::Superseded, .. } if after.notices.contains(&Notice::Group) => {
            seen.noticed = true;
        }
        Event::Notice { notice: Notice::Operator, .. } => {}
        Event::Notice { notice: Notice::Spot | Notice::Rebalance, .. } => seen.announced = true,
        Event::Notice { .. } => seen.noticed = true,
        Event::Woke => seen.announced = false,
        _ => {}
    }
    if event == Event::Target(Place::Service) && before.launch_for == Place::Pool {
        seen.second_actions += 1;
    }
    check(before, &after, &effects, seen, path);
    if let Event::LaunchHeld { timeout } = event
        && before.watch_launch().is_some()
        && !before.exited
    {
        assert!(after.until().is_some_and(|until| until < now + timeout), "outlives its hook: {path:?}");
    }
    check_return(before, &after, event, seen, path);
    check_resume(&after, now, path);
    after
}

fn check(before: &Lifecycle, after: &Lifecycle, effects: &[Effect], seen: &mut History, path: &[Event]) {
    assert!(!seen.exited || effects.is_empty(), "effects after Exit: {path:?}");
    for (at, effect) in effects.iter().enumerate() {
        match effect {
            Effect::CompleteHook(Hook::Launch, verdict) => {
                seen.launches += 1;
                assert!(!after.phase().is_leaving(), "launch hook answered after a notice: {path:?}");
                let arrived = matches!(after.phase(), Phase::Serving | Phase::Warmed) && seen.checked;
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
            Effect::Rejoin => {
                assert!(after.rejoining() && after.phase() == Phase::Serving, "{path:?}");
                assert!(after.bound() == Place::Service && after.ready(), "rejoined unwanted: {path:?}");
                let answered = matches!(after.launch, HookStep::Settled(_));
                assert!(answered, "rejoined before the launch was answered: {path:?}");
                assert!(after.placed, "rejoined before its place was read: {path:?}");
            }
            Effect::WatchLaunch => {
                assert_eq!(after.hook(Hook::Launch), HookStep::Idle, "{path:?}");
                assert!(matches!(after.phase(), Phase::Bootstrapping | Phase::Warming), "{path:?}");
            }
            Effect::WatchTerminate | Effect::FlushMetrics => {}
        }
    }
    let actions = 1 + seen.second_actions;
    assert!(seen.launches <= actions, "launch hook answered twice for one action: {path:?}");
    assert!(seen.drains <= 1 + seen.returns, "drained twice at a time: {path:?}");
    assert!(seen.terminates <= 2 + seen.returns, "terminate hook completed twice for one action: {path:?}");
    let pooled = before.notices().contains(&Notice::Pool) || after.notices().contains(&Notice::Pool);
    assert!(seen.terminates <= 1 || pooled || seen.returns > 0, "terminate hook completed twice: {path:?}");
    let noticed = seen.noticed || seen.announced;
    assert!(!(noticed && after.ready()), "ready after a notice: {path:?}");
    assert!(!noticed || after.phase().is_leaving(), "a notice was not heeded: {path:?}");
    assert_eq!(after.notices().is_empty(), !after.phase().is_leaving(), "{path:?}");
    assert!(!after.ready() || seen.checked, "ready without a check since the drain: {path:?}");
    assert!(!after.ready() || after.place != Some(Place::Standby), "ready on standby: {path:?}");
    assert!(!after.ready() || after.place != Some(Place::Pool), "ready in the warm pool: {path:?}");
    if let (Some(old), Some(new)) = (before.deadline(), after.deadline()) {
        assert!(new <= old, "the deadline grew: {path:?}");
    }
}

/// Back from a drain comes who was drained for the pool, whom an operator takes back, and who slept.
fn check_return(before: &Lifecycle, after: &Lifecycle, event: Event, seen: &mut History, path: &[Event]) {
    if !before.phase().is_leaving() || after.phase().is_leaving() {
        return;
    }
    seen.returns += 1;
    seen.checked = false;
    // Called into service while it drained, or with an answer that the drain has stopped: there is one to be given.
    seen.second_actions += 1;
    assert!(!seen.noticed && !seen.announced, "came back after a notice: {path:?}");
    assert!(!after.ready(), "ready without a check since the drain: {path:?}");
    let only = |notice| before.notices() == [notice];
    match event {
        Event::Ready => {
            assert!(only(Notice::Operator), "taken back from others: {path:?}");
            assert!(before.bound() == Place::Service && !before.abandoned, "taken back unwanted: {path:?}");
        }
        Event::Woke => {
            let spot = before.notices().iter().all(|n| matches!(n, Notice::Spot | Notice::Pool));
            assert!(spot, "woke from more than EC2's word: {path:?}");
        }
        _ => assert!(only(Notice::Pool), "came back from a drain: {path:?}"),
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
            Effect::Rejoin => assert!(again.rejoining() && again.phase() == Phase::Serving, "{path:?}"),
            Effect::WatchLaunch => assert_eq!(again.hook(Hook::Launch), HookStep::Idle, "{path:?}"),
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
