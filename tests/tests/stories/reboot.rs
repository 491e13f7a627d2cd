//! An instance in service reboots: it leaves its target groups before, and is back in them after, without a dropped request.

use kiln_stage::Launch;
use kiln_stage::lifecycle::State;
use kiln_stage::targets::Health;
use kiln_tests::story::{BOOT, Plan, inside, serving};
use kiln_tests::told::{completed_once, deregistered, no_request_failed};

#[test]
fn an_instance_that_reboots_comes_back_into_its_target_group() {
    Plan::default().play(async |scene| {
        let script = "#!/bin/sh\necho once >>/var/ran\n";
        let id = serving(scene, Launch { user_data: Some(script.into()), ..Launch::default() }, &[]).await;
        inside(scene, &id, &["systemctl", "reboot"]).await;
        scene.reboots(&id, BOOT).await.expect("it reboots");
        assert_eq!(deregistered(scene, &id).len(), 1, "it left before its nginx did");
        let back = scene.until(BOOT, || {
            let rows = scene.rows(&id);
            (rows.len() == 1 && rows[0].2 == Health::Healthy).then(|| scene.at())
        });
        let back = back.await.expect("it is registered again and healthy");
        let asked = scene.until(BOOT, || (scene.answered_since(back) > 20).then_some(()));
        asked.await.expect("users are sent to it");
        assert_eq!(scene.state(&id), Some(State::InService), "its group never missed it");
        assert_eq!(inside(scene, &id, &["cat", "/var/ran"]).await, "once\n");
        completed_once(scene, &id, "kiln-launch", "Pending:Wait");
        no_request_failed(scene).await;
    });
}
