//! The metadata service is away: the instance serves on, nothing is deregistered, and a notice is seen when it is back.

use kiln_stage::Launch;
use kiln_stage::faults::{Fault, On, Span};
use kiln_stage::lifecycle::{Event, State};
use kiln_tests::story::{BOOT, Plan, serving};
use kiln_tests::told::{completed_once, deregistered, no_request_failed, nothing_but_metrics};
use std::time::Duration;

/// Longer than one bounded read.
const OUTAGE: Duration = Duration::from_secs(5);

#[test]
fn an_instance_serves_on_without_metadata() {
    Plan::default().play(async |scene| {
        let id = serving(scene, Launch::default(), &[]).await;
        let from = scene.at();
        for fault in [Fault::Closed, Fault::Unanswered] {
            scene.fault(On::Imds, fault, Span::Always);
            let failed = scene.asked(&id, STATE, scene.at() + 1.0, BOOT).await.expect("it asks on");
            assert!(!failed.succeeded(), "{failed:?}");
            let look = scene.look(&id, "without metadata").await;
            assert_eq!((look.healthz, look.readyz), (Some(200), Some(200)), "{:#}", look.status);
            assert_eq!(look.status["phase"], "serving");
            assert!(!look.status["errors"]["imds"].is_null(), "the status says so: {:#}", look.status);
            scene.mend();
        }
        let away = scene.at();
        nothing_but_metrics(scene, &id, from, away);
        assert_eq!(deregistered(scene, &id), [], "missing data changes nothing");
        let served = scene.until(BOOT, || (scene.answered_since(from) > 100).then_some(()));
        served.await.expect("it served all the while");

        // A scale-in that falls into an outage is seen after it.
        scene.fault(On::Imds, Fault::Unanswered, Span::For(OUTAGE));
        scene.wish(&id, &Event::ScaledIn);
        scene.reaches(&id, State::Terminated, BOOT).await.expect("it is released");
        completed_once(scene, &id, "kiln-terminate", "Terminating:Wait");
        no_request_failed(scene).await;
    });
}

const STATE: &str = "GET /latest/meta-data/autoscaling/target-lifecycle-state";
