//! One life at a time: the stories that the table has to tell.

use super::*;
use std::time::Duration;

#[test]
fn a_good_launch_serves_before_the_hook_is_asked() {
    let mut life = life();
    assert_eq!(life.handle(Event::Bootstrapped { ok: true }, at(5)), []);
    assert!(!life.ready());
    assert_eq!(life.handle(Event::Healthy, at(9)), [continue_launch()]);
    assert_eq!((life.phase(), life.ready()), (Phase::Serving, true));
}

#[test]
fn checks_that_pass_early_wait_for_bootstrap() {
    let mut life = life();
    assert_eq!(life.handle(Event::Healthy, at(1)), []);
    assert_eq!(life.handle(Event::Bootstrapped { ok: true }, at(5)), [continue_launch()]);
}

#[test]
fn a_failed_bootstrap_is_abandoned_once_and_never_ready() {
    let mut life = life();
    assert_eq!(life.handle(Event::Bootstrapped { ok: false }, at(5)), [abandon_launch()]);
    assert_eq!(life.handle(Event::Bootstrapped { ok: false }, at(6)), []);
    assert_eq!(life.handle(Event::Tick, at(10_000)), []);
    life.handle(Event::Healthy, at(10_001));
    assert_eq!((life.ready(), life.failure()), (false, Some(Failure::Bootstrap)));
}

#[test]
fn a_slow_boot_is_abandoned() {
    let mut life = life();
    life.handle(Event::Bootstrapped { ok: true }, at(5));
    assert_eq!(life.handle(Event::Tick, at(64)), []);
    assert_eq!(life.handle(Event::Tick, at(65)), [abandon_launch()]);
    assert_eq!(life.handle(Event::Healthy, at(66)), []);
    assert_eq!((life.ready(), life.failure()), (false, Some(Failure::Readiness)));
}

#[test]
fn a_slow_boot_that_no_hook_waits_for_may_still_serve() {
    let mut life = life();
    life.handle(Event::Bootstrapped { ok: true }, at(5));
    life.handle(Event::Tick, at(65));
    life.handle(Event::Healthy, at(66));
    assert_eq!(life.handle(settled(Hook::Launch, Settled::NothingOwed), at(67)), []);
    assert!(life.ready());
}

#[test]
fn a_notice_while_bootstrapping_wins() {
    let mut life = life();
    let effects = life.handle(group(), at(3));
    assert_eq!(
        effects,
        [Effect::StartDrain { deadline: at(303) }, Effect::FlushMetrics, Effect::WatchTerminate]
    );
    assert_eq!(life.handle(Event::Bootstrapped { ok: true }, at(4)), []);
    assert_eq!(life.handle(Event::Healthy, at(5)), []);
    assert_eq!(life.phase(), Phase::Draining);
}

#[test]
fn the_terminate_hook_waits_for_both_the_drain_and_the_state() {
    for drain_first in [true, false] {
        let mut life = serving();
        life.handle(group(), at(100));
        let (first, second) = if drain_first {
            (Event::DrainEnded(Ended::Quiet), Event::TerminateWaitSeen)
        } else {
            (Event::TerminateWaitSeen, Event::DrainEnded(Ended::Quiet))
        };
        assert_eq!(life.handle(first, at(110)), []);
        assert_eq!(life.handle(second, at(120)), [Effect::CompleteHook(Hook::Terminate, Verdict::Continue)]);
    }
}

#[test]
fn a_second_notice_only_shortens_the_deadline() {
    let mut life = serving();
    life.handle(group(), at(100));
    let spot = |deadline| Event::Notice { notice: Notice::Spot, deadline: Some(deadline) };
    assert_eq!(life.handle(spot(at(220)), at(101)), [Effect::ShortenDrain { deadline: at(215) }]);
    assert_eq!(life.handle(spot(at(900)), at(102)), []);
    assert_eq!(life.deadline(), Some(at(215)));
}

#[test]
fn sigterm_leaves_once_the_hook_is_answered() {
    let mut life = serving();
    life.handle(group(), at(100));
    life.handle(shutdown(), at(101));
    life.handle(Event::TerminateWaitSeen, at(105));
    life.handle(Event::DrainEnded(Ended::Quiet), at(110));
    assert_eq!(life.handle(settled(Hook::Terminate, Settled::Completed), at(111)), [Effect::Exit]);
    assert_eq!(life.handle(Event::Tick, at(112)), []);
}

#[test]
fn sigterm_alone_drains_and_leaves() {
    let mut life = serving();
    life.handle(shutdown(), at(100));
    assert_eq!(life.handle(Event::DrainEnded(Ended::Quiet), at(110)), [Effect::Exit]);
}

#[test]
fn a_hook_that_never_settles_does_not_keep_the_machine_up() {
    let mut life = serving();
    life.handle(group(), at(100));
    life.handle(Event::DrainEnded(Ended::Quiet), at(110));
    life.handle(shutdown(), at(120));
    assert_eq!(life.handle(Event::Tick, at(419)), []);
    assert_eq!(life.handle(Event::Tick, at(420)), [Effect::Exit]);
}

#[test]
fn a_killed_agent_goes_on_with_the_same_drain() {
    let mut life = serving();
    life.handle(settled(Hook::Launch, Settled::Completed), at(10));
    life.handle(group(), at(100));
    let text = serde_json::to_string(&life).expect("a life is plain data");
    let read: Lifecycle = serde_json::from_str(&text).expect("it was written so");
    let (again, effects) = read.resume(policy(), at(130));
    assert_eq!(effects, [Effect::StartDrain { deadline: at(400) }, Effect::WatchTerminate]);
    assert_eq!(again, Lifecycle { placed: false, ..life }, "but for what each process reads itself");
}

#[test]
fn an_agent_stopped_and_started_on_a_running_machine_serves_again() {
    let mut life = serving();
    life.handle(settled(Hook::Launch, Settled::Completed), at(20));
    life.handle(shutdown(), at(100));
    life.handle(Event::DrainEnded(Ended::Quiet), at(110));
    let (mut again, effects) = life.resume(policy(), at(130));
    assert_eq!((again.phase(), effects), (Phase::Bootstrapping, vec![]));
    again.handle(Event::Bootstrapped { ok: true }, at(131));
    assert_eq!(again.handle(Event::Healthy, at(132)), [], "its place is read again first");
    assert_eq!(again.handle(Event::Groupless, at(133)), [Effect::Rejoin]);
    assert!(again.ready());
}

#[test]
fn an_answer_that_a_stop_of_the_agent_cut_short_is_given_by_the_next() {
    let mut life = serving();
    life.handle(shutdown(), at(20));
    life.handle(settled(Hook::Launch, Settled::NothingOwed), at(21));
    life.handle(Event::DrainEnded(Ended::Quiet), at(22));
    let (mut again, _) = life.resume(policy(), at(30));
    again.handle(Event::Bootstrapped { ok: true }, at(31));
    assert_eq!(again.handle(Event::Healthy, at(32)), [continue_launch()]);
}

pub(super) fn life() -> Lifecycle {
    Lifecycle::new(policy(), at(0))
}

pub(super) fn serving() -> Lifecycle {
    let mut life = life();
    life.handle(Event::Groupless, at(1));
    life.handle(Event::Bootstrapped { ok: true }, at(5));
    life.handle(Event::Healthy, at(9));
    life
}

pub(super) fn policy() -> Policy {
    Policy {
        bootstrap_deadline: Duration::from_mins(10),
        ready_deadline: Duration::from_mins(1),
        on_failure: OnFailure::Abandon,
        drain_max: Duration::from_mins(5),
        margin: Duration::from_secs(5),
    }
}

pub(super) fn at(seconds: u64) -> Moment {
    Moment::from_millis(seconds * 1000)
}

pub(super) fn group() -> Event {
    Event::Notice { notice: Notice::Group, deadline: None }
}

pub(super) fn shutdown() -> Event {
    Event::Notice { notice: Notice::Shutdown, deadline: None }
}

pub(super) fn settled(hook: Hook, settled: Settled) -> Event {
    Event::HookSettled { hook, settled }
}

pub(super) fn continue_launch() -> Effect {
    Effect::CompleteHook(Hook::Launch, Verdict::Continue)
}

pub(super) fn abandon_launch() -> Effect {
    Effect::CompleteHook(Hook::Launch, Verdict::Abandon)
}
