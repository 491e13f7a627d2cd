//! A small Elastic Load Balancing on loopback.

use super::*;
use std::collections::HashMap;

pub(super) type Answer = (u16, String);

/// An Elastic Load Balancing whose groups answer in turn, the last for good; what was told drains from then on.
pub(super) struct Elb {
    fake: Fake,
    pub(super) board: Board,
    pub(super) root: tempfile::TempDir,
}

impl Elb {
    pub(super) async fn start(groups: &[(&'static str, &[Answer])]) -> Self {
        Self::answering(groups, |_| (200, result("RegisterTargets", ""))).await
    }

    pub(super) async fn answering(
        groups: &[(&'static str, &[Answer])],
        register: impl Fn(&str) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let arns: Vec<&str> = groups.iter().map(|(arn, _)| *arn).collect();
        let attached = self::groups(&arns);
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
                "DescribeAutoScalingGroups" => (200, result("DescribeAutoScalingGroups", &attached)),
                _ => metadata(
                    asked,
                    &[("meta-data/instance-id", "i-0abc"), ("meta-data/local-ipv4", "10.0.0.7")],
                ),
            }
        })
        .await;
        Self { fake, board: fake::board(), root: tempfile::tempdir().expect("a folder") }
    }

    pub(super) fn targets(&self, configured: Option<Vec<String>>) -> Targets {
        Targets::new(fake::group(&self.fake, &self.board), configured, self.board.clone(), self.root.path())
    }

    /// The way back by an agent on `before`'s disk whose Auto Scaling group is attached to these: the calls to register,
    /// and what the timeline says.
    pub(super) async fn attached(
        arns: &[&'static str],
        before: &Self,
    ) -> (Vec<(String, Vec<String>)>, String) {
        let none: Vec<(&'static str, &[Answer])> = arns.iter().map(|arn| (*arn, &[][..])).collect();
        let later = Self::start(&none).await;
        let group = fake::group(&later.fake, &later.board);
        assert!(Targets::new(group, None, later.board.clone(), before.root.path()).rejoin().await);
        let said: Vec<String> = later.board.snapshot().timeline.into_iter().map(|entry| entry.what).collect();
        (later.sent("RegisterTargets"), said.join("; "))
    }

    pub(super) fn calls(&self, wanted: &str) -> usize {
        self.fake.asked().iter().filter(|asked| action(&asked.body) == wanted).count()
    }

    pub(super) fn described(&self, arn: &str) -> usize {
        let asked = self.fake.asked();
        let of = |body: &str| field(body, "TargetGroupArn").as_deref() == Some(arn);
        asked.iter().filter(|asked| action(&asked.body) == "DescribeTargetHealth" && of(&asked.body)).count()
    }

    /// The calls to deregister, each with its rows as `id:port`.
    pub(super) fn told(&self) -> Vec<(String, Vec<String>)> {
        self.sent("DeregisterTargets")
    }

    pub(super) fn sent(&self, wanted: &str) -> Vec<(String, Vec<String>)> {
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

/// An Auto Scaling group that is attached to these.
pub(super) fn groups(arns: &[&str]) -> String {
    let arns = arns.iter().map(|arn| format!("<member>{arn}</member>")).collect::<Vec<_>>().concat();
    format!(
        "<AutoScalingGroups><member><AutoScalingGroupName>web</AutoScalingGroupName><TargetGroupARNs>{arns}</TargetGroupARNs></member></AutoScalingGroups>"
    )
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

pub(super) fn refused(code: &str) -> Answer {
    (400, refusal(code))
}

pub(super) fn rows(rows: &[(&str, u16, &str)]) -> Answer {
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

pub(super) fn owned((arn, rows): (&str, Vec<&str>)) -> (String, Vec<String>) {
    (arn.to_owned(), rows.into_iter().map(str::to_owned).collect())
}
