//! Every order of events, several deep, against the invariants that no order may break.

use super::*;

const DEPTH: usize = 6;
/// Longer than a third of every bound below, so that deadlines fall inside the orders tried.
const STEP: Duration = Duration::from_secs(40);

const EVENTS: &[Event] = &[
    Event::Bootstrapped { ok: true },
    Event::Bootstrapped { ok: false },
    Event::Healthy,
    Event::Unhealthy,
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

#[test]
fn no_order_of_events_breaks_an_invariant() {
    let life = Lifecycle::new(policy(), Moment::default());
    let mut path = Vec::new();
    explore(&life, History::default(), Moment::default() + STEP, &mut path);
}

/// What has been seen along one order of events.
#[derive(Clone, Copy, Default)]
struct History {
    launches: usize,
    terminates: usize,
    drains: usize,
    wait_seen: bool,
    noticed: bool,
    exited: bool,
}

fn explore(life: &Lifecycle, history: History, now: Moment, path: &mut Vec<Event>) {
    if path.len() == DEPTH {
        return;
    }
    for event in EVENTS {
        path.push(*event);
        let (mut next, mut seen) = (life.clone(), history);
        let effects = next.handle(*event, now);
        seen.wait_seen |= *event == Event::TerminateWaitSeen;
        seen.noticed |= matches!(event, Event::Notice { .. });
        check(life, &next, &effects, &mut seen, path);
        check_resume(&next, now, path);
        explore(&next, seen, now + STEP, path);
        path.pop();
    }
}

fn check(before: &Lifecycle, after: &Lifecycle, effects: &[Effect], seen: &mut History, path: &[Event]) {
    assert!(!seen.exited || effects.is_empty(), "effects after Exit: {path:?}");
    for (at, effect) in effects.iter().enumerate() {
        match effect {
            Effect::CompleteHook(Hook::Launch, verdict) => {
                seen.launches += 1;
                assert!(!seen.noticed, "launch hook answered after a notice: {path:?}");
                let passes = after.ready() && after.failure().is_none();
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
            Effect::StartDrain { .. } => seen.drains += 1,
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
    assert!(seen.launches <= 1 && seen.terminates <= 1 && seen.drains <= 1, "done twice: {path:?}");
    assert!(!(seen.noticed && after.ready()), "ready after a notice: {path:?}");
    assert_eq!(seen.noticed, after.phase().is_leaving(), "a notice was not heeded: {path:?}");
    assert!(!before.phase().is_leaving() || after.phase().is_leaving(), "came back from a drain: {path:?}");
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
        ready_deadline: Duration::from_secs(60),
        on_failure: OnFailure::Abandon,
        drain_max: Duration::from_secs(110),
        margin: Duration::from_secs(5),
    }
}
