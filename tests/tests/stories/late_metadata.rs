//! A metadata service that is late or throttled at the boot: waited for, never taken for "no user data".

use kiln_stage::Launch;
use kiln_stage::faults::{Fault, On, Span};
use kiln_tests::story::{Plan, inside, serving};
use kiln_tests::told::{completed_once, no_request_failed};
use std::time::Duration;

const SCRIPT: &str = "#!/bin/sh\necho ran >>/var/ran\n";

#[test]
fn metadata_that_is_a_minute_late_is_waited_for() {
    begins_after(Fault::Unanswered, Duration::from_mins(1));
}

#[test]
fn metadata_that_throttles_the_boot_is_asked_again() {
    begins_after(Fault::Throttled, Duration::from_secs(20));
}

fn begins_after(fault: Fault, span: Duration) {
    Plan::default().play(async |scene| {
        scene.fault(On::Imds, fault, Span::For(span));
        let id = serving(scene, Launch { user_data: Some(SCRIPT.into()), ..Launch::default() }, &[]).await;
        assert!(scene.at() > span.as_secs_f64(), "it cannot have run before the service was there");
        assert_eq!(inside(scene, &id, &["cat", "/var/ran"]).await, "ran\n");
        completed_once(scene, &id, "kiln-launch", "Pending:Wait");
        no_request_failed(scene).await;
    });
}
