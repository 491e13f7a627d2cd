//! Answers of Auto Scaling: several pages, other kinds of traffic sources, and all that is not an answer.

use super::*;
use crate::fake::{self, Reply, action, in_memory, known_group, member, result};
use proptest::prelude::*;
use std::sync::Mutex;

const WEB: &str = "arn:aws:elasticloadbalancing:eu-central-1:1:targetgroup/web/1";
const API: &str = "arn:aws-cn:elasticloadbalancing:cn-north-1:1:targetgroup/api/2";
const LATTICE: &str = "arn:aws:vpc-lattice:eu-central-1:1:targetgroup/tg-1";

#[tokio::test]
async fn a_group_on_a_later_page_is_found_with_all_its_sources_but_no_one_elses() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let group = group({
        let asked = asked.clone();
        move |body| {
            let later = body.contains("NextToken=more");
            asked.lock().expect("no test panics with it held").push(body);
            let group = described(&format!(
                "<TargetGroupARNs><member>{WEB}</member></TargetGroupARNs><TrafficSources>{}{}{}{}</TrafficSources>",
                source(WEB, "elbv2"),
                source(API, "elbv2"),
                source(LATTICE, "vpc-lattice"),
                source("classic", "elb"),
            ));
            let inner = if later {
                format!("<AutoScalingGroups>{group}</AutoScalingGroups>")
            } else {
                "<AutoScalingGroups/><NextToken>more</NextToken>".to_owned()
            };
            (200, result("DescribeAutoScalingGroups", &inner))
        }
    });
    assert_eq!(group.target_groups("web").await.expect("it is answered"), [API, WEB]);
    let asked = asked.lock().expect("no test panics with it held");
    assert_eq!(asked.len(), 2, "no other call is needed: {asked:?}");
    assert!(asked.iter().all(|body| body.contains("IncludeInstances=false")), "{asked:?}");
}

#[tokio::test]
async fn a_list_that_never_ends_is_not_followed_and_a_missing_one_is_no_empty_one() {
    let cases = [
        ("<AutoScalingGroups/><NextToken>more</NextToken>", None),
        ("", None),
        (
            "<AutoScalingGroups><member><AutoScalingGroupName>web</AutoScalingGroupName></member></AutoScalingGroups>",
            None,
        ),
        (
            "<AutoScalingGroups><member><AutoScalingGroupName>other</AutoScalingGroupName></member></AutoScalingGroups>",
            None,
        ),
        ("<AutoScalingGroups><member/></AutoScalingGroups>", None),
        ("<AutoScalingGroups/>", None),
        (
            "<AutoScalingGroups><member><AutoScalingGroupName>web</AutoScalingGroupName><TargetGroupARNs/></member></AutoScalingGroups>",
            Some(0),
        ),
    ];
    for (inner, expected) in cases {
        let group = group(move |_| (200, result("DescribeAutoScalingGroups", inner)));
        let found = group.target_groups("web").await;
        assert_eq!(found.as_ref().ok().map(Vec::len), expected, "{inner}: {found:?}");
    }
}

#[tokio::test]
async fn an_instance_is_absent_only_when_that_is_what_was_said() {
    let listed = |fields: &str| {
        let list = format!("<AutoScalingInstances><member>{fields}</member></AutoScalingInstances>");
        result("DescribeAutoScalingInstances", &list)
    };
    let id = "<InstanceId>i-0abc</InstanceId>";
    let cases = [
        (result("DescribeAutoScalingInstances", "<AutoScalingInstances/>"), Some(false)),
        (listed("<InstanceId>i-0def</InstanceId>"), Some(false)),
        (member("InService"), Some(true)),
        (result("DescribeAutoScalingInstances", ""), None),
        (listed(id), None),
        (listed(&format!("{id}<AutoScalingGroupName>web</AutoScalingGroupName>")), None),
        (listed(&format!("{id}<LifecycleState>InService</LifecycleState>")), None),
        (listed("<LifecycleState>InService</LifecycleState>"), None),
        (String::new(), None),
        ("<html>".to_owned(), None),
    ];
    for (body, expected) in cases {
        let told = body.clone();
        let group = group(move |_| (200, told.clone()));
        let found = group.member().await;
        assert_eq!(found.as_ref().ok().map(Option::is_some), expected, "{body}: {found:?}");
    }
}

#[tokio::test]
async fn hooks_without_times_are_kept_alive_as_if_they_had_the_shortest() {
    let hook = |fields: &str| {
        let list = format!(
            "<LifecycleHooks><member><LifecycleHookName>only</LifecycleHookName>{fields}</member></LifecycleHooks>"
        );
        result("DescribeLifecycleHooks", &list)
    };
    let launching = "<LifecycleTransition>autoscaling:EC2_INSTANCE_LAUNCHING</LifecycleTransition>";
    for (times, heartbeat) in [
        ("<HeartbeatTimeout>120</HeartbeatTimeout>", Some(120)),
        ("<HeartbeatTimeout>0</HeartbeatTimeout>", Some(30)),
        ("<HeartbeatTimeout>-5</HeartbeatTimeout>", Some(30)),
        ("", Some(30)),
        ("<HeartbeatTimeout>soon</HeartbeatTimeout>", None),
    ] {
        let body = hook(&format!("{launching}{times}"));
        let group = group(move |_| (200, body.clone()));
        let found = group.hooks("web").await.ok().map(|hooks| hooks[0].heartbeat_timeout.as_secs());
        assert_eq!(found, heartbeat, "{times}");
    }
    let nameless = group(move |_| (200, hook("")));
    assert!(nameless.hooks("web").await.is_err(), "a hook on no transition is no answer");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whole answers, cut anywhere, with bytes changed, or of another call altogether: whatever is made of them is
    /// what they say, or an error. Nothing panics, and nothing is made up.
    #[test]
    fn no_answer_is_read_for_more_than_it_says(
        status in prop_oneof![Just(200_u16), Just(400), Just(500), Just(503)],
        which in 0..4_usize,
        cut in any::<prop::sample::Index>(),
        noise in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let whole = [
            member("Terminating:Wait"),
            result("DescribeAutoScalingGroups", &format!(
                "<AutoScalingGroups>{}</AutoScalingGroups>",
                described(&format!("<TargetGroupARNs><member>{WEB}</member></TargetGroupARNs>"))
            )),
            result("DescribeLifecycleHooks", "<LifecycleHooks/>"),
            "<html>503</html>".to_owned(),
        ];
        let mut body = whole[which].clone().into_bytes();
        body.truncate(cut.index(body.len() + 1));
        for (at, byte) in &noise {
            if !body.is_empty() {
                let at = at.index(body.len());
                body[at] = *byte;
            }
        }
        let said = String::from_utf8_lossy(&body).into_owned();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let board = fake::board();
            let config = in_memory(move |_| {
                let reply: Reply = Some((status, body.clone()));
                async move { reply }
            });
            let group = known_group(config, &board);
            if let Ok(Some(found)) = group.member().await {
                prop_assert!(status == 200 && said.contains(&found.state) && said.contains(&found.group), "{found:?} of {said}");
            }
            if let Ok(found) = group.target_groups("web").await {
                prop_assert!(status == 200 && found.iter().all(|arn| said.contains(arn.as_str())), "{found:?} of {said}");
                prop_assert!(said.contains("AutoScalingGroups"), "no group at all, of {said}");
            }
            if let Ok(found) = group.hooks("web").await {
                prop_assert!(status == 200 && said.contains("LifecycleHooks"), "{found:?} of {said}");
            }
            Ok(())
        })?;
    }
}

fn group(answer: impl Fn(String) -> (u16, String) + Send + Sync + 'static) -> Arc<Group> {
    let config = in_memory(move |body| {
        assert!(!action(&body).is_empty());
        let (status, text) = answer(body);
        async move { Some((status, text.into_bytes())) }
    });
    known_group(config, &fake::board())
}

fn described(fields: &str) -> String {
    format!("<member><AutoScalingGroupName>web</AutoScalingGroupName>{fields}</member>")
}

fn source(identifier: &str, kind: &str) -> String {
    format!("<member><Identifier>{identifier}</Identifier><Type>{kind}</Type></member>")
}
