//! An operator's drain and its way back, and a machine that slept.

use super::tests::{at, continue_launch, group, life, policy, serving, settled, shutdown};
use super::*;

#[test]
fn an_operators_drain_is_taken_back_through_the_checks() {
    let mut life = served();
    let drain = Effect::StartDrain { deadline: at(400) };
    assert_eq!(life.handle(operator(None), at(100)), [drain, Effect::FlushMetrics]);
    life.handle(Event::DrainEnded(Ended::Quiet), at(110));
    assert_eq!((life.phase(), life.ended(), life.refusal()), (Phase::Drained, Some(Ended::Quiet), None));
    assert_eq!(life.handle(Event::Ready, at(200)), []);
    assert_eq!((life.phase(), life.ready(), life.deadline()), (Phase::Warming, false, None));
    assert_eq!(life.handle(Event::Healthy, at(203)), [Effect::Rejoin]);
    assert!(life.ready() && life.rejoining());
    assert_eq!(life.handle(Event::Rejoined, at(204)), []);
    assert!(!life.rejoining());
}

#[test]
fn a_drain_under_way_is_taken_back_too() {
    let mut life = served();
    life.handle(operator(None), at(100));
    life.handle(Event::Ready, at(101));
    assert_eq!(life.phase(), Phase::Warming);
    assert_eq!(life.handle(Event::DrainEnded(Ended::Quiet), at(102)), [], "it was taken back");
    assert_eq!(life.handle(Event::Healthy, at(103)), [Effect::Rejoin]);
}

#[test]
fn ready_is_nobodys_word_but_the_operators() {
    for other in [group(), shutdown(), spot(300)] {
        let mut life = served();
        life.handle(operator(None), at(100));
        life.handle(other, at(101));
        life.handle(Event::DrainEnded(Ended::Quiet), at(102));
        assert_eq!(life.handle(Event::Ready, at(103)), [], "{other:?}");
        assert!(
            life.phase().is_leaving() && matches!(life.refusal(), Some(Refusal::Noticed(_))),
            "{other:?}"
        );
    }
}

#[test]
fn ready_waits_until_the_group_wants_the_instance() {
    let mut life = served();
    life.handle(operator(None), at(100));
    life.handle(Event::DrainEnded(Ended::Quiet), at(102));
    life.handle(Event::Target(Place::Standby), at(103));
    life.handle(Event::Ready, at(104));
    assert_eq!((life.phase(), life.refusal()), (Phase::Drained, Some(Refusal::Elsewhere(Place::Standby))));
    life.handle(Event::Target(Place::Service), at(900));
    assert_eq!(life.phase(), Phase::Drained, "the operator has not said so yet");
    life.handle(Event::Ready, at(901));
    assert_eq!(life.phase(), Phase::Warming);
}

#[test]
fn an_operators_timeout_only_shortens() {
    let mut life = served();
    let short = life.handle(operator(Some(at(130))), at(100));
    assert!(short.contains(&Effect::StartDrain { deadline: at(130) }), "{short:?}");
    assert_eq!(life.handle(operator(Some(at(900))), at(101)), []);
    assert_eq!(life.handle(operator(Some(at(120))), at(102)), [Effect::ShortenDrain { deadline: at(120) }]);
    let mut life = served();
    let long = life.handle(operator(Some(at(9000))), at(100));
    assert!(long.contains(&Effect::StartDrain { deadline: at(400) }), "drain.max holds: {long:?}");
}

#[test]
fn an_operators_drain_survives_restarts_of_the_agent() {
    let mut life = served();
    life.handle(operator(None), at(100));
    life.handle(Event::DrainEnded(Ended::Quiet), at(110));
    let (mut life, effects) = life.resume(policy(), at(120));
    assert_eq!((life.phase(), effects), (Phase::Drained, vec![]));
    assert_eq!(life.handle(shutdown(), at(130)), [Effect::Exit]);
    let (life, effects) = life.resume(policy(), at(140));
    assert_eq!((life.phase(), life.notices(), effects), (Phase::Drained, &[Notice::Operator][..], vec![]));
}

#[test]
fn a_drain_before_the_launch_was_answered_does_not_lose_the_answer() {
    for settles_late in [false, true] {
        let mut life = serving();
        life.handle(operator(None), at(20));
        let stopped = settled(Hook::Launch, Settled::NothingOwed);
        if !settles_late {
            life.handle(stopped, at(21));
        }
        life.handle(Event::Ready, at(22));
        if settles_late {
            life.handle(stopped, at(23));
        }
        assert_eq!(life.handle(Event::Healthy, at(30)), [continue_launch()], "settles late: {settles_late}");
        let taken = settled(Hook::Launch, Settled::Completed);
        assert_eq!(life.handle(taken, at(31)), [], "let in after the drain, it is registered by the group");
        assert!(life.ready() && !life.rejoining());
    }
}

#[test]
fn an_answer_that_ended_with_its_process_during_a_drain_is_given_after_the_way_back() {
    let mut life = serving();
    life.handle(operator(None), at(20));
    life.handle(Event::DrainEnded(Ended::Quiet), at(21));
    let (mut life, effects) = life.resume(policy(), at(30));
    assert_eq!(effects, [], "a notice wins");
    life.handle(Event::Ready, at(40));
    assert_eq!(life.handle(Event::Healthy, at(42)), [continue_launch()]);
}

#[test]
fn a_drain_while_user_data_runs_goes_back_to_waiting_for_it() {
    let mut life = life();
    life.handle(operator(None), at(3));
    assert_eq!(life.handle(Event::Ready, at(4)), [Effect::WatchLaunch]);
    assert_eq!(life.phase(), Phase::Bootstrapping);
    let mut life = self::life();
    life.handle(operator(None), at(3));
    life.handle(Event::Bootstrapped { ok: true }, at(4));
    life.handle(Event::Ready, at(5));
    assert_eq!(life.phase(), Phase::Warming, "it ended meanwhile");
}

#[test]
fn an_abandoned_instance_is_not_taken_back() {
    let mut life = life();
    life.handle(Event::Bootstrapped { ok: false }, at(5));
    life.handle(settled(Hook::Launch, Settled::Completed), at(6));
    life.handle(operator(None), at(7));
    life.handle(Event::Ready, at(8));
    assert_eq!((life.phase(), life.refusal()), (Phase::Draining, Some(Refusal::Abandoned)));
}

#[test]
fn scaled_in_to_the_pool_while_an_operator_holds_it_the_hook_is_answered_all_the_same() {
    let mut life = served();
    life.handle(operator(None), at(100));
    life.handle(Event::DrainEnded(Ended::Quiet), at(110));
    assert_eq!(life.handle(Event::Target(Place::Pool), at(120)), [Effect::WatchTerminate]);
    let complete = Effect::CompleteHook(Hook::Terminate, Verdict::Continue);
    assert_eq!(life.handle(Event::TerminateWaitSeen, at(130)), [complete]);
    life.handle(settled(Hook::Terminate, Settled::Completed), at(131));
    assert_eq!((life.phase(), life.notices()), (Phase::Drained, &[Notice::Operator][..]));
    life.handle(Event::Target(Place::Service), at(900));
    life.handle(Event::Ready, at(901));
    assert_eq!(life.handle(Event::Healthy, at(903)), [continue_launch()]);
    let taken = settled(Hook::Launch, Settled::Completed);
    assert_eq!(life.handle(taken, at(904)), [], "the group registers it itself");
}

#[test]
fn a_stopped_and_started_agent_brings_back_what_it_deregistered_where_it_is_still_wanted() {
    for (place, back) in [(Place::Service, true), (Place::Standby, false)] {
        let mut life = served();
        life.handle(shutdown(), at(100));
        life.handle(Event::DrainEnded(Ended::Quiet), at(110));
        let (mut life, effects) = life.resume(policy(), at(130));
        assert_eq!(effects, []);
        life.handle(Event::Bootstrapped { ok: true }, at(131));
        assert_eq!(life.handle(Event::Healthy, at(132)), [], "the place is an earlier process's");
        let effects = life.handle(Event::Target(place), at(133));
        assert_eq!(effects == [Effect::Rejoin], back, "{place:?}: {effects:?}");
    }
}

#[test]
fn after_a_reboot_comes_back_what_the_life_before_it_deregistered() {
    for (read, back) in [
        (Event::Target(Place::Service), true),
        (Event::Groupless, true),
        (Event::Target(Place::Pool), false),
        (Event::Target(Place::Standby), false),
    ] {
        let (mut life, effects) = Lifecycle::begin(policy(), at(0), true);
        assert_eq!(effects, [Effect::WatchLaunch]);
        life.handle(Event::Bootstrapped { ok: true }, at(1));
        assert_eq!(life.handle(Event::Healthy, at(2)), [continue_launch()]);
        let nothing_owed = settled(Hook::Launch, Settled::NothingOwed);
        assert_eq!(life.handle(nothing_owed, at(3)), [], "its place is not known yet");
        let effects = life.handle(read, at(4));
        assert_eq!((effects == [Effect::Rejoin], life.rejoining()), (back, true), "{read:?}: {effects:?}");
    }
}

#[test]
fn a_place_that_is_missing_for_once_is_not_taken_for_none() {
    let (mut life, _) = served().resume(policy(), at(20));
    life.handle(operator(None), at(100));
    life.handle(Event::Ready, at(101));
    life.handle(Event::Healthy, at(102));
    assert_eq!(life.handle(Event::Groupless, at(103)), []);
    assert_eq!(life.handle(Event::Target(Place::Service), at(104)), [Effect::Rejoin]);
}

#[test]
fn a_registration_cut_short_by_a_kill_is_asked_for_again() {
    let mut life = served();
    life.handle(operator(None), at(100));
    life.handle(Event::Ready, at(101));
    life.handle(Event::Healthy, at(102));
    let (mut life, effects) = life.resume(policy(), at(110));
    assert_eq!(effects, [], "its place is read again first");
    assert_eq!(life.handle(Event::Target(Place::Service), at(111)), [Effect::Rejoin]);
}

#[test]
fn a_machine_that_woke_forgets_what_ec2_had_announced() {
    let mut life = served();
    life.handle(spot(220), at(100));
    assert_eq!(life.handle(Event::Woke, at(9000)), []);
    assert_eq!((life.phase(), life.notices()), (Phase::Warming, &[][..]));
    assert_eq!(life.handle(Event::Healthy, at(9001)), [Effect::Rejoin]);

    let mut life = served();
    life.handle(group(), at(100));
    life.handle(spot(220), at(101));
    life.handle(Event::Woke, at(9000));
    assert!(life.phase().is_leaving(), "the group's word holds");
}

#[test]
fn a_machine_that_slept_through_its_launch_has_its_whole_time_again() {
    let mut life = life();
    life.handle(Event::Bootstrapped { ok: true }, at(5));
    life.handle(Event::Woke, at(9000));
    assert_eq!(life.handle(Event::Tick, at(9001)), []);
    assert_eq!(life.handle(Event::Healthy, at(9002)), [continue_launch()]);
}

fn served() -> Lifecycle {
    let mut life = serving();
    life.handle(settled(Hook::Launch, Settled::Completed), at(10));
    life.handle(Event::Target(Place::Service), at(11));
    life
}

fn operator(deadline: Option<Moment>) -> Event {
    Event::Notice { notice: Notice::Operator, deadline }
}

fn spot(seconds: u64) -> Event {
    Event::Notice { notice: Notice::Spot, deadline: Some(at(seconds)) }
}
