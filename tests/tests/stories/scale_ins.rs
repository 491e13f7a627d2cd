//! Scale-ins one after the other, each followed by a fresh launch: not one request fails, and none takes long.

use kiln_stage::Launch;
use kiln_stage::lifecycle::{Event, State};
use kiln_tests::story::{BOOT, Plan, agent, served, serving, stream};
use kiln_tests::told::{completed_once, drain_took, no_request_failed};
use std::io::Write;
use std::time::Duration;

/// The group's, which a drain without connections does not wait for.
const DELAY: Duration = Duration::from_mins(3);
/// Two seconds after `quiet` on a machine at rest, as `make scale-ins` shows; here the machine may do much besides.
const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_drain_without_connections_does_not_wait_for_the_delay() {
    let mut plan = Plan::default();
    plan.set.target_groups[0].delay = DELAY;
    plan.play(async |scene| {
        let id = serving(scene, Launch::default(), &[]).await;
        no_request_failed(scene).await;
        scene.wish(&id, &Event::ScaledIn);
        scene.phase(&id, "drained", BOOT).await.expect("it drains");
        assert_eq!(scene.state(&id), Some(State::Terminating), "its delay is not over");
        let took = drain_took(scene, &id).await;
        scene.tell(format!("drained in {} ms", took.as_millis()));
        assert!(took < SOON, "{took:?}");
    });
}

/// Two, which is one of an instance that came while another left; `make scale-ins COUNT=200` plays as many as it is told.
#[test]
fn consecutive_scale_ins_drop_nothing() {
    let count: u32 = std::env::var("KILN_SCALE_INS").map_or(2, |count| count.parse().expect("a number"));
    let mut plan = Plan { bound: Duration::from_hours(2), ..Plan::default() };
    plan.users.stream = Some(stream(2));
    // As the published figures have it; the hook holds the instance beyond it.
    plan.props.push(agent("quiet", "[drain]\nquiet = \"1s\"\n"));
    plan.play(async |scene| {
        let mut drains = Vec::new();
        let mut oldest = serving(scene, Launch::default(), &[]).await;
        let mut next = serving(scene, Launch::default(), &[]).await;
        for number in 1..=count {
            // The next but one boots meanwhile.
            let fresh = scene.launch(Launch::default(), &[]).await.expect("an instance boots");
            scene.wish(&oldest, &Event::ScaledIn);
            scene.reaches(&oldest, State::Terminated, BOOT).await.expect("it is released");
            completed_once(scene, &oldest, "kiln-launch", "Pending:Wait");
            completed_once(scene, &oldest, "kiln-terminate", "Terminating:Wait");
            drains.push(drain_took(scene, &oldest).await);
            scene.forget(&oldest);
            served(scene, &fresh).await;
            (oldest, next) = (next, fresh);
            assert_eq!(scene.failed(), 0, "a request failed in scale-in {number}");
            say(&format!("{:.0} s: {number} of {count}, drained in {:?}", scene.at(), drains.last()));
        }
        no_request_failed(scene).await;
        drains.sort();
        // Nearest rank.
        let rank = |percent: usize| drains[(drains.len() * percent).div_ceil(100).max(1) - 1].as_millis();
        let (median, p99, most) = (rank(50), rank(99), rank(100));
        say(&format!(
            "{count} scale-ins, no failed request; drains: median {median} ms, p99 {p99} ms, most {most} ms"
        ));
    });
}

fn say(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}
