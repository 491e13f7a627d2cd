//! The real SDK against a small Elastic Load Balancing on loopback.

use super::*;
use crate::fake::{self, Fake, action, member, metadata, refusal, result};
use std::collections::HashMap;

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
        "DescribeAutoScalingInstances" => (200, result("DescribeAutoScalingInstances", "")),
        _ => metadata(asked, &[("meta-data/instance-id", "i-0abc")]),
    })
    .await;
    let (board, root) = (fake::board(), tempfile::tempdir().expect("a folder"));
    Targets::new(fake::group(&fake, &board), None, board, root.path()).leave().await;
    assert!(fake.asked().iter().all(|asked| !asked.body.contains("Target")));
}

#[tokio::test]
async fn exactly_what_was_told_comes_back_even_by_the_next_agent() {
    let elb = Elb::start(&[
        (WEB, &[rows(&[("i-0abc", 80, "healthy"), ("i-0abc", 8080, "draining"), ("i-0def", 80, "healthy")])]),
        (API, &[rows(&[("10.0.0.7", 9000, "healthy")])]),
    ])
    .await;
    elb.targets(None).leave().await;
    let next = elb.targets(None);
    assert!(next.rejoin().await);
    let mut sent = elb.sent("RegisterTargets");
    sent.sort();
    assert_eq!(sent, [(API, vec!["10.0.0.7:9000"]), (WEB, vec!["i-0abc:80"])].map(owned));
    assert!(!elb.root.path().join(PATH).exists(), "nothing is owed any more");
    assert!(next.rejoin().await);
    assert_eq!(elb.sent("RegisterTargets").len(), 2, "and nothing is registered twice");
}

#[tokio::test]
async fn the_way_back_goes_through_an_outage_and_drops_what_is_gone() {
    let (tries, ours) = (std::sync::atomic::AtomicUsize::new(0), [rows(&[("i-0abc", 80, "healthy")])]);
    let elb = Elb::answering(&[(WEB, &ours), (API, &ours)], move |arn| {
        match (arn == API, tries.fetch_add(usize::from(arn == WEB), Ordering::SeqCst)) {
            (true, _) => refused("TargetGroupNotFound"),
            (_, 0) => refused("Throttling"),
            (_, 1) => (503, String::new()),
            _ => (200, result("RegisterTargets", "")),
        }
    })
    .await;
    let targets = elb.targets(None);
    targets.leave().await;
    assert!(targets.rejoin().await);
    let of = |arn| elb.sent("RegisterTargets").iter().filter(|(group, _)| group == arn).count();
    assert_eq!((of(WEB), of(API)), (3, 1));
    let said = elb.board.snapshot();
    assert!(said.timeline.iter().any(|entry| entry.what.contains("not registered again in api")), "{said:?}");
    assert!(said.errors.is_empty(), "{:?}", said.errors);
    assert!(!elb.root.path().join(PATH).exists());
}

#[tokio::test]
async fn a_drain_that_begins_stops_the_way_back() {
    let elb =
        Elb::answering(&[(WEB, &[rows(&[("i-0abc", 80, "healthy")])])], |_| refused("Throttling")).await;
    let targets = Arc::new(elb.targets(None));
    targets.leave().await;
    let back = tokio::spawn({
        let targets = targets.clone();
        async move { targets.rejoin().await }
    });
    while elb.sent("RegisterTargets").is_empty() {
        tokio::task::yield_now().await;
    }
    targets.leave().await;
    let calls = elb.sent("RegisterTargets").len();
    assert!(!back.await.expect("it ends by itself"), "the way out wins");
    assert_eq!(elb.sent("RegisterTargets").len(), calls, "no call after the way out began");
    assert!(elb.root.path().join(PATH).exists(), "what was taken out is still known");
}

#[tokio::test]
async fn a_group_that_is_no_longer_attached_is_not_come_back_to() {
    let ours = || rows(&[("i-0abc", 80, "healthy")]);
    let elb = Elb::start(&[(WEB, &[ours()]), (API, &[ours()])]).await;
    elb.targets(Some(vec![WEB.to_owned(), API.to_owned()])).leave().await;
    let later = elb.targets(Some(vec![WEB.to_owned()]));
    later.leave().await;
    assert!(later.rejoin().await);
    assert_eq!(elb.sent("RegisterTargets"), [owned((WEB, vec!["i-0abc:80"]))]);
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

type Answer = (u16, String);

/// An Elastic Load Balancing whose groups answer in turn, the last for good; what was told drains from then on.
struct Elb {
    fake: Fake,
    board: Board,
    root: tempfile::TempDir,
}

impl Elb {
    async fn start(groups: &[(&'static str, &[Answer])]) -> Self {
        Self::answering(groups, |_| (200, result("RegisterTargets", ""))).await
    }

    async fn answering(
        groups: &[(&'static str, &[Answer])],
        register: impl Fn(&str) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let arns: Vec<&str> = groups.iter().map(|(arn, _)| *arn).collect();
        let arns = arns.iter().map(|arn| format!("<member>{arn}</member>")).collect::<Vec<_>>().concat();
        let script: HashMap<String, Vec<Answer>> =
            groups.iter().map(|(arn, answers)| ((*arn).to_owned(), answers.to_vec())).collect();
        let counts: Mutex<HashMap<String, usize>> = Mutex::default();
        let told: Mutex<Vec<String>> = Mutex::default();
        let fake = Fake::start(move |asked, _| {
            let arn = field(&asked.body, "TargetGroupArn").unwrap_or_default();
            match action(&asked.body) {
                "DescribeTargetHealth" => {
                    let mut counts = counts.lock().expect("no test panics with it held");
                    let count = counts.entry(arn.clone()).or_default();
                    let answers = &script[&arn];
                    let answer = answers[(*count).min(answers.len() - 1)].clone();
                    *count += 1;
                    let drains = told.lock().expect("no test panics with it held").contains(&arn);
                    if drains { (200, leaving(&answer.1)) } else { answer }
                }
                "DeregisterTargets" => {
                    told.lock().expect("no test panics with it held").push(arn);
                    (200, result("DeregisterTargets", ""))
                }
                "RegisterTargets" => register(&arn),
                "DescribeAutoScalingInstances" => (200, member("Terminating")),
                "DescribeAutoScalingGroups" => {
                    let group = format!("<AutoScalingGroups><member><AutoScalingGroupName>web</AutoScalingGroupName><TargetGroupARNs>{arns}</TargetGroupARNs></member></AutoScalingGroups>");
                    (200, result("DescribeAutoScalingGroups", &group))
                }
                _ => metadata(asked, &[("meta-data/instance-id", "i-0abc"), ("meta-data/local-ipv4", "10.0.0.7")]),
            }
        })
        .await;
        Self { fake, board: fake::board(), root: tempfile::tempdir().expect("a folder") }
    }

    fn targets(&self, configured: Option<Vec<String>>) -> Targets {
        Targets::new(fake::group(&self.fake, &self.board), configured, self.board.clone(), self.root.path())
    }

    fn calls(&self, wanted: &str) -> usize {
        self.fake.asked().iter().filter(|asked| action(&asked.body) == wanted).count()
    }

    fn described(&self, arn: &str) -> usize {
        let asked = self.fake.asked();
        let of = |body: &str| field(body, "TargetGroupArn").as_deref() == Some(arn);
        asked.iter().filter(|asked| action(&asked.body) == "DescribeTargetHealth" && of(&asked.body)).count()
    }

    /// The calls to deregister, each with its rows as `id:port`.
    fn told(&self) -> Vec<(String, Vec<String>)> {
        self.sent("DeregisterTargets")
    }

    fn sent(&self, wanted: &str) -> Vec<(String, Vec<String>)> {
        let asked = self.fake.asked();
        let calls = asked.iter().filter(|asked| action(&asked.body) == wanted);
        calls
            .map(|asked| {
                let row = |n: usize| {
                    let part = |name| field(&asked.body, &format!("Targets.member.{n}.{name}"));
                    Some(format!("{}:{}", part("Id")?, part("Port")?))
                };
                let rows = (1..).map_while(row).collect();
                (field(&asked.body, "TargetGroupArn").unwrap_or_default(), rows)
            })
            .collect()
    }
}

fn field(body: &str, name: &str) -> Option<String> {
    let pair = body.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    Some(pair.replace("%3A", ":").replace("%2F", "/"))
}

/// The same rows, told to leave.
fn leaving(rows: &str) -> String {
    ["unhealthy<", "healthy<", "initial<"]
        .iter()
        .fold(rows.to_owned(), |rows, state| rows.replace(&format!(">{state}"), ">draining<"))
}

fn refused(code: &str) -> Answer {
    (400, refusal(code))
}

fn rows(rows: &[(&str, u16, &str)]) -> Answer {
    // A reason follows its state after a slash.
    let row = |(id, port, health): &(&str, u16, &str)| {
        let (state, reason) = health.split_once('/').unwrap_or((health, ""));
        let reason = if reason.is_empty() { String::new() } else { format!("<Reason>{reason}</Reason>") };
        format!(
            "<member><Target><Id>{id}</Id><Port>{port}</Port></Target><TargetHealth><State>{state}</State>{reason}</TargetHealth></member>"
        )
    };
    let list = rows.iter().map(row).collect::<Vec<_>>().concat();
    (
        200,
        result(
            "DescribeTargetHealth",
            &format!("<TargetHealthDescriptions>{list}</TargetHealthDescriptions>"),
        ),
    )
}

fn owned((arn, rows): (&str, Vec<&str>)) -> (String, Vec<String>) {
    (arn.to_owned(), rows.into_iter().map(str::to_owned).collect())
}
