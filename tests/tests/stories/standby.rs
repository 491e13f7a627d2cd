//! Standby and back, and out of the group: hooks do not apply, the group sees to the target, and nobody notices.

use kiln_stage::Launch;
use kiln_stage::lifecycle::{Event, State};
use kiln_tests::story::{Plan, served, serving, stream};
use kiln_tests::told::{completed_once, no_request_failed, nothing_but_metrics, of};
use std::time::Duration;

/// From the wish to its end: the deregistration delay, with much room for a slow machine.
const WAY: Duration = Duration::from_mins(2);

#[test]
fn standby_is_left_again_without_a_hook() {
    let mut plan = Plan::default();
    plan.users.stream = Some(stream(3));
    plan.play(async |scene| {
        let id = serving(scene, Launch::default(), &[]).await;
        let (from, held) = (scene.at(), scene.hold_stream().await.expect("a stream"));
        scene.wish(&id, &Event::StandbyEntered);
        scene.phase(&id, "standby", WAY).await.expect("the agent knows");
        assert_eq!(held.end().await.cut, None, "the stream in flight at the wish");
        scene.reaches(&id, State::Standby, WAY).await.expect("standby");
        assert_eq!(scene.rows(&id), [], "the group has taken it out");

        let back = scene.at();
        scene.wish(&id, &Event::StandbyLeft);
        served(scene, &id).await;
        scene.phase(&id, "serving", WAY).await.expect("the agent knows");
        let look = scene.look(&id, "back").await;
        assert_eq!((look.healthz, look.readyz), (Some(200), Some(200)));
        assert!(scene.answered_since(back) > 0, "it takes requests again");

        completed_once(scene, &id, "kiln-launch", "Pending:Wait");
        assert_eq!(of(scene, &id, "CompleteLifecycleAction").len(), 1, "hooks do not apply");
        nothing_but_metrics(scene, &id, from, scene.at());
        no_request_failed(scene).await;
    });
}

#[test]
fn a_detached_instance_serves_on_for_whoever_asks_it() {
    Plan::default().play(async |scene| {
        let id = serving(scene, Launch::default(), &[]).await;
        let from = scene.at();
        scene.wish(&id, &Event::Detached);
        scene.phase(&id, "standby", WAY).await.expect("the agent knows");
        scene.reaches(&id, State::Detached, WAY).await.expect("detached");
        let page = scene.exec(
            &id,
            &[
                "bash",
                "-c",
                "exec 3<>/dev/tcp/127.0.0.1/80; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; head -n 1 <&3",
            ],
        );
        let page = page.await.expect("it is up");
        assert!(String::from_utf8_lossy(&page.stdout).contains("200"), "{page:?}");
        assert_eq!(of(scene, &id, "CompleteLifecycleAction").len(), 1, "hooks do not apply");
        nothing_but_metrics(scene, &id, from, scene.at());
        no_request_failed(scene).await;
    });
}
