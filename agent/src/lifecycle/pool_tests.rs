//! Warm pools, standby, and what their target states do to a life.

use super::tests::{at, continue_launch, group, life, policy, serving, settled, shutdown};
use super::*;

#[test]
fn target_states_are_told_apart_and_unknown_ones_say_nothing() {
    let cases = [
        ("InService", Some(Place::Service)),
        ("Warmed:Stopped", Some(Place::Pool)),
        ("Warmed:Running", Some(Place::Pool)),
        ("Warmed:Hibernated", Some(Place::Pool)),
        ("Standby", Some(Place::Standby)),
        ("Detached", Some(Place::Standby)),
        ("Terminated", None),
        ("Warmed:Terminated", None),
        // The guide's states that are nobody's aim, and one that nobody knows yet.
        ("ReplacingRootVolume", None),
        ("RootVolumeReplaced", None),
        ("SomethingNew", None),
        ("", None),
    ];
    for (state, place) in cases {
        assert_eq!(Place::parse(state), place, "{state}");
    }
}

#[test]
fn the_launch_hook_is_answered_once_for_the_pool_and_once_for_service() {
    let mut life = warmed();
    assert_eq!((life.phase(), life.ready()), (Phase::Warmed, false));
    assert_eq!(life.handle(settled(Hook::Launch, Settled::Completed), at(10)), []);
    assert_eq!(life.handle(target(Place::Pool), at(11)), []);
    assert_eq!(life.handle(target(Place::Service), at(500)), [continue_launch()]);
    assert!(life.ready());
    assert_eq!(life.handle(settled(Hook::Launch, Settled::Completed), at(501)), []);
    assert_eq!(life.handle(Event::Healthy, at(502)), []);
}

#[test]
fn a_call_into_service_before_the_first_answer_was_taken_waits_for_it() {
    let mut life = warmed();
    assert_eq!(life.handle(target(Place::Service), at(10)), []);
    assert!(life.ready());
    assert_eq!(life.handle(settled(Hook::Launch, Settled::Completed), at(11)), [continue_launch()]);
}

#[test]
fn an_unhealthy_warmed_instance_is_not_let_into_service() {
    let mut life = warmed();
    life.handle(settled(Hook::Launch, Settled::Completed), at(10));
    life.handle(Event::Unhealthy, at(20));
    assert_eq!(life.handle(target(Place::Service), at(100)), [Effect::WatchLaunch]);
    assert_eq!(life.phase(), Phase::Warming);
    assert_eq!(life.handle(Event::Tick, at(160)), [Effect::CompleteHook(Hook::Launch, Verdict::Abandon)]);
}

#[test]
fn each_way_back_to_the_pool_is_answered_while_another_notice_holds_the_instance() {
    let complete = Effect::CompleteHook(Hook::Terminate, Verdict::Continue);
    let mut life = serving();
    life.handle(target(Place::Service), at(10));
    life.handle(Event::Notice { notice: Notice::Rebalance, deadline: None }, at(11));
    life.handle(Event::DrainEnded(Ended::Quiet), at(12));
    for start in [100, 200] {
        assert_eq!(life.handle(target(Place::Pool), at(start)), [Effect::WatchTerminate]);
        assert_eq!(life.handle(Event::TerminateWaitSeen, at(start + 1)), [complete]);
        life.handle(settled(Hook::Terminate, Settled::Completed), at(start + 2));
        assert_eq!(life.handle(target(Place::Service), at(start + 50)), []);
        assert_eq!((life.phase(), life.notices()), (Phase::Drained, &[Notice::Rebalance][..]));
    }
}

#[test]
fn terminated_on_its_way_to_the_pool_before_the_drain_has_ended_it_answers_once() {
    let mut life = serving();
    life.handle(target(Place::Service), at(10));
    life.handle(target(Place::Pool), at(11));
    life.handle(Event::TerminateWaitSeen, at(12));
    life.handle(group(), at(13));
    let complete = Effect::CompleteHook(Hook::Terminate, Verdict::Continue);
    assert_eq!(life.handle(Event::DrainEnded(Ended::Quiet), at(20)), [complete]);
    assert_eq!(life.handle(settled(Hook::Terminate, Settled::Completed), at(21)), []);
    assert_eq!(
        (life.phase(), life.hook(Hook::Terminate)),
        (Phase::Drained, HookStep::Settled(Settled::Completed))
    );
}

#[test]
fn a_detached_instance_is_not_ready_and_comes_back_by_its_checks_without_a_hook() {
    let detached = Place::parse("Detached").expect("it is a target state");
    let mut life = serving();
    life.handle(settled(Hook::Launch, Settled::Completed), at(10));
    life.handle(target(Place::Service), at(11));
    assert_eq!(
        life.handle(target(detached), at(20)),
        [],
        "what is detached is not drained: nobody takes it away"
    );
    assert_eq!((life.phase(), life.ready()), (Phase::Standby, false));
    life.handle(Event::Unhealthy, at(30));
    assert_eq!(life.handle(target(Place::Service), at(40)), []);
    assert_eq!((life.phase(), life.ready()), (Phase::Warming, false));
    assert_eq!(life.handle(Event::Healthy, at(41)), [], "hooks do not apply to an instance that is attached");
    assert!(life.ready());
}

#[test]
fn a_detached_instance_that_is_shut_down_drains_what_it_still_has() {
    let mut life = serving();
    life.handle(target(Place::Standby), at(20));
    let drain = Effect::StartDrain { deadline: at(330) };
    assert_eq!(life.handle(shutdown(), at(30)), [drain, Effect::FlushMetrics]);
}

#[test]
fn a_replaced_root_drains_with_its_reboot_and_is_a_new_life_that_owes_a_launch() {
    let mut old = serving();
    old.handle(settled(Hook::Launch, Settled::Completed), at(10));
    old.handle(target(Place::Service), at(11));
    assert!(old.handle(shutdown(), at(100)).contains(&Effect::StartDrain { deadline: at(400) }));

    // The list of what was deregistered has gone with the disk.
    let (mut new, _) = Lifecycle::begin(policy(), at(0), false);
    new.handle(target(Place::Service), at(1));
    new.handle(Event::Bootstrapped { ok: true }, at(2));
    assert_eq!(new.handle(Event::Healthy, at(3)), [continue_launch()]);
    assert_eq!(new.handle(settled(Hook::Launch, Settled::Completed), at(4)), []);
    assert!(new.ready() && !new.rejoining(), "the group registers it");
}

#[test]
fn the_pool_stops_a_warmed_instance_at_once() {
    let mut life = warmed();
    life.handle(settled(Hook::Launch, Settled::Completed), at(10));
    assert_eq!(life.handle(shutdown(), at(20)), [Effect::Exit]);
}

#[test]
fn a_warmed_instance_can_be_terminated() {
    let mut life = warmed();
    let effects = life.handle(group(), at(20));
    assert!(effects.contains(&Effect::WatchTerminate), "{effects:?}");
}

#[test]
fn scale_in_with_reuse_drains_answers_the_hook_and_is_warm_again() {
    let mut life = in_service();
    let effects = life.handle(target(Place::Pool), at(100));
    let expected = [Effect::StartDrain { deadline: at(400) }, Effect::FlushMetrics, Effect::WatchTerminate];
    assert_eq!(effects, expected);
    assert!(!life.ready());
    life.handle(Event::DrainEnded(Ended::Quiet), at(110));
    let complete = Effect::CompleteHook(Hook::Terminate, Verdict::Continue);
    assert_eq!(life.handle(Event::TerminateWaitSeen, at(120)), [complete]);
    assert_eq!(life.handle(settled(Hook::Terminate, Settled::Completed), at(121)), []);
    assert_eq!((life.phase(), life.notices()), (Phase::Warming, &[][..]));
    assert_eq!(life.handle(Event::Healthy, at(122)), []);
    assert_eq!(life.phase(), Phase::Warmed);
    assert_eq!(life.handle(target(Place::Service), at(900)), [continue_launch()]);
    assert!(life.ready());
}

#[test]
fn called_before_it_is_warm_again_the_launch_hook_is_answered() {
    let mut life = in_service();
    life.handle(target(Place::Pool), at(100));
    life.handle(Event::DrainEnded(Ended::Quiet), at(110));
    life.handle(Event::TerminateWaitSeen, at(120));
    life.handle(settled(Hook::Terminate, Settled::Completed), at(121));
    assert_eq!(life.phase(), Phase::Warming);
    assert_eq!(life.handle(target(Place::Service), at(122)), [Effect::WatchLaunch]);
    assert_eq!(life.handle(Event::Healthy, at(123)), [continue_launch()]);
    assert!(life.ready());
}

#[test]
fn terminated_on_the_way_to_the_pool_is_terminated() {
    let mut life = in_service();
    life.handle(target(Place::Pool), at(100));
    life.handle(Event::TerminateWaitSeen, at(101));
    life.handle(Event::DrainEnded(Ended::Quiet), at(110));
    assert_eq!(life.handle(group(), at(111)), []);
    let effects = life.handle(settled(Hook::Terminate, Settled::NothingOwed), at(112));
    assert_eq!((life.phase(), effects), (Phase::Drained, vec![Effect::WatchTerminate]));
}

#[test]
fn a_target_read_late_is_no_scale_in() {
    let mut life = serving();
    assert_eq!(life.handle(target(Place::Pool), at(20)), []);
    assert_eq!(life.phase(), Phase::Warmed);
    life.handle(settled(Hook::Launch, Settled::Completed), at(21));
    assert_eq!(life.handle(target(Place::Service), at(300)), [continue_launch()]);
}

#[test]
fn called_into_service_before_it_is_ready_the_second_action_gets_its_own_answer() {
    let mut life = in_service();
    life.handle(target(Place::Pool), at(100));
    life.handle(Event::DrainEnded(Ended::Quiet), at(110));
    life.handle(Event::TerminateWaitSeen, at(111));
    life.handle(settled(Hook::Terminate, Settled::Completed), at(112));
    assert_eq!(life.handle(Event::Tick, at(172)), [], "the pool's own failure owes nobody an answer");
    assert_eq!(life.handle(target(Place::Service), at(200)), [Effect::WatchLaunch]);
    assert_eq!(life.handle(Event::Tick, at(259)), []);
    assert_eq!(life.handle(Event::Tick, at(260)), [Effect::CompleteHook(Hook::Launch, Verdict::Abandon)]);
}

#[test]
fn scaled_in_to_the_pool_before_it_was_ready_it_answers_the_hook() {
    let mut life = life();
    life.handle(target(Place::Service), at(1));
    life.handle(Event::Bootstrapped { ok: true }, at(5));
    let effects = life.handle(target(Place::Pool), at(30));
    assert!(effects.contains(&Effect::WatchTerminate), "{effects:?}");
}

#[test]
fn standby_is_out_of_service_and_back_without_a_hook() {
    let mut life = in_service();
    assert_eq!(life.handle(target(Place::Standby), at(100)), []);
    assert_eq!((life.phase(), life.ready()), (Phase::Standby, false));
    assert_eq!(life.handle(target(Place::Service), at(9000)), []);
    assert!(life.ready());
}

#[test]
fn an_instance_on_standby_may_be_mended_for_as_long_as_it_takes() {
    let mut life = in_service();
    life.handle(target(Place::Standby), at(100));
    life.handle(Event::Unhealthy, at(101));
    assert_eq!(life.handle(Event::Tick, at(90_000)), []);
    life.handle(target(Place::Service), at(90_001));
    assert_eq!(life.handle(Event::Tick, at(99_000)), []);
    life.handle(Event::Healthy, at(99_001));
    assert!(life.ready(), "nothing was abandoned, so it may recover: {life:?}");
}

#[test]
fn called_before_user_data_has_run_again_its_second_action_is_answered_all_the_same() {
    let mut life = warmed();
    life.handle(settled(Hook::Launch, Settled::Completed), at(10));
    assert_eq!(life.handle(shutdown(), at(20)), [Effect::Exit]);
    let (mut again, _) = life.resume(policy(), at(30));
    assert_eq!(again.phase(), Phase::Bootstrapping);
    assert_eq!(again.handle(target(Place::Service), at(31)), [Effect::WatchLaunch]);
    again.handle(Event::Bootstrapped { ok: true }, at(32));
    assert_eq!(again.handle(Event::Healthy, at(33)), [continue_launch()]);
}

#[test]
fn let_into_service_by_its_own_answer_it_leaves_the_registering_to_the_group() {
    for (answer, expected) in [(Settled::Completed, vec![]), (Settled::NothingOwed, vec![Effect::Rejoin])] {
        let mut life = asked_with_targets_out();
        assert_eq!(life.handle(settled(Hook::Launch, answer), at(4)), expected, "{answer:?}");
        assert!(life.ready());
    }
}

#[test]
fn an_answer_from_before_a_drain_does_not_speak_for_what_the_drain_took_out() {
    let mut life = asked_with_targets_out();
    life.handle(Event::Notice { notice: Notice::Operator, deadline: None }, at(4));
    life.handle(Event::Ready, at(5));
    assert_eq!(life.handle(Event::Healthy, at(6)), []);
    assert_eq!(life.handle(settled(Hook::Launch, Settled::Completed), at(7)), [Effect::Rejoin]);
}

/// After a boot, with what an earlier one took out on the list, and the launch hook just asked.
fn asked_with_targets_out() -> Lifecycle {
    let mut life = Lifecycle::begin(policy(), at(0), true).0;
    life.handle(target(Place::Service), at(1));
    life.handle(Event::Bootstrapped { ok: true }, at(2));
    assert_eq!(life.handle(Event::Healthy, at(3)), [continue_launch()]);
    life
}

fn warmed() -> Lifecycle {
    let mut life = life();
    assert_eq!(life.handle(target(Place::Pool), at(0)), []);
    life.handle(Event::Bootstrapped { ok: true }, at(5));
    assert_eq!(life.handle(Event::Healthy, at(9)), [continue_launch()]);
    life
}

fn in_service() -> Lifecycle {
    let mut life = serving();
    life.handle(settled(Hook::Launch, Settled::Completed), at(10));
    life.handle(target(Place::Service), at(11));
    life
}

fn target(place: Place) -> Event {
    Event::Target(place)
}
