//! The agent is killed in the middle of a drain: the next one goes on with the same drain and the same deadline.

use kiln_stage::Launch;
use kiln_stage::lifecycle::{Event, State};
use kiln_tests::story::{BOOT, Plan, serving, stream};
use kiln_tests::told::{completed_once, deregistered, no_request_failed};
use std::time::Duration;

/// Seconds from the drain's beginning to the kill, and how far off the deadline may be, which is shown in whole seconds.
const APART: f64 = 5.0;
const OFF: f64 = 2.0;

#[test]
fn a_killed_agent_goes_on_with_the_same_drain() {
    let mut plan = Plan::default();
    // Longer than the stream, which it would cut.
    plan.set.target_groups[0].delay = Duration::from_secs(12);
    plan.users.stream = Some(stream(8));
    plan.play(async |scene| {
        let id = serving(scene, Launch::default(), &[]).await;
        let held = scene.hold_stream().await.expect("a stream");
        let notice = scene.at();
        scene.wish(&id, &Event::ScaledIn);
        scene.asked(&id, "DeregisterTargets", notice, BOOT).await.expect("the drain begins");
        let deadline = async || scene.status(&id).await.ok()?["deadline_seconds"].as_f64();
        let whole = scene.until_async(BOOT, deadline).await.expect("a deadline");
        // So far into the drain that a new one's deadline would be another.
        let later =
            scene.until_async(BOOT, async || deadline().await.filter(|left| *left <= whole - APART)).await;
        let (left, asked) = (later.expect("time passes"), scene.at());

        scene.kill_agent(&id).await.expect("a kill");
        let pid = |status: &std::process::Output| String::from_utf8_lossy(&status.stdout).trim().to_owned();
        let main = ["systemctl", "show", "--property=NRestarts", "--value", "kiln-agent.service"];
        let after = scene.phase(&id, "draining", Duration::from_secs(10)).await.expect("it drains on");
        let restarts = pid(&scene.exec(&id, &main).await.expect("systemd answers"));
        assert_eq!(restarts, "1", "it was killed and started again");
        let (passed, now) = (scene.at() - asked, after["deadline_seconds"].as_f64().expect("a deadline"));
        assert!(
            (left - passed - now).abs() <= OFF,
            "the deadline moved: {left} s, {passed:.1} s later {now} s"
        );

        assert_eq!(held.end().await.cut, None, "the stream in flight at the scale-in");
        scene.reaches(&id, State::Terminated, BOOT).await.expect("it is released");
        completed_once(scene, &id, "kiln-terminate", "Terminating:Wait");
        assert_eq!(deregistered(scene, &id).len(), 1, "told once: the state was read first");
        no_request_failed(scene).await;
    });
}
