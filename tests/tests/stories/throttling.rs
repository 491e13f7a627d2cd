//! AWS refuses, fails and loses replies on the way in and on the way out: each hook is completed all the same, once.

use kiln_stage::Launch;
use kiln_stage::faults::{Fault, On, Span};
use kiln_stage::lifecycle::{Event, State};
use kiln_tests::story::{BOOT, Plan, serving, stream};
use kiln_tests::told::{completed_once, deregistered, no_request_failed, nothing_but_metrics};
use std::time::Duration;

const COMPLETE: &str = "CompleteLifecycleAction";

#[test]
fn hooks_are_completed_through_bad_weather() {
    let mut plan = Plan::default();
    plan.users.stream = Some(stream(3));
    plan.play(async |scene| {
        scene.fault(On::Call("DescribeAutoScalingInstances"), Fault::Throttled, Span::Times(2));
        scene.fault(On::Call(COMPLETE), Fault::ServerError, Span::Times(1));
        scene.fault(On::Call(COMPLETE), Fault::ReplyLost, Span::Times(1));
        let id = serving(scene, Launch::default(), &[]).await;
        completed_once(scene, &id, "kiln-launch", "Pending:Wait");

        let held = scene.hold_stream().await.expect("a stream");
        scene.fault(On::Apis, Fault::Throttled, Span::For(Duration::from_secs(4)));
        scene.fault(On::Call(COMPLETE), Fault::Throttled, Span::Times(2));
        scene.fault(On::Call(COMPLETE), Fault::ReplyLost, Span::Times(1));
        let notice = scene.at();
        scene.wish(&id, &Event::ScaledIn);
        assert_eq!(held.end().await.cut, None, "the stream in flight at the scale-in");
        scene.reaches(&id, State::Terminated, BOOT).await.expect("it is released");
        let completed = completed_once(scene, &id, "kiln-terminate", "Terminating:Wait");
        assert!(deregistered(scene, &id).iter().all(|(at, ..)| *at < completed), "told first");
        // A read that tells what came of the lost answer may fall into the time in service.
        nothing_but_metrics(scene, &id, notice, notice);
        no_request_failed(scene).await;
    });
}
