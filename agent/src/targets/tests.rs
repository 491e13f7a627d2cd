//! The real SDK against a small Elastic Load Balancing on loopback.

use super::*;
use crate::fake::{self, Fake, action, member, metadata, refusal, result};
use std::collections::HashMap;

const WEB: &str = "arn:aws:elasticloadbalancing:eu-central-1:1:targetgroup/web/1";
const API: &str = "arn:aws:elasticloadbalancing:eu-central-1:1:targetgroup/api/2";

#[test]
fn only_what_leaves_or_has_left_need_not_be_told() {
    for (state, told) in [
        ("initial", true),
        ("healthy", true),
        ("unhealthy", true),
        ("unavailable", true),
        ("something-new", true),
        ("draining", false),
        ("unhealthy.draining", false),
        ("unused", false),
    ] {
        assert_eq!(must_be_told(state), told, "{state}");
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
    assert_eq!(
        elb.told(),
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
        (API, &[rows(&[("i-0abc", 80, "unused"), ("i-0def", 80, "healthy")])]),
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
        let said = elb.board.snapshot().errors.remove("denied-targets").unwrap_or_default();
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
    let board = fake::board();
    let imds = Arc::new(Imds::new(&fake.url).expect("the fake has a valid address"));
    Targets::new(fake::group(&fake, &board), imds, None, board).leave().await;
    assert!(fake.asked().iter().all(|asked| !asked.body.contains("Target")));
}

type Answer = (u16, String);

/// An Elastic Load Balancing whose groups answer in turn, the last for good; what was told drains from then on.
struct Elb {
    fake: Fake,
    board: Board,
}

impl Elb {
    async fn start(groups: &[(&'static str, &[Answer])]) -> Self {
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
                "DescribeAutoScalingInstances" => (200, member("Terminating")),
                "DescribeAutoScalingGroups" => {
                    let group = format!("<AutoScalingGroups><member><AutoScalingGroupName>web</AutoScalingGroupName><TargetGroupARNs>{arns}</TargetGroupARNs></member></AutoScalingGroups>");
                    (200, result("DescribeAutoScalingGroups", &group))
                }
                _ => metadata(asked, &[("meta-data/instance-id", "i-0abc"), ("meta-data/local-ipv4", "10.0.0.7")]),
            }
        })
        .await;
        Self { fake, board: fake::board() }
    }

    fn targets(&self, configured: Option<Vec<String>>) -> Targets {
        let imds = Arc::new(Imds::new(&self.fake.url).expect("the fake has a valid address"));
        Targets::new(fake::group(&self.fake, &self.board), imds, configured, self.board.clone())
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
        let asked = self.fake.asked();
        let calls = asked.iter().filter(|asked| action(&asked.body) == "DeregisterTargets");
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
    let row = |(id, port, state): &(&str, u16, &str)| {
        format!(
            "<member><Target><Id>{id}</Id><Port>{port}</Port></Target><TargetHealth><State>{state}</State></TargetHealth></member>"
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
