//! An operator's `drain --wait`, a restart of the app, and `ready --wait`: users notice nothing, the group is not asked.

use kiln_stage::lifecycle::{Event, State};
use kiln_stage::{Launch, Scene};
use kiln_tests::story::{BOOT, Plan, served, serving, stream};
use kiln_tests::told::{completed_once, deregistered, no_request_failed, of};

#[test]
fn an_app_is_restarted_behind_a_drain() {
    let mut plan = Plan::default();
    plan.users.stream = Some(stream(3));
    plan.play(async |scene| {
        let id = serving(scene, Launch::default(), &[]).await;
        let held = scene.hold_stream().await.expect("a stream");
        let said = run(scene, &id, &["kiln-agent", "drain", "--wait"]).await;
        assert_eq!(held.end().await.cut, None, "the stream in flight at the drain");
        assert!(said.contains("drained"), "{said}");
        let look = scene.look(&id, "drained by hand").await;
        assert_eq!((look.healthz, look.readyz), (Some(503), Some(503)));
        assert_eq!(look.status["phase"], "drained", "{:#}", look.status);
        assert_eq!(deregistered(scene, &id).len(), 1);
        assert_eq!(scene.state(&id), Some(State::InService), "the group knows nothing of it");

        run(scene, &id, &["systemctl", "restart", "gunicorn@starter.service"]).await;
        let back = scene.at();
        run(scene, &id, &["kiln-agent", "ready", "--wait"]).await;
        let status = scene.status(&id).await.expect("the agent answers");
        assert_eq!(status["phase"], "serving", "{status:#}");
        assert_eq!(scene.rows(&id).len(), 1, "registered again");
        served(scene, &id).await;
        assert!(scene.answered_since(back) > 0, "it takes requests again");
        assert_eq!(of(scene, &id, "RegisterTargets").len(), 1);
        assert_eq!(of(scene, &id, "CompleteLifecycleAction").len(), 1, "the launch hook alone");

        // And it can still leave for good.
        scene.wish(&id, &Event::ScaledIn);
        scene.reaches(&id, State::Terminated, BOOT).await.expect("it is released");
        completed_once(scene, &id, "kiln-terminate", "Terminating:Wait");
        no_request_failed(scene).await;
    });
}

/// Runs a command that has to succeed; what it said.
async fn run(scene: &Scene, id: &str, command: &[&str]) -> String {
    let output = scene.exec(id, command).await.expect("it ends");
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(output.status.success(), "{command:?}: {said}");
    said
}
