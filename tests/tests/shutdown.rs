//! A shutdown that nobody announced: the agent drains first, what serves is stopped after it, and nobody notices.

use kiln_stage::Launch;
use kiln_tests::story::{Plan, serving, stream};
use kiln_tests::told::{deregistered, no_request_failed, of};
use serde_json::Value;

#[test]
fn a_shutdown_drains_before_anything_is_stopped() {
    let mut plan = Plan::default();
    plan.users.stream = Some(stream(4));
    plan.play(async |scene| {
        let id = serving(scene, Launch::default(), &[]).await;
        let held = scene.hold_stream().await.expect("a stream");
        let asked = scene.at();
        scene.shut_down(&id).await;
        assert_eq!(held.end().await.cut, None, "the stream in flight at the shutdown");
        let took = scene.off(&id).expect("it is off").expect("by itself");
        assert!((4.0..25.0).contains(&took), "off after {took:.1} s");

        let told = deregistered(scene, &id);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].0 - asked < 3.0, "told {:.1} s after SIGRTMIN+4", told[0].0 - asked);
        assert_eq!(
            of(scene, &id, "CompleteLifecycleAction").len(),
            1,
            "the launch hook alone: none was owed"
        );

        let journal = scene.journal(&id).await;
        let at = |unit: &str| stopped(&journal, unit).unwrap_or_else(|| panic!("{unit} was never stopped"));
        let agent = at("kiln-agent.service");
        for unit in ["nginx.service", "gunicorn@starter.service"] {
            assert!(agent < at(unit), "{unit} was stopped before the agent had ended");
        }
        no_request_failed(scene).await;
    });
}

/// When systemd said that a unit was stopped, by its message id `SD_MESSAGE_UNIT_STOPPED`.
fn stopped(journal: &[u8], unit: &str) -> Option<u64> {
    const STOPPED: &str = "9d1aaa27d60140bd96365438aad20286";
    let text = String::from_utf8_lossy(journal);
    let mut entries = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let found = entries.find(|entry| entry["MESSAGE_ID"] == STOPPED && entry["UNIT"] == unit)?;
    found["__REALTIME_TIMESTAMP"].as_str()?.parse().ok()
}
