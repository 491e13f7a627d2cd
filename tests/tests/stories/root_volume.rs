//! An instance refresh replaces the root volume: the same instance from a new disk, let in by its launch hook once more.

use kiln_stage::Launch;
use kiln_stage::lifecycle::{ActionResult, Event, State};
use kiln_tests::story::{BOOT, Plan, inside, served, serving, stream};
use kiln_tests::told::{completed, completed_once, no_request_failed};

/// Tells how often user data ran on this disk.
const SCRIPT: &str = "#!/bin/sh\necho ran >>/var/ran\n";

#[test]
fn a_new_root_is_a_new_life_of_the_same_instance() {
    let mut plan = Plan::default();
    plan.users.stream = Some(stream(3));
    // Nothing tells the instance that it is asked for: the metadata service knows no state for a new root.
    for hook in plan.set.hooks.iter_mut().filter(|hook| hook.name == "kiln-terminate") {
        hook.default_result = ActionResult::Continue;
    }
    plan.play(async |scene| {
        let how = Launch { user_data: Some(SCRIPT.into()), ..Launch::default() };
        let id = serving(scene, how, &[]).await;
        completed_once(scene, &id, "kiln-launch", "Pending:Wait");
        inside(scene, &id, &["touch", "/var/of-the-old-root"]).await;
        let boot = inside(scene, &id, BOOT_ID).await;

        let held = scene.hold_stream().await.expect("a stream");
        scene.wish(&id, &Event::RootReplacement);
        assert_eq!(held.end().await.cut, None, "the stream in flight at the wish");
        scene.reaches(&id, State::ReplacingRootVolumeWait, BOOT).await.expect("it has left its targets");
        let wait = scene.at();
        scene
            .reaches(&id, State::ReplacingRootVolumeProceed, BOOT)
            .await
            .expect("the hook's timeout decides");
        // The new root is up, and its agent asks where the instance stands before EC2 has told the group.
        let boots = scene.asked(&id, "GET /latest/user-data", wait, BOOT).await.expect("it boots").at;
        scene.asked(&id, "DescribeAutoScalingInstances", boots, BOOT).await.expect("the new agent asks");
        assert_eq!(scene.state(&id), Some(State::ReplacingRootVolumeProceed));
        scene.wish(&id, &Event::RootReplaced);
        served(scene, &id).await;

        assert_eq!(completed(scene, &id, "kiln-launch", "Pending:Wait").len(), 2, "one for each root");
        assert_eq!(completed(scene, &id, "kiln-terminate", "ReplacingRootVolume:Wait").len(), 0);
        assert_ne!(inside(scene, &id, BOOT_ID).await, boot);
        assert_eq!(inside(scene, &id, &["cat", "/var/ran"]).await, "ran\n", "once on this disk");
        assert_eq!(inside(scene, &id, &["ls", "/var/of-the-old-root"]).await, "", "it is another disk");
        let status = scene.status(&id).await.expect("the agent answers");
        assert_eq!(
            (&status["phase"], &status["errors"]),
            (&"serving".into(), &serde_json::json!({})),
            "{status:#}"
        );
        no_request_failed(scene).await;
    });
}

const BOOT_ID: &[&str] = &["cat", "/proc/sys/kernel/random/boot_id"];
