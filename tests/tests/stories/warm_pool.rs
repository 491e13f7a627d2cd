//! The warm pool: both passes of the launch hook, and the way back from service, by each kind of pool.

use kiln_stage::lifecycle::{Event, Pool, State};
use kiln_stage::{Launch, Scene};
use kiln_tests::story::{BOOT, Plan, inside, served, stream};
use kiln_tests::told::{completed, completed_once, no_request_failed, nothing_but_metrics};
use std::time::Duration;

/// Tells one boot from another, and how often user data ran on this disk.
const SCRIPT: &str = "#!/bin/sh\necho once >>/var/lib/user-data-ran\n";

/// From a wish of the group's to the end of the way: the deregistration delay, a drain, a power-off, on a slow machine.
const WAY: Duration = Duration::from_mins(2);

#[test]
fn a_stopped_instance_is_started_into_service_and_stopped_again() {
    pooled(Pool::Stopped);
}

#[test]
fn a_running_instance_is_called_and_returned_without_a_reboot() {
    pooled(Pool::Running);
}

#[test]
fn a_hibernated_instance_resumes_into_service() {
    pooled(Pool::Hibernated);
}

fn pooled(pool: Pool) {
    let mut plan = Plan::default();
    plan.users.stream = Some(stream(3));
    plan.play(async |scene| {
        let how = Launch { user_data: Some(SCRIPT.into()), pool: Some(pool), ..Launch::default() };
        let id = scene.launch(how, &[]).await.expect("an instance boots");
        scene.reaches(&id, State::WarmedPendingWait(pool), BOOT).await.expect("the first pass");
        let first = boot_id(scene, &id).await;
        scene.reaches(&id, State::Warmed(pool), BOOT).await.expect("it is in the pool");
        completed_once(scene, &id, "kiln-launch", "Warmed:Pending:Wait");
        assert_eq!(scene.is_on(&id), pool != Pool::Stopped);
        assert_eq!(scene.rows(&id), [], "an instance of the pool is no target");

        scene.wish(&id, &Event::Called);
        let called = served(scene, &id).await;
        completed_once(scene, &id, "kiln-launch", "Pending:Wait");
        let second = boot_id(scene, &id).await;
        assert_eq!(first != second, pool == Pool::Stopped, "{first} {second}");
        assert_eq!(inside(scene, &id, &["cat", "/var/lib/user-data-ran"]).await, "once\n");
        nothing_but_metrics(scene, &id, called, scene.at());

        let held = scene.hold_stream().await.expect("a stream");
        scene.wish(&id, &Event::Returned(pool));
        assert_eq!(held.end().await.cut, None, "the stream in flight at the scale-in");
        scene.reaches(&id, State::Warmed(pool), WAY).await.expect("it is in the pool again");
        completed_once(scene, &id, "kiln-terminate", "Warmed:Pending:Wait");

        // And the same once more: nothing of the first service is left.
        scene.wish(&id, &Event::Called);
        served(scene, &id).await;
        assert_eq!(completed(scene, &id, "kiln-launch", "Pending:Wait").len(), 2);
        no_request_failed(scene).await;
    });
}

async fn boot_id(scene: &Scene, id: &str) -> String {
    inside(scene, id, &["cat", "/proc/sys/kernel/random/boot_id"]).await
}
