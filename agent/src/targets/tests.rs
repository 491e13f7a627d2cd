//! The real SDK against a small Elastic Load Balancing on loopback.

mod back;
mod elb;

use super::*;
use crate::fake::{self, Fake, action, member, metadata, refusal, result};
use elb::{Answer, Elb, owned, refused, rows};

const WEB: &str = "arn:aws:elasticloadbalancing:eu-central-1:1:targetgroup/web/1";
const API: &str = "arn:aws:elasticloadbalancing:eu-central-1:1:targetgroup/api/2";

#[test]
fn only_what_leaves_or_has_left_need_not_be_told() {
    for (state, reason, told) in [
        ("initial", Some("Elb.RegistrationInProgress"), true),
        ("healthy", None, true),
        ("unhealthy", Some("Target.Timeout"), true),
        ("unavailable", Some("Target.HealthCheckDisabled"), true),
        ("something-new", None, true),
        ("unknown", None, true),
        ("draining", Some("Target.DeregistrationInProgress"), false),
        ("draining", None, false),
        ("unhealthy.draining", None, false),
        ("unused", Some("Target.NotRegistered"), false),
        // Still registered: on no listener, or in a zone that is not enabled.
        ("unused", Some("Target.NotInUse"), true),
        ("unused", Some("Target.InvalidState"), true),
        ("unused", None, true),
    ] {
        assert_eq!(must_be_told(state, reason), told, "{state} {reason:?}");
    }
}

#[tokio::test]
async fn every_row_of_every_group_is_told_by_id_and_port() {
    let elb = Elb::start(&[
        (
            WEB,
            &[rows(&[("i-0abc", 80, "healthy"), ("i-0abc", 8080, "unhealthy"), ("i-0def", 80, "healthy")])],
        ),
        (API, &[rows(&[("10.0.0.7", 9000, "initial"), ("i-0abc", 81, "draining")])]),
    ])
    .await;
    elb.targets(None).leave().await;
    let mut told = elb.told();
    told.sort();
    assert_eq!(
        told,
        [(API, vec!["10.0.0.7:9000"]), (WEB, vec!["i-0abc:80", "i-0abc:8080"])].map(owned),
        "nobody else's row, and none twice"
    );
    assert_eq!(elb.calls("DescribeAutoScalingGroups"), 1);
    assert_eq!(elb.calls("DescribeAutoScalingInstances"), 1);
}

#[tokio::test]
async fn what_the_group_has_told_already_is_not_told_again() {
    let elb = Elb::start(&[
        (WEB, &[rows(&[("i-0abc", 80, "draining")])]),
        (API, &[rows(&[("i-0abc", 80, "unused/Target.NotRegistered"), ("i-0def", 80, "healthy")])]),
    ])
    .await;
    elb.targets(None).leave().await;
    assert!(elb.told().is_empty());
}

#[tokio::test]
async fn one_groups_trouble_does_not_keep_the_others() {
    let ours = || rows(&[("i-0abc", 80, "healthy")]);
    // The answers of the first group; how often it is asked; what the board says after it.
    let cases: [(&str, Vec<Answer>, usize, &str); 4] = [
        ("deleted", vec![refused("TargetGroupNotFound")], 1, ""),
        (
            "denied",
            vec![refused("AccessDenied")],
            1,
            "failed to call DescribeTargetHealth: AccessDenied: so it is",
        ),
        ("throttled", vec![refused("Throttling"), ours()], 3, ""),
        ("failing", vec![(500, "<html>".to_owned()), ours()], 3, ""),
    ];
    for (case, answers, asked, error) in cases {
        let elb = Elb::start(&[(WEB, &answers), (API, &[ours()])]).await;
        let targets = elb.targets(Some(vec![WEB.to_owned(), API.to_owned()]));
        targets.leave().await;
        let told = elb.told();
        assert!(told.contains(&owned((API, vec!["i-0abc:80"]))), "{case}: {told:?}");
        assert_eq!(elb.described(WEB), asked, "{case}");
        assert!(targets.silence() < Duration::from_secs(5), "{case}: an answer is no silence");
        let said = elb.board.snapshot().errors.remove("targets web").unwrap_or_default();
        assert_eq!(said, error, "{case}");
    }
}

#[tokio::test]
async fn an_instance_outside_any_group_has_nothing_to_leave() {
    let fake = Fake::start(|asked, _| match action(&asked.body) {
        "DescribeAutoScalingInstances" => {
            (200, result("DescribeAutoScalingInstances", "<AutoScalingInstances/>"))
        }
        _ => metadata(asked, &[("meta-data/instance-id", "i-0abc")]),
    })
    .await;
    let (board, root) = (fake::board(), tempfile::tempdir().expect("a folder"));
    Targets::new(fake::group(&fake, &board), None, board, root.path()).leave().await;
    assert!(fake.asked().iter().all(|asked| !asked.body.contains("Target")));
}

#[tokio::test]
async fn a_row_in_a_group_on_no_listener_is_told_and_holds_no_drain_for_good() {
    let unused = rows(&[("i-0abc", 80, "unused/Target.NotInUse")]);
    // The fake never lets it go.
    let elb = Elb::start(&[(WEB, &[unused])]).await;
    elb.targets(None).leave().await;
    assert_eq!(elb.told().len(), 3);
    let shown = elb.board.snapshot().targets;
    assert_eq!(shown[0].reason.as_deref(), Some("Target.NotInUse"));
}

#[tokio::test]
async fn one_invalid_row_does_not_keep_the_others() {
    let read = AtomicBool::new(false);
    let both = rows(&[("i-0abc", 80, "healthy"), ("i-0abc", 81, "healthy")]);
    let fake = Fake::start(move |asked, _| match action(&asked.body) {
        "DescribeTargetHealth" if !read.swap(true, Ordering::SeqCst) => both.clone(),
        "DescribeTargetHealth" => rows(&[("i-0abc", 80, "draining")]),
        "DeregisterTargets" if asked.body.contains("Port=81") => refused("InvalidTarget"),
        "DeregisterTargets" => (200, result("DeregisterTargets", "")),
        _ => metadata(asked, &[("meta-data/instance-id", "i-0abc")]),
    })
    .await;
    let (board, root) = (fake::board(), tempfile::tempdir().expect("a folder"));
    Targets::new(fake::group(&fake, &board), Some(vec![WEB.to_owned()]), board, root.path()).leave().await;
    let calls = fake.asked();
    let alone = |port: &str| {
        let body = |body: &str| {
            action(body) == "DeregisterTargets" && body.contains(port) && !body.contains("member.2")
        };
        calls.iter().filter(|asked| body(&asked.body)).count()
    };
    assert_eq!((alone("Port=80"), alone("Port=81")), (1, 1));
}

#[tokio::test]
async fn an_answer_without_its_list_or_without_ids_decides_nothing() {
    let garbled = [
        (200, result("DescribeTargetHealth", "")),
        (
            200,
            result(
                "DescribeTargetHealth",
                "<TargetHealthDescriptions><member><TargetHealth><State>healthy</State></TargetHealth></member></TargetHealthDescriptions>",
            ),
        ),
    ];
    for answer in garbled {
        let elb = Elb::start(&[(WEB, &[answer.clone(), rows(&[("i-0abc", 80, "healthy")])])]).await;
        elb.targets(None).leave().await;
        assert_eq!(elb.told(), [owned((WEB, vec!["i-0abc:80"]))], "{answer:?}");
    }
}
