//! The one deadline of a drain, the launch's, and how long an exit waits.

use super::tests::{abandon_launch, at, group, life, serving, settled, shutdown};
use super::*;
use std::time::Duration;

#[test]
fn the_hooks_limit_is_part_of_the_one_deadline() {
    let mut life = serving();
    life.handle(group(), at(100));
    life.handle(Event::TerminateWaitSeen, at(110));
    let held = |seconds| Event::TerminateHeld { limit: Duration::from_secs(seconds) };
    assert_eq!(life.handle(held(3000), at(111)), [], "further off than drain.max");
    assert_eq!(life.handle(held(100), at(112)), [Effect::ShortenDrain { deadline: at(207) }]);
    assert_eq!(life.deadline(), Some(at(207)), "with the margin kept free");
}

#[test]
fn a_stop_cannot_take_longer_than_systemd_allows() {
    let mut life = serving();
    life.handle(group(), at(100));
    let stop = Event::Notice { notice: Notice::Shutdown, deadline: Some(at(250)) };
    assert_eq!(life.handle(stop, at(110)), [Effect::ShortenDrain { deadline: at(250) }]);
    assert_eq!(life.handle(Event::Tick, at(250)), []);
    assert_eq!(life.handle(Event::Tick, at(269)), []);
    assert_eq!(life.handle(Event::Tick, at(270)), [Effect::Exit]);
}

#[test]
fn at_shutdown_a_silent_aws_is_not_waited_for_once_the_instance_is_drained() {
    let mut life = serving();
    life.handle(group(), at(100));
    life.handle(shutdown(), at(110));
    assert_eq!(life.handle(Event::Silence, at(150)), [], "work may still be in flight");
    assert_eq!(life.handle(Event::DrainEnded(Ended::Unreachable), at(151)), []);
    assert_eq!(life.handle(Event::Silence, at(152)), [Effect::Exit]);
}

#[test]
fn silence_without_a_shutdown_changes_nothing() {
    let mut life = serving();
    life.handle(group(), at(100));
    life.handle(Event::DrainEnded(Ended::Quiet), at(110));
    assert_eq!(life.handle(Event::Silence, at(500)), []);
    assert!(life.hook(Hook::Terminate).is_open());
}

#[test]
fn a_launch_fails_before_its_hook_does() {
    let mut life = life();
    life.handle(Event::LaunchHeld { timeout: Duration::from_mins(1) }, at(20));
    assert_eq!(life.until(), Some(at(60)));
    assert_eq!(life.handle(Event::Tick, at(59)), []);
    life.handle(Event::LaunchHeld { timeout: Duration::from_mins(1) }, at(59));
    life.handle(Event::Bootstrapped { ok: true }, at(62));
    assert_eq!(life.handle(Event::Tick, at(98)), [], "kept alive by a heartbeat");
    assert_eq!(life.handle(Event::Tick, at(99)), [abandon_launch()]);
    assert_eq!(life.failure(), Some(Failure::Readiness));
}

#[test]
fn the_shortest_hook_leaves_room_for_its_next_heartbeat() {
    let mut life = life();
    life.handle(Event::LaunchHeld { timeout: Duration::from_secs(30) }, at(20));
    assert_eq!(life.until(), Some(at(40)), "a third is kept free, not more");
}

#[test]
fn a_hook_that_waits_longer_than_the_phase_changes_nothing() {
    let mut life = life();
    life.handle(Event::LaunchHeld { timeout: Duration::from_hours(1) }, at(20));
    assert_eq!(life.until(), Some(at(600)));
}

#[test]
fn a_heartbeat_that_comes_late_binds_nobody() {
    let mut life = serving();
    life.handle(settled(Hook::Launch, Settled::Completed), at(10));
    assert_eq!(life.handle(Event::LaunchHeld { timeout: Duration::from_secs(30) }, at(11)), []);
    assert_eq!(life.until(), None);
}

#[test]
fn an_allowance_that_is_used_up_is_not_held_against_a_late_recovery() {
    let mut life = life();
    life.handle(Event::LaunchHeld { timeout: Duration::from_secs(30) }, at(20));
    assert_eq!(life.handle(Event::Tick, at(41)), [abandon_launch()]);
    life.handle(settled(Hook::Launch, Settled::NothingOwed), at(42));
    life.handle(Event::Bootstrapped { ok: true }, at(50));
    assert_eq!(life.handle(Event::Tick, at(51)), []);
    life.handle(Event::Healthy, at(52));
    assert!(life.ready());
}
