//! The documented order, and that no order of events breaks its invariants.

use super::*;

const S: Duration = Duration::from_secs(1);

#[test]
fn a_life_goes_through_the_documented_states() {
    let mut life = lifecycle();
    let mut seen = Vec::new();
    let mut play = |event: Event, at: u32| {
        let effects = life.handle(&event, S * at).unwrap();
        seen.extend(effects.iter().map(|effect| match effect {
            Effect::Moved(_, to) => to.name(),
            Effect::Register => "register",
            Effect::Deregister => "deregister",
            Effect::TimedOut(..) => "timed out",
            Effect::Machine(Order::PowerOff) => "power off",
            Effect::Machine(_) => "another order",
        }));
    };
    play(Event::Tick, 1);
    play(complete("launch", ActionResult::Continue), 10);
    play(Event::Registered, 10);
    play(Event::ScaledIn, 20);
    play(Event::Tick, 21);
    play(Event::Tick, 22);
    play(Event::TargetsGone, 37);
    play(complete("terminate", ActionResult::Continue), 38);
    play(Event::PoweredOff, 40);
    assert_eq!(
        seen,
        [
            "Pending:Wait",
            "Pending:Proceed",
            "register",
            "InService",
            "Terminating",
            "deregister",
            "Terminating:Wait",
            "Terminating:Proceed",
            "power off",
            "Terminated"
        ]
    );
}

#[test]
fn the_target_state_flips_at_the_start_of_the_end() {
    let mut life = lifecycle();
    assert_eq!(life.state().target(), None);
    life.handle(&Event::Tick, S).unwrap();
    assert_eq!(life.state().target(), Some("InService"));
    life.handle(&Event::ScaledIn, S * 2).unwrap();
    assert_eq!(life.state().target(), Some("Terminated"));
}

#[test]
fn a_completion_outside_of_wait_is_refused() {
    let mut life = lifecycle();
    assert_eq!(life.handle(&complete("launch", ActionResult::Continue), S), Err(NoActiveAction));
    life.handle(&Event::Tick, S).unwrap();
    assert_eq!(
        life.handle(&complete("terminate", ActionResult::Continue), S),
        Err(NoActiveAction),
        "the other hook"
    );
    life.handle(&complete("launch", ActionResult::Continue), S).unwrap();
    assert_eq!(
        life.handle(&complete("launch", ActionResult::Continue), S),
        Err(NoActiveAction),
        "a second time"
    );
    life.handle(&Event::Registered, S).unwrap();
    life.handle(&Event::ScaledIn, S * 2).unwrap();
    assert_eq!(
        life.handle(&complete("terminate", ActionResult::Continue), S * 3),
        Err(NoActiveAction),
        "too early"
    );
}

#[test]
fn an_abandoned_launch_terminates_without_serving() {
    let mut life = lifecycle();
    life.handle(&Event::Tick, S).unwrap();
    let effects = life.handle(&complete("launch", ActionResult::Abandon), S * 2).unwrap();
    assert_eq!(effects, [Effect::Moved(State::PendingWait, State::Terminating)]);
}

#[test]
fn a_hook_that_nobody_completes_gets_its_default() {
    let mut life = lifecycle();
    life.handle(&Event::Tick, S).unwrap();
    assert_eq!(life.handle(&Event::Tick, S * 30).unwrap(), []);
    let effects = life.handle(&Event::Tick, S * 31).unwrap();
    assert_eq!(effects[0], Effect::TimedOut("launch".to_owned(), ActionResult::Abandon));
    assert_eq!(life.state(), State::Terminating);
}

#[test]
fn a_heartbeat_restarts_the_timeout_up_to_the_global_limit() {
    let mut life = lifecycle();
    life.handle(&Event::Tick, S).unwrap();
    for beat in 1..=200 {
        if life.handle(&Event::Heartbeat("launch".to_owned()), S * 20 * beat).is_err() {
            break;
        }
        life.handle(&Event::Tick, S * (20 * beat + 19)).unwrap();
    }
    assert_eq!(life.state(), State::Terminating);
    assert!(life.since() >= S * 3000 && life.since() < S * 3040, "gave up at {:?}", life.since());
}

#[test]
fn the_last_of_several_hooks_moves_on_and_an_abandon_ends_them_all() {
    let mut hooks = hooks();
    hooks.push(Hook { name: "second".to_owned(), ..hooks[1].clone() });
    for (result, expected) in
        [(ActionResult::Continue, State::TerminatingWait), (ActionResult::Abandon, State::TerminatingProceed)]
    {
        let mut life = Lifecycle::new(hooks.clone(), S, S * 2, Duration::ZERO);
        life.handle(&Event::ScaledIn, S).unwrap();
        life.handle(&Event::Tick, S * 3).unwrap();
        life.handle(&Event::TargetsGone, S * 4).unwrap();
        life.handle(&complete("terminate", result), S * 5).unwrap();
        assert_eq!(life.state(), expected);
    }
}

/// Every order of nine events, six deep: states only move forward, each effect comes at most once.
#[test]
fn no_order_of_events_goes_back_or_acts_twice() {
    let events = [
        Event::Tick,
        complete("launch", ActionResult::Continue),
        complete("launch", ActionResult::Abandon),
        complete("terminate", ActionResult::Continue),
        Event::Heartbeat("launch".to_owned()),
        Event::Registered,
        Event::ScaledIn,
        Event::TargetsGone,
        Event::PoweredOff,
    ];
    let rank = |state: State| match state {
        State::Pending => 0,
        State::PendingWait => 1,
        State::PendingProceed => 2,
        State::InService => 3,
        State::Terminating => 4,
        State::TerminatingWait => 5,
        State::TerminatingProceed => 6,
        State::Terminated => 7,
        other => panic!("{other:?} is not on this way"),
    };
    for order in 0..events.len().pow(6) {
        let (mut life, mut order, mut done) = (lifecycle(), order, Vec::new());
        for step in 1..=6 {
            let before = rank(life.state());
            let event = &events[order % events.len()];
            order /= events.len();
            done.extend(life.handle(event, S * 5 * step).unwrap_or_default());
            assert!(rank(life.state()) >= before, "{event:?} went back");
        }
        for once in [Effect::Register, Effect::Deregister, Effect::Machine(Order::PowerOff)] {
            assert!(done.iter().filter(|effect| **effect == once).count() <= 1, "{done:?}");
        }
    }
}

fn complete(hook: &str, result: ActionResult) -> Event {
    Event::Completed(hook.to_owned(), result)
}

fn hooks() -> Vec<Hook> {
    [("launch", Transition::Launching), ("terminate", Transition::Terminating)]
        .map(|(name, transition)| Hook {
            name: name.to_owned(),
            transition,
            heartbeat: S * 30,
            default_result: ActionResult::Abandon,
            notifies: None,
        })
        .to_vec()
}

fn lifecycle() -> Lifecycle {
    Lifecycle::new(hooks(), S, S * 2, Duration::ZERO)
}
