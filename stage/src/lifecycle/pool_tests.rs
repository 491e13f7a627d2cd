//! The ways around: the warm pool, standby, detaching, a new root volume.

use super::*;

const S: Duration = Duration::from_secs(1);

/// Plays events, a second apart, and returns the names of the states that were entered and the machine's orders.
fn play(life: &mut Lifecycle, from: u32, events: &[Event]) -> Vec<String> {
    let mut seen = Vec::new();
    for (event, at) in events.iter().zip(from..) {
        for effect in life.handle(event, S * at).expect("an event that is taken") {
            match effect {
                Effect::Moved(_, to) => seen.push(to.name().to_owned()),
                Effect::Machine(order) => seen.push(format!("{order:?}")),
                Effect::Register => seen.push("register".to_owned()),
                Effect::Deregister => seen.push("deregister".to_owned()),
                Effect::TimedOut(hook, _) => seen.push(format!("{hook} timed out")),
            }
        }
    }
    seen
}

#[test]
fn through_the_pool_into_service_and_back() {
    let mut life = new().into_pool(Pool::Stopped);
    assert_eq!(life.target(), Some("Warmed:Stopped"));
    let seen = play(&mut life, 1, &[Event::Tick, done("launch"), Event::Stopped]);
    let pooled = ["Warmed:Pending:Wait", "Warmed:Pending:Proceed", "Stop", "Warmed:Stopped"];
    assert_eq!(seen, pooled, "the first pass of the launch hook");

    let seen = play(&mut life, 10, &[Event::Called]);
    assert_eq!(seen, ["Start", "Pending"]);
    assert_eq!(life.target(), Some("InService"), "no launch: the instance is known");
    let seen = play(&mut life, 12, &[Event::Tick, done("launch"), Event::Registered]);
    assert_eq!(seen, ["Pending:Wait", "Pending:Proceed", "register", "InService"], "the second pass");

    let seen = play(&mut life, 20, &[Event::Returned(Pool::Stopped), Event::Tick, Event::Tick, Event::Tick]);
    assert_eq!(seen, ["Warmed:Pending", "deregister"], "the way back leaves the target groups first");
    assert_eq!(life.target(), Some("Warmed:Stopped"));
    play(&mut life, 30, &[Event::TargetsGone]);
    assert_eq!(life.handle(&done("launch"), S * 31), Err(NoActiveAction), "not the launch hook's action");
    let seen = play(&mut life, 32, &[done("terminate"), Event::Stopped]);
    assert_eq!(seen, ["Warmed:Pending:Proceed", "Stop", "Warmed:Stopped"]);

    let seen = play(&mut life, 40, &[Event::ScaledIn, Event::Tick, done("terminate"), Event::PoweredOff]);
    let gone = [
        "Warmed:Terminating",
        "Warmed:Terminating:Wait",
        "Warmed:Terminating:Proceed",
        "PowerOff",
        "Warmed:Terminated",
    ];
    assert_eq!(seen, gone);
}

#[test]
fn a_running_pool_starts_nothing_and_a_hibernated_one_is_resumed() {
    for (pool, expected) in [
        (Pool::Running, &["Warmed:Pending:Proceed", "Warmed:Running", "Pending"][..]),
        (Pool::Hibernated, &["Warmed:Pending:Proceed", "Hibernate", "Warmed:Hibernated", "Start", "Pending"]),
    ] {
        let mut life = new().into_pool(pool);
        play(&mut life, 1, &[Event::Tick]);
        let mut seen = play(&mut life, 2, &[done("launch")]);
        seen.extend(play(&mut life, 3, &[Event::Stopped, Event::Called]));
        assert_eq!(seen, expected);
    }
}

#[test]
fn hooks_do_not_apply_to_standby() {
    let mut life = serving();
    let seen = play(&mut life, 10, &[Event::StandbyEntered, Event::Tick, Event::Tick, Event::TargetsGone]);
    assert_eq!(seen, ["EnteringStandby", "deregister", "Standby"]);
    assert_eq!(life.target(), Some("Standby"));
    let seen = play(&mut life, 20, &[Event::StandbyLeft, Event::Tick, Event::Registered]);
    assert_eq!(seen, ["Pending", "Pending:Proceed", "register", "InService"]);
    let seen = play(&mut life, 30, &[Event::ScaledIn, Event::Tick, Event::Tick, Event::Tick]);
    assert_eq!(seen, ["Terminating", "deregister"], "the next leave is one of its own");
}

#[test]
fn a_detached_instance_is_nobodys() {
    let mut life = serving();
    let seen = play(&mut life, 10, &[Event::Detached, Event::Tick, Event::Tick, Event::TargetsGone]);
    assert_eq!(seen, ["Detaching", "deregister", "Detached"]);
    assert_eq!(life.target(), Some("Detached"));
    assert_eq!(play(&mut life, 20, &[Event::ScaledIn, Event::StandbyEntered, Event::Called]), [""; 0]);
    assert_eq!(play(&mut life, 30, &[Event::PoweredOff]), ["Terminated"]);
}

#[test]
fn a_new_root_is_let_go_by_the_terminate_hook_and_in_by_the_launch_hook() {
    let mut life = serving();
    let leave = [Event::RootReplacement, Event::Tick, Event::TargetsGone];
    assert_eq!(
        play(&mut life, 10, &leave),
        ["ReplacingRootVolume", "deregister", "ReplacingRootVolume:Wait"]
    );
    assert_eq!(life.target(), Some("InService"));
    let seen = play(&mut life, 20, &[Event::RootReplaced, Event::Tick, done("terminate")]);
    assert_eq!(seen, ["ReplacingRootVolume:Proceed", "ReplaceRoot"]);
    let come = [Event::Tick, Event::RootReplaced, Event::Tick];
    assert_eq!(play(&mut life, 30, &come), ["RootVolumeReplaced", "Pending"]);
    assert_eq!(life.target(), Some("InService"));
    let come = [Event::Tick, done("launch"), Event::Registered];
    assert_eq!(play(&mut life, 33, &come), ["Pending:Wait", "Pending:Proceed", "register", "InService"]);
    let seen = play(&mut life, 40, &[Event::ScaledIn, Event::Tick]);
    assert_eq!(seen, ["Terminating", "deregister"], "the next leave is one of its own");
}

#[test]
fn a_terminate_hook_that_nobody_answers_does_not_keep_the_old_root() {
    for result in [ActionResult::Continue, ActionResult::Abandon] {
        let mut life = serving();
        play(&mut life, 10, &[Event::RootReplacement, Event::Tick, Event::TargetsGone]);
        let answer = Event::Completed("terminate".to_owned(), result);
        assert_eq!(play(&mut life, 11, &[answer]), ["ReplacingRootVolume:Proceed", "ReplaceRoot"]);
    }
    let mut life = serving();
    play(&mut life, 10, &[Event::RootReplacement, Event::Tick, Event::TargetsGone]);
    let seen = play(&mut life, 42, &[Event::Tick]);
    assert_eq!(seen, ["terminate timed out", "ReplacingRootVolume:Proceed", "ReplaceRoot"]);
}

#[test]
fn an_abandoned_launch_into_the_pool_terminates_there() {
    let mut life = new().into_pool(Pool::Running);
    play(&mut life, 1, &[Event::Tick]);
    let abandon = Event::Completed("launch".to_owned(), ActionResult::Abandon);
    assert_eq!(
        play(&mut life, 2, &[abandon, Event::Tick]),
        ["Warmed:Terminating", "Warmed:Terminating:Wait"]
    );
}

/// Every order of these events, six deep: what is gone stays gone, and an order to a machine fits its state.
#[test]
fn no_order_of_events_stops_what_serves() {
    let events = [
        Event::Tick,
        done("launch"),
        done("terminate"),
        Event::Registered,
        Event::Returned(Pool::Stopped),
        Event::Called,
        Event::StandbyEntered,
        Event::TargetsGone,
        Event::Stopped,
    ];
    for order in 0..events.len().pow(6) {
        let (mut life, mut order) = (new().into_pool(Pool::Stopped), order);
        for step in 1..=6 {
            let event = &events[order % events.len()];
            order /= events.len();
            for effect in life.handle(event, S * 5 * step).unwrap_or_default() {
                match effect {
                    Effect::Machine(Order::Stop) => {
                        assert_eq!(life.state(), State::WarmedPendingProceed(Pool::Stopped));
                    }
                    Effect::Register => assert_eq!(life.state(), State::PendingProceed),
                    Effect::Machine(Order::PowerOff) => panic!("nobody wanted it gone"),
                    _ => {}
                }
            }
        }
    }
}

fn serving() -> Lifecycle {
    let mut life = new();
    play(&mut life, 1, &[Event::Tick, done("launch"), Event::Registered]);
    assert_eq!(life.state(), State::InService);
    life
}

fn done(hook: &str) -> Event {
    Event::Completed(hook.to_owned(), ActionResult::Continue)
}

fn new() -> Lifecycle {
    let hooks = [("launch", Transition::Launching), ("terminate", Transition::Terminating)];
    let hooks = hooks.map(|(name, transition)| Hook {
        name: name.to_owned(),
        transition,
        heartbeat: S * 30,
        default_result: ActionResult::Abandon,
        notifies: None,
    });
    Lifecycle::new(hooks.to_vec(), S, S, Duration::ZERO)
}
