//! EC2 takes a spot instance back: out of the target group at once, drained before the announced time, nobody notices.

use kiln_stage::lifecycle::State;
use kiln_stage::{Launch, Request, Scene};
use kiln_tests::story::{BOOT, Plan, agent, served, serving, stream};
use kiln_tests::told::{deregistered, no_request_failed, nothing_but_metrics, of};
use std::time::Duration;

/// EC2 announces two minutes ahead; here less, with room for a stream, a poll and a slow machine.
const AHEAD: Duration = Duration::from_secs(25);
const ACTION: &str = "GET /latest/meta-data/spot/instance-action";
const ADVICE: &str = "GET /latest/meta-data/events/recommendations/rebalance";

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
        at_the_first_read(scene, &id, ACTION, notice, told[0].0);
        // EC2's own interruption holds no hook: nothing may be completed.
        assert_eq!(of(scene, &id, "CompleteLifecycleAction").len(), 1, "the launch hook alone");
        nothing_but_metrics(scene, &id, healthy, notice);
        no_request_failed(scene).await;
    });
}

#[test]
fn a_rebalance_recommendation_is_reported_and_nothing_else() {
    Plan::default().play(async |scene| {
        let id =
            scene.launch(Launch { spot: true, ..Launch::default() }, &[]).await.expect("an instance boots");
        // There from the first read on: where it is only reported, the next one comes half a minute later.
        scene.rebalance(&id);
        let serves = served(scene, &id).await;
        let action = scene.asked(&id, ACTION, serves, BOOT).await.expect("IMDS is asked on");
        let status = scene.status(&id).await.expect("the agent answers");
        assert_eq!(status["phase"], "serving", "{status:#}");
        assert!(status["errors"]["rebalance"].is_string(), "{status:#}");
        nothing_but_metrics(scene, &id, serves, action.at);
        no_request_failed(scene).await;
    });
}

#[test]
fn a_rebalance_recommendation_is_heeded_where_the_configuration_says_so() {
    let mut plan = Plan::default();
    plan.props.push(agent("rebalance", "[spot]\nrebalance = \"drain\"\n"));
    plan.play(async |scene| {
        let id = serving(scene, Launch { spot: true, ..Launch::default() }, &[]).await;
        let notice = scene.at();
        scene.rebalance(&id);
        scene.phase(&id, "drained", BOOT).await.expect("it drains");
        let told = deregistered(scene, &id);
        assert_eq!(told.len(), 1, "{told:?}");
        at_the_first_read(scene, &id, ADVICE, notice, told[0].0);
        assert_eq!(of(scene, &id, "CompleteLifecycleAction").len(), 1, "the launch hook alone");
        no_request_failed(scene).await;
    });
}

/// Between the notice and the deregistration it was read once; one more read may have been answered as it came.
fn at_the_first_read(scene: &Scene, id: &str, item: &str, notice: f64, told: f64) {
    let own = |call: &&Request| call.action == item && call.instance.as_deref() == Some(id);
    let reads =
        scene.requests().iter().filter(own).filter(|call| call.at >= notice && call.at <= told).count();
    assert!((1..=2).contains(&reads), "{item} was read {reads} times before targets were told");
}
