//! User data and the end of a boot: a script that reboots, and power cuts at each step.

use kiln_stage::{Launch, Scene};
use kiln_tests::story::{BOOT, Plan, inside, served};
use kiln_tests::told::{completed_once, no_request_failed};

/// Reboots in two ways; each part leaves a line for each time that it ran.
const REBOOTS: &str = r#"#kiln
[[run]]
name = "asks-and-ends"
command = ["sh", "-c", "echo ran >>/var/asks-and-ends; systemctl reboot"]
[[run]]
name = "asks-and-hangs"
command = ["sh", "-c", "echo ran >>/var/asks-and-hangs; [ $(wc -l </var/asks-and-hangs) = 2 ] || { systemctl reboot; sleep 300; }"]
timeout = "5m"
[[run]]
name = "last"
command = ["sh", "-c", "echo ran >>/var/last"]
"#;

/// Waits to be cut off the first time, and does its work the second.
const CUT: &str = "#!/bin/sh
echo begun >>/var/begun
[ \"$(wc -l </var/begun)\" -ge 2 ] || sleep 300
echo done >>/var/done
";

#[test]
fn a_script_that_reboots_is_gone_on_with_after_it() {
    Plan::default().play(async |scene| {
        let how = Launch { user_data: Some(REBOOTS.into()), ..Launch::default() };
        let id = scene.launch(how, &[]).await.expect("an instance boots");
        for _ in 0..2 {
            scene.reboots(&id, BOOT).await.expect("its script reboots it");
            let answers =
                scene.requests().iter().filter(|call| call.action == "CompleteLifecycleAction").count();
            assert_eq!(answers, 0, "neither CONTINUE nor ABANDON before the work is done");
        }
        served(scene, &id).await;
        assert_eq!(lines(scene, &id, "/var/asks-and-ends").await, 1, "it ended well: done");
        assert_eq!(lines(scene, &id, "/var/asks-and-hangs").await, 2, "it was cut off: run again");
        assert_eq!(lines(scene, &id, "/var/last").await, 1);
        completed_once(scene, &id, "kiln-launch", "Pending:Wait");
        no_request_failed(scene).await;
    });
}

#[test]
fn a_power_cut_at_any_step_leaves_not_done_or_done() {
    Plan::default().play(async |scene| {
        let how = Launch { user_data: Some(CUT.into()), ..Launch::default() };
        let id = scene.launch(how, &[]).await.expect("an instance boots");

        // Before anything was run: as soon as it asks who it is.
        scene.asked(&id, "GET /latest/meta-data/instance-id", 0.0, BOOT).await.expect("it asks");
        again(scene, &id).await;
        // In the middle of the script; which of both boots it began in does not matter.
        until(scene, &id, "/var/begun").await;
        again(scene, &id).await;
        // As soon as its work is done: the result may have been marked, or not.
        until(scene, &id, "/var/done").await;
        again(scene, &id).await;
        served(scene, &id).await;
        let (begun, done) = (lines(scene, &id, "/var/begun").await, lines(scene, &id, "/var/done").await);
        assert!(begun == done + 1, "begun {begun} times, done {done} times: one was cut off");
        // Long after: done stays done.
        again(scene, &id).await;
        served(scene, &id).await;
        assert_eq!(lines(scene, &id, "/var/done").await, done);
        let report = inside(scene, &id, &["cat", "/run/kiln/bootstrap.json"]).await;
        assert!(report.contains("\"outcome\":\"ok\""), "{report}");
        completed_once(scene, &id, "kiln-launch", "Pending:Wait");
    });
}

async fn again(scene: &Scene, id: &str) {
    scene.tell(format!("{id}: power cut"));
    scene.kill(id).await;
    scene.power_on(id).await.expect("it boots again");
}

async fn until(scene: &Scene, id: &str, file: &str) {
    let there = scene.until_async(BOOT, async || (lines(scene, id, file).await > 0).then_some(()));
    there.await.unwrap_or_else(|| panic!("{file} is written"));
}

async fn lines(scene: &Scene, id: &str, file: &str) -> usize {
    inside(scene, id, &["cat", file]).await.lines().count()
}
