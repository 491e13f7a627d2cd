//! EC2 takes a spot instance back: out of the target group at once, drained before the announced time, nobody notices.

use kiln_stage::Launch;
use kiln_stage::lifecycle::State;
use kiln_tests::story::{Plan, serving, stream};
use kiln_tests::told::{deregistered, no_request_failed, nothing_but_metrics, of};
use std::time::Duration;

/// EC2 announces two minutes ahead; here less, with room for the stream and the deregistration delay.
const AHEAD: Duration = Duration::from_secs(14);
const REBALANCE: &str = "GET /latest/meta-data/events/recommendations/rebalance";

#[test]
fn an_interruption_drains_before_its_time() {
    let mut plan = Plan::default();
    plan.users.stream = Some(stream(3));
    plan.play(async |scene| {
        let spot = Launch { spot: true, ..Launch::default() };
        let id = serving(scene, spot, &[]).await;
        let (healthy, stream) = (scene.at(), scene.hold_stream().await.expect("a stream"));
        let notice = scene.at();
        scene.spot_notice(&id, "terminate", AHEAD);
        assert_eq!(stream.end().await.cut, None, "the stream in flight at the notice");
        scene.phase(&id, "drained", AHEAD).await.expect("drained in time");
        let drained = scene.at();
        assert!(drained < notice + AHEAD.as_secs_f64() - 1.0, "drained only {:.1} s after", drained - notice);
        scene.reaches(&id, State::Terminated, AHEAD).await.expect("EC2 takes it back");

        let told = deregistered(scene, &id);
        assert_eq!(told.len(), 1, "{told:?}");
        // IMDS is asked for spot items every five seconds.
        assert!(told[0].0 - notice < 7.0, "deregistered {:.1} s after the notice", told[0].0 - notice);
        // EC2's own interruption holds no hook: nothing may be completed.
        assert_eq!(of(scene, &id, "CompleteLifecycleAction").len(), 1, "the launch hook alone");
        nothing_but_metrics(scene, &id, healthy, notice);
        no_request_failed(scene).await;
    });
}

#[test]
fn a_rebalance_recommendation_is_reported_and_nothing_else() {
    Plan::default().play(async |scene| {
        let id = serving(scene, Launch { spot: true, ..Launch::default() }, &[]).await;
        let healthy = scene.at();
        scene.rebalance(&id);
        // Read twice: what is done about it would have begun by then.
        for _ in 0..2 {
            let read = scene.asked(&id, REBALANCE, scene.at(), Duration::from_secs(12)).await;
            read.expect("IMDS is asked every five seconds");
        }
        let status = scene.status(&id).await.expect("the agent answers");
        assert_eq!(status["phase"], "serving", "{status:#}");
        assert!(status.to_string().contains("rebalanc"), "{status:#}");
        nothing_but_metrics(scene, &id, healthy, scene.at());
        no_request_failed(scene).await;
    });
}
