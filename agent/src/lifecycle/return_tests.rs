//! Ways back to a warm pool: cut short, begun before a boot, and what they say of an answer that nobody confirmed.

use super::tests::{abandon_launch, at, group, policy, serving, settled, shutdown};
use super::*;

const COMPLETE: Effect = Effect::CompleteHook(Hook::Terminate, Verdict::Continue);

#[test]
fn terminated_on_its_way_to_the_pool_by_the_states_word_it_stays_drained_and_answers_that() {
    let mut life = returning();
    life.handle(Event::DrainEnded(Ended::Quiet), at(20));
    assert_eq!(life.handle(Event::TerminateWaitSeen, at(21)), [COMPLETE]);
    // What waits is the termination, before the metadata service has said so.
    let superseded = settled(Hook::Terminate, Settled::Superseded);
    assert_eq!(life.handle(superseded, at(22)), [Effect::WatchTerminate]);
    assert_eq!((life.phase(), life.notices()), (Phase::Drained, &[Notice::Pool, Notice::Group][..]));
    assert_eq!(life.handle(group(), at(23)), []);
    assert_eq!(life.handle(Event::TerminateWaitSeen, at(24)), [COMPLETE]);
    assert_eq!(life.terminate_for(), Notice::Group);
    assert_eq!(life.handle(settled(Hook::Terminate, Settled::Completed), at(25)), []);
    assert_eq!(life.phase(), Phase::Drained);
}

#[test]
fn the_notice_may_come_first() {
    let mut life = returning();
    life.handle(Event::DrainEnded(Ended::Quiet), at(20));
    life.handle(Event::TerminateWaitSeen, at(21));
    assert_eq!(life.handle(group(), at(22)), []);
    let superseded = settled(Hook::Terminate, Settled::Superseded);
    assert_eq!(life.handle(superseded, at(23)), [Effect::WatchTerminate]);
    assert_eq!(life.handle(Event::TerminateWaitSeen, at(24)), [COMPLETE]);
}

#[test]
fn an_abandon_that_nobody_took_leaves_the_next_action_its_whole_time() {
    let mut life = Lifecycle::new(policy(), at(0));
    life.handle(Event::Target(Place::Pool), at(1));
    life.handle(Event::Bootstrapped { ok: true }, at(2));
    assert_eq!(life.handle(Event::Tick, at(62)), [abandon_launch()]);
    // It was let into the pool by the hook's default all the same, and is called.
    assert_eq!(life.handle(Event::Target(Place::Service), at(500)), []);
    let refuted = settled(Hook::Launch, Settled::NothingOwed);
    assert_eq!(life.handle(refuted, at(510)), [Effect::WatchLaunch]);
    assert_eq!((life.phase(), life.failure(), life.until()), (Phase::Warming, None, Some(at(570))));
    assert_eq!(life.handle(Event::Healthy, at(520)), [super::tests::continue_launch()]);
}

#[test]
fn whoever_returns_to_the_pool_was_let_in_whatever_became_of_an_abandon() {
    let mut life = Lifecycle::new(policy(), at(0));
    life.handle(Event::Target(Place::Service), at(1));
    life.handle(Event::Bootstrapped { ok: true }, at(2));
    assert_eq!(life.handle(Event::Tick, at(62)), [abandon_launch()]);
    life.handle(Event::Target(Place::Pool), at(70));
    // The notice has stopped the answering: a call without an answer may have been heeded.
    life.handle(settled(Hook::Launch, Settled::Completed), at(71));
    life.handle(Event::DrainEnded(Ended::Quiet), at(72));
    life.handle(Event::TerminateWaitSeen, at(73));
    life.handle(settled(Hook::Terminate, Settled::Completed), at(74));
    life.handle(Event::Healthy, at(80));
    assert_eq!(life.phase(), Phase::Warmed);
    assert_eq!(life.handle(Event::Target(Place::Service), at(100)), [super::tests::continue_launch()]);
    assert!(life.ready());
}

#[test]
fn an_agent_stopped_on_the_way_back_is_warm_again_when_it_starts() {
    let mut life = serving();
    life.handle(Event::Target(Place::Service), at(10));
    life.handle(shutdown(), at(11));
    life.handle(Event::Target(Place::Pool), at(12));
    life.handle(Event::DrainEnded(Ended::Quiet), at(20));
    life.handle(Event::TerminateWaitSeen, at(21));
    assert_eq!(life.handle(settled(Hook::Terminate, Settled::Completed), at(22)), [Effect::Exit]);
    let (again, effects) = life.resume(policy(), at(30));
    assert_eq!((again.phase(), again.notices(), effects), (Phase::Warming, &[][..], vec![]));
}

#[test]
fn a_boot_on_the_way_back_goes_on_with_it_whichever_is_read_first() {
    let served = (Event::Served, Event::Target(Place::Pool));
    for (first, second) in [served, (served.1, served.0)] {
        let (mut life, _) = Lifecycle::begin(policy(), at(0), false);
        life.handle(first, at(1));
        let drain = [Effect::StartDrain { deadline: at(302) }, Effect::FlushMetrics, Effect::WatchTerminate];
        assert_eq!(life.handle(second, at(2)), drain, "{first:?}");
        life.handle(Event::DrainEnded(Ended::Quiet), at(5));
        assert_eq!(life.handle(Event::TerminateWaitSeen, at(6)), [COMPLETE]);
        life.handle(settled(Hook::Terminate, Settled::Completed), at(7));
        assert_eq!((life.phase(), life.served()), (Phase::Bootstrapping, false), "user data has yet to run");
        life.handle(Event::Bootstrapped { ok: true }, at(8));
        assert_eq!(life.handle(Event::Healthy, at(9)), [], "the pool's launch is no longer owed");
        assert_eq!(life.phase(), Phase::Warmed);
    }
}

#[test]
fn without_a_mark_or_with_one_out_of_date_the_pool_is_launched_into() {
    let (mut life, _) = Lifecycle::begin(policy(), at(0), false);
    assert_eq!(life.handle(Event::Target(Place::Pool), at(1)), []);
    life.handle(Event::Bootstrapped { ok: true }, at(2));
    assert_eq!(life.handle(Event::Healthy, at(3)), [super::tests::continue_launch()]);
    life.handle(settled(Hook::Launch, Settled::Completed), at(4));
    assert_eq!(life.handle(Event::Served, at(5)), [], "the group has just taken a launch");
    assert_eq!((life.phase(), life.served()), (Phase::Warmed, false));
}

#[test]
fn where_it_served_outlives_a_stop_of_the_agent() {
    let mut life = serving();
    life.handle(Event::Target(Place::Service), at(10));
    life.handle(shutdown(), at(11));
    assert!(life.resume(policy(), at(20)).0.served());
}

fn returning() -> Lifecycle {
    let mut life = serving();
    life.handle(Event::Target(Place::Service), at(10));
    life.handle(Event::Target(Place::Pool), at(11));
    life
}
