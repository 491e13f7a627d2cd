//! A shutdown that nobody announced: the agent drains first, what serves is stopped after it, and nobody notices.

use kiln_stage::Launch;
use kiln_tests::story::{Plan, serving, stream};
use kiln_tests::told::{deregistered, no_request_failed, of};
use serde_json::Value;
use std::time::Duration;

#[test]
fn a_shutdown_drains_before_anything_is_stopped() {
    let mut plan = Plan::default();
    // So long that the targets are told before its end on a slow machine, too.
    plan.users.stream = Some(stream(10));
    plan.set.target_groups[0].delay = Duration::from_secs(20);
    plan.play(async |scene| {
        let id = serving(scene, Launch::default(), &[]).await;
        let held = scene.hold_stream().await.expect("a stream");
        let asked = scene.at();
        scene.shut_down(&id).await;
        let off = scene.at();
        let end = held.end().await;
        assert_eq!(end.cut, None, "the stream in flight at the shutdown");
        scene.off(&id).expect("it is off").expect("by itself");
        assert!(
            asked < end.at && end.at < off,
            "asked at {asked:.1} s, stream over at {:.1} s, off at {off:.1} s",
            end.at
        );

        let told = deregistered(scene, &id);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            asked < told[0].0 && told[0].0 < end.at,
            "told at {:.1} s, not before the rest ended",
            told[0].0
        );
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
