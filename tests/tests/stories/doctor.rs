//! `kiln-agent doctor` on an instance that serves: nothing to mend where all is well, and a way out for each thing that is not.

use kiln_stage::faults::{Fault, On, Span};
use kiln_stage::targets::Health;
use kiln_stage::{Launch, Scene, arn};
use kiln_tests::story::{Plan, agent, serving};
use kiln_tests::told::no_request_failed;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// As long as the target group's deregistration delay, as it should be.
const DRAIN: Duration = Duration::from_secs(20);
/// Of the machine that plays the stage, which containers share: its clock is nobody's to keep, and it may be full.
const OF_THE_MACHINE: [&str; 3] = ["clock.synchronised", "disk.room", "memory.room"];

#[test]
fn doctor_finds_nothing_to_mend_where_all_is_well() {
    plan().play(async |scene| {
        let id = serving(scene, Launch::default(), &[]).await;
        let report = Doctor::ask(scene, &id).await;
        assert_eq!(report.code, Some(0), "{:#}", report.document);
        let own = |check: &&Value| !OF_THE_MACHINE.contains(&name(check));
        let bad: Vec<_> = report.found(&["warn", "fail"]).filter(own).collect();
        assert!(bad.is_empty(), "{bad:#?}");
        // There are no such files: no environment of the daemon's own, no secrets.
        let skipped: Vec<_> = report.found(&["skipped"]).map(name).collect();
        assert_eq!(skipped, ["files.environment", "files.secrets"]);
        let ok: BTreeSet<_> = report.found(&["ok"]).map(name).collect();
        for check in [
            "imds.v2",
            "imds.role",
            "aws.reachable",
            "iam.CompleteLifecycleAction",
            "iam.RegisterTargets",
            "iam.DescribeTargetGroups",
            "iam.PutMetricData",
            "group.member",
            "group.processes",
            "hook.launch",
            "hook.terminate-time",
            "targets.listener",
            "targets.health-check",
            "targets.delay",
            "targets.health",
            "clock.difference",
            "units.order",
            "units.sandbox",
            "agent.answers",
            "checks.pass",
            "ports.healthz",
            "nginx.stub-status",
        ] {
            assert!(ok.contains(check), "{check} is not ok: {:#}", report.document);
        }
        unchanged(scene, &id).await;
    });
}

#[test]
fn doctor_names_each_thing_that_is_wrong_with_its_way_out() {
    plan().play(async |scene| {
        let id = serving(scene, Launch::default(), &[]).await;
        for action in ["DeregisterTargets", "RecordLifecycleActionHeartbeat"] {
            scene.fault(On::Call(action), Fault::Denied, Span::Always);
        }
        scene.notify("kiln-launch", "arn:aws:sqs:us-east-1:123456789012:launches");
        scene.suspend("AddToLoadBalancer");
        scene.delay(0, Duration::from_mins(5));
        let report = Doctor::ask(scene, &id).await;
        assert_eq!(report.code, Some(1), "{:#}", report.document);
        let failed: BTreeSet<_> = report.found(&["fail"]).map(name).collect();
        let expected = [
            "group.processes",
            "hook.launch",
            "hook.terminate-time",
            "iam.DeregisterTargets",
            "iam.RecordLifecycleActionHeartbeat",
        ];
        assert_eq!(failed, BTreeSet::from(expected), "{:#}", report.document);
        for (check, found, remedy) in [
            ("iam.DeregisterTargets", "not authorized to perform: elasticloadbalancing:DeregisterTargets", "policy below"),
            ("iam.RecordLifecycleActionHeartbeat", "not authorized", "policy below"),
            ("hook.launch", "kiln-launch) notifies somebody else", "lifecycle.launch_hook"),
            ("hook.terminate-time", "heartbeats are denied", "raise HeartbeatTimeout"),
            ("group.processes", "AddToLoadBalancer is suspended", "resume-processes --auto-scaling-group-name kiln-rehearsal"),
            ("targets.delay", "5m: each termination takes that long", "lower deregistration_delay.timeout_seconds"),
        ] {
            let says = report.found(&["warn", "fail"]).find(|known| name(known) == check);
            let says = says.unwrap_or_else(|| panic!("nothing of {check}: {:#}", report.document));
            let text = |key: &str| says[key].as_str().unwrap_or_default().to_owned();
            assert!(text("found").contains(found) && text("remedy").contains(remedy), "{says:#}");
        }
        // The policy that would do, bound to what it is about.
        let policy = report.document["missing_policy"]["Statement"].as_array().expect("a policy").clone();
        let group = "arn:aws:autoscaling:us-east-1:123456789012:autoScalingGroup:*:autoScalingGroupName/kiln-rehearsal";
        let [on_group, on_targets] = policy.as_slice() else { panic!("{policy:#?}") };
        assert_eq!(on_group["Action"], serde_json::json!(["autoscaling:RecordLifecycleActionHeartbeat"]));
        assert_eq!(on_group["Resource"], group);
        assert_eq!(on_targets["Action"], serde_json::json!(["elasticloadbalancing:DeregisterTargets"]));
        assert_eq!(on_targets["Resource"], serde_json::json!([arn("kiln-rehearsal")]));
        unchanged(scene, &id).await;
    });
}

/// A group whose times fit the drain's.
fn plan() -> Plan {
    let mut plan = Plan::default();
    plan.set.target_groups[0].delay = DRAIN;
    plan.props.push(agent("doctor", "[drain]\nmax = \"20s\"\n"));
    plan
}

/// The instance is where it was, and nobody has noticed anything.
async fn unchanged(scene: &mut Scene, id: &str) {
    assert_eq!(scene.rows(id), [(0, 80, Health::Healthy)]);
    let status = scene.status(id).await.expect("the agent answers");
    assert_eq!((&status["phase"], &status["ready"]), (&"serving".into(), &true.into()), "{status:#}");
    no_request_failed(scene).await;
}

/// What it said, and how it ended.
struct Doctor {
    code: Option<i32>,
    document: Value,
}

impl Doctor {
    async fn ask(scene: &Scene, id: &str) -> Self {
        let output = scene.exec(id, &["kiln-agent", "doctor", "--json"]).await.expect("it ends");
        let said = || String::from_utf8_lossy(&output.stderr).into_owned();
        let document =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said()));
        Self { code: output.status.code(), document }
    }

    /// The findings that came out in one of these ways; each that asks for something says what.
    fn found(&self, results: &[&str]) -> impl Iterator<Item = &Value> {
        let checks = self.document["checks"].as_array().expect("a list").iter();
        checks.filter(|check| {
            let result = check["result"].as_str().expect("a result");
            assert!(
                check["remedy"].is_string() || !matches!(result, "warn" | "fail"),
                "no way out: {check:#}"
            );
            results.contains(&result)
        })
    }
}

fn name(check: &Value) -> &str {
    check["check"].as_str().expect("a name")
}
