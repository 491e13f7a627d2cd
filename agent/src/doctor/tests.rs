//! The whole against fakes, and the judgements of the cloud by table.

use super::cloud::{Attributes, Cloud, GroupFacts, Settings, TargetGroup};
use super::trials::{Outcome, Trial};
use super::*;
use crate::board::TargetRow;
use crate::fake::{Asked, Fake, action, member, metadata as items, refusal, result, sdk};
use crate::group::Member;

mod cloud_table;
mod elsewhere;

const ARN: &str = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/web/6d0ec";

#[tokio::test]
async fn a_sound_instance_is_looked_at_without_touching_it() {
    let fake = Fake::start(|asked, _| world(asked)).await;
    let report = Box::pin(examine_with(&fake)).await;
    for check in
        ["imds.v2", "aws.reachable", "group.member", "hook.launch", "hook.terminate-time", "targets.health"]
    {
        let found = report.checks.iter().find(|finding| finding.check == check);
        assert_eq!(found.map(|finding| finding.result), Some(Result::Ok), "{check}: {found:?}");
    }
    assert_eq!(report.missing_policy, None);
    let bodies: Vec<String> = fake.asked().into_iter().map(|asked| asked.body).collect();
    for call in
        ["CompleteLifecycleAction", "RecordLifecycleActionHeartbeat", "DeregisterTargets", "RegisterTargets"]
    {
        let made: Vec<_> = bodies.iter().filter(|body| action(body) == call).collect();
        assert_eq!(made.len(), 1, "{call}");
        assert!(made[0].contains("i-00000000000000000") && !made[0].contains("i-0abc"), "{}", made[0]);
        assert!(!made[0].contains("to-service") && !made[0].contains("to-the-end"), "{}", made[0]);
    }
}

#[tokio::test]
async fn what_is_denied_becomes_the_policy_that_is_missing() {
    let denied = ["CompleteLifecycleAction", "DeregisterTargets", "DescribeLifecycleHooks"];
    let fake = Fake::start(move |asked, _| match action(&asked.body) {
        call if denied.contains(&call) => (403, refusal("AccessDenied").into_bytes()),
        _ => world(asked),
    })
    .await;
    let report = Box::pin(examine_with(&fake)).await;
    assert_eq!(report.result, Result::Fail);
    let policy = report.missing_policy.expect("something is denied");
    let expected = serde_json::json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": ["autoscaling:DescribeLifecycleHooks"], "Resource": "*" },
        { "Effect": "Allow", "Action": ["autoscaling:CompleteLifecycleAction"],
          "Resource": "arn:aws:autoscaling:eu-central-1:123456789012:autoScalingGroup:*:autoScalingGroupName/web" },
        { "Effect": "Allow", "Action": ["elasticloadbalancing:DeregisterTargets"], "Resource": [ARN] },
    ] });
    assert_eq!(policy, expected);
    let hook = report.checks.iter().find(|finding| finding.check == "hook.launch").expect("it is listed");
    assert_eq!(hook.result, Result::Skipped, "nothing is claimed of hooks that cannot be read");
}

#[tokio::test(start_paused = true)]
async fn silence_everywhere_ends_in_time_and_is_said_once() {
    // A socket that is bound and accepts nothing: connections are made, and no answer comes.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", silent.local_addr().expect("it is bound"));
    let imds = Arc::new(Imds::new(&url).expect("an address"));
    let aws = Arc::new(Aws::with_config(imds.clone(), sdk(&url)));
    let config = Config::parse("", "test").expect("it is valid");
    let began = tokio::time::Instant::now();
    let mut metadata = metadata::gather(&imds).await;
    let findings = metadata::judge(&metadata);
    let failed: Vec<_> = findings.iter().filter(|finding| finding.result == Result::Fail).collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0].check, "imds.v2");

    // The other way round: AWS alone is silent.
    (metadata.instance_id, metadata.region) = (Ok("i-0abc".to_owned()), Ok("eu-central-1".to_owned()));
    let asked = cloud::gather(&config, &metadata, &imds, &aws, None);
    let cloud = within(CLOUD, Box::pin(asked)).await;
    let findings = [permissions::judge(&cloud.trials, &metadata), hooks::judge(&cloud, &config)].concat();
    let failed: Vec<_> = findings.iter().filter(|finding| finding.result == Result::Fail).collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0].check, "aws.reachable");
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
    drop(silent);
}

#[tokio::test]
async fn a_group_that_is_not_listed_fails_and_is_no_sound_one_without_targets() {
    let fake = Fake::start(move |asked, _| match action(&asked.body) {
        call @ "DescribeAutoScalingGroups" => (200, result(call, "<AutoScalingGroups/>").into_bytes()),
        _ => world(asked),
    })
    .await;
    let report = Box::pin(examine_with(&fake)).await;
    let found = |check| report.checks.iter().find(|finding| finding.check == check).expect("it is listed");
    let group = found("group.member");
    assert!(group.result == Result::Fail, "{group:?}");
    assert!(group.remedy.as_deref().is_some_and(|remedy| remedy.contains("lifecycle.group")), "{group:?}");
    assert_eq!(found("group.processes").result, Result::Skipped);
    assert_eq!(found("iam.DescribeAutoScalingGroups").result, Result::Ok, "it was answered");
    assert!(
        report
            .checks
            .iter()
            .all(|finding| finding.check != "targets.attached" || finding.result == Result::Skipped)
    );
}

#[tokio::test]
async fn answers_without_sense_are_findings_too() {
    for garbage in ["", "<", "<DescribeAutoScalingInstancesResponse/>", "{}"] {
        let fake =
            Fake::start(
                move |asked, _| {
                    if asked.body.is_empty() { rest(asked) } else { (200, garbage.as_bytes().to_vec()) }
                },
            )
            .await;
        let report = Box::pin(examine_with(&fake)).await;
        assert!(report.checks.iter().any(|finding| finding.check == "group.member"), "{garbage}");
    }
}

#[test]
fn names_are_stable_and_the_document_says_what_it_must() {
    let finding = Finding::warn("hook.launch", "none", "add one").of("web");
    let report = Report::new(vec![finding, Finding::ok("imds.v2", "i-0abc")], None);
    let document = serde_json::to_value(&report).expect("it is plain");
    assert_eq!(document["result"], "warn");
    assert_eq!(
        document["checks"],
        serde_json::json!([
            { "check": "hook.launch", "of": "web", "result": "warn", "found": "none", "remedy": "add one" },
            { "check": "imds.v2", "result": "ok", "found": "i-0abc" },
        ])
    );
    assert!(document.get("missing_policy").is_none());
    assert_eq!((report.count(Result::Warn), report.count(Result::Fail)), (1, 0));
}

async fn examine_with(fake: &Fake) -> Report {
    examine_as(fake, "").await
}

/// With more configuration than the least.
async fn examine_as(fake: &Fake, more: &str) -> Report {
    let imds = Arc::new(Imds::new(&fake.url).expect("an address"));
    let aws = Arc::new(Aws::with_config(imds.clone(), sdk(&fake.url)));
    let root = tempfile::tempdir().expect("a folder");
    // Ports of nobody, so that no test asks the machine's own.
    let config = "health.listen = \"127.0.0.1:1\"\ndrain.ports = [1]\ndrain.stub_status = \"\"\n";
    let config = Config::parse(&format!("{config}{more}"), "test").expect("it is valid");
    Box::pin(examine(&config, root.path(), imds, aws)).await
}

fn world(asked: &Asked) -> (u16, Vec<u8>) {
    match answer(&asked.body) {
        Some((status, text)) => (status, text.into_bytes()),
        None => rest(asked),
    }
}

/// `CloudWatch`, which speaks CBOR, and the metadata service.
fn rest(asked: &Asked) -> (u16, Vec<u8>) {
    if asked.path.ends_with("PutMetricData") {
        let code = b"InvalidParameterValueException";
        return (400, [&[0xa1, 0x66][..], b"__type", &[0x78, 30], code].concat());
    }
    let (status, text) = items(
        asked,
        &[
            ("meta-data/instance-id", "i-0abc"),
            ("meta-data/local-ipv4", "10.0.0.7"),
            ("meta-data/placement/region", "eu-central-1"),
            (
                "meta-data/iam/info",
                r#"{"InstanceProfileArn":"arn:aws:iam::123456789012:instance-profile/web"}"#,
            ),
        ],
    );
    (status, text.into_bytes())
}

/// What AWS answers an instance in service.
fn answer(body: &str) -> Option<(u16, String)> {
    let fields = |list: &[(&str, &str)]| -> String {
        list.iter().map(|(name, value)| format!("<{name}>{value}</{name}>")).collect::<Vec<_>>().concat()
    };
    let hook = |name: &str, transition: &str, default: &str| {
        let given = [
            ("LifecycleHookName", name),
            ("LifecycleTransition", transition),
            ("HeartbeatTimeout", "1200"),
            ("GlobalTimeout", "120000"),
            ("DefaultResult", default),
        ];
        format!("<member>{}</member>", fields(&given))
    };
    let call = action(body);
    let inner = match call {
        "DescribeAutoScalingInstances" => return Some((200, member("InService"))),
        "CompleteLifecycleAction" | "RecordLifecycleActionHeartbeat" => {
            return Some((400, refusal("ValidationError")));
        }
        "DescribeAutoScalingGroups" => format!(
            "<AutoScalingGroups><member>{}<TargetGroupARNs><member>{ARN}</member></TargetGroupARNs></member></AutoScalingGroups>",
            fields(&[
                ("AutoScalingGroupName", "web"),
                (
                    "AutoScalingGroupARN",
                    "arn:aws:autoscaling:eu-central-1:123456789012:autoScalingGroup:0-1:autoScalingGroupName/web"
                ),
            ])
        ),
        "DescribeLifecycleHooks" => format!(
            "<LifecycleHooks>{}{}</LifecycleHooks>",
            hook("to-service", "autoscaling:EC2_INSTANCE_LAUNCHING", "ABANDON"),
            hook("to-the-end", "autoscaling:EC2_INSTANCE_TERMINATING", "CONTINUE"),
        ),
        "DescribeTargetGroups" => format!(
            "<TargetGroups><member>{}<LoadBalancerArns><member>lb</member></LoadBalancerArns></member></TargetGroups>",
            fields(&[
                ("TargetGroupArn", ARN),
                ("Port", "80"),
                ("HealthCheckProtocol", "HTTP"),
                ("HealthCheckPath", "/healthz"),
                ("HealthCheckIntervalSeconds", "10"),
                ("HealthCheckTimeoutSeconds", "5"),
                ("HealthyThresholdCount", "2"),
                ("UnhealthyThresholdCount", "2"),
            ])
        ),
        "DescribeTargetGroupAttributes" => format!(
            "<Attributes><member>{}</member></Attributes>",
            fields(&[("Key", "deregistration_delay.timeout_seconds"), ("Value", "300")])
        ),
        "DescribeTargetHealth" => format!(
            "<TargetHealthDescriptions><member><Target>{}</Target><TargetHealth>{}</TargetHealth></member></TargetHealthDescriptions>",
            fields(&[("Id", "i-0abc"), ("Port", "80")]),
            fields(&[("State", "healthy")])
        ),
        "DeregisterTargets" => String::new(),
        "RegisterTargets" => return Some((400, refusal("InvalidTarget"))),
        _ => return None,
    };
    Some((200, result(call, &inner)))
}
