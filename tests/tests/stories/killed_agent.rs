//! The agent is killed in the middle of a drain: the next one goes on with the same drain and the same deadline.

use kiln_stage::lifecycle::{Event, State};
use kiln_stage::{Launch, Prop, Scene};
use kiln_tests::story::{BOOT, Plan, agent, inside, serving, stream};
use kiln_tests::told::{completed_once, deregistered, no_request_failed};
use std::time::Duration;

/// The drain lasts until the story lets it end, however slow the machine.
const HELD: &str = "[drain]\nscripts = [[\"/usr/local/bin/held\"]]\n";
const SCRIPT: &str = "#!/bin/sh\nuntil test -e /var/let-go; do sleep 0.2; done\n";
/// Seconds from the drain's beginning to the kill.
const APART: f64 = 5.0;
/// The deadline is shown in whole seconds.
const ROUNDED: f64 = 1.0;

#[test]
fn a_killed_agent_goes_on_with_the_same_drain() {
    let mut plan = Plan::default();
    plan.users.stream = Some(stream(3));
    // The agent is first: what the group has told already, it only reads.
    plan.set.timing.deregister_lag = Duration::from_secs(6);
    plan.props.extend([agent("held", HELD), Prop::program("/usr/local/bin/held", SCRIPT)]);
    plan.play(async |scene| {
        let id = serving(scene, Launch::default(), &[]).await;
        let held = scene.hold_stream().await.expect("a stream");
        let notice = scene.at();
        scene.wish(&id, &Event::ScaledIn);
        scene.asked(&id, "DeregisterTargets", notice, BOOT).await.expect("the drain begins");
        let first = scene.until_async(BOOT, async || deadline(scene, &id).await).await.expect("a deadline");
        // So far into the drain that a new one's deadline would be another.
        let later = scene.until(BOOT, || (scene.at() > notice + APART).then_some(()));
        later.await.expect("time passes");
        assert_eq!(held.end().await.cut, None, "the stream in flight at the scale-in");

        let killed = scene.at();
        scene.kill_agent(&id).await.expect("a kill");
        let restarted = async || (restarts(scene, &id).await == "1").then_some(());
        scene.until_async(BOOT, restarted).await.expect("it is started again, once");
        scene.phase(&id, "draining", BOOT).await.expect("it drains on");
        let second = scene.until_async(BOOT, async || deadline(scene, &id).await).await.expect("a deadline");
        let same = first.0 <= second.1 && second.0 <= first.1;
        assert!(same, "the deadline moved from {first:?} to {second:?}, killed at {killed:.1} s");

        inside(scene, &id, &["touch", "/var/let-go"]).await;
        scene.reaches(&id, State::Terminated, BOOT).await.expect("it is released");
        completed_once(scene, &id, "kiln-terminate", "Terminating:Wait");
        assert_eq!(deregistered(scene, &id).len(), 1, "told once: the state was read first");
        no_request_failed(scene).await;
    });
}

/// Between which moments of the play the drain's deadline lies: asking takes its time.
async fn deadline(scene: &Scene, id: &str) -> Option<(f64, f64)> {
    let asked = scene.at();
    let left = scene.status(id).await.ok()?["deadline_seconds"].as_f64()?;
    Some((asked + left - ROUNDED, scene.at() + left + ROUNDED))
}

async fn restarts(scene: &Scene, id: &str) -> String {
    let show = ["systemctl", "show", "--property=NRestarts", "--value", "kiln-agent.service"];
    inside(scene, id, &show).await.trim().to_owned()
}
