//! The real SDK against a small Auto Scaling on loopback.

use super::*;
use crate::aws::Aws;
use crate::clock::Moment;
use crate::fake::{Asked, Fake, metadata};
use crate::imds::Imds;
use crate::lifecycle::{Lifecycle, Policy};
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn every_documented_state_has_a_standing() {
    use Standing::{Before, Past, Wait};
    let cases = [
        ("Pending", Before, Before),
        ("Pending:Wait", Wait, Before),
        ("Pending:Proceed", Past, Before),
        ("Warmed:Pending:Wait", Wait, Before),
        ("Warmed:Pending:Proceed", Past, Before),
        ("Warmed:Stopped", Past, Before),
        ("InService", Past, Before),
        ("Standby", Past, Before),
        ("EnteringStandby", Past, Before),
        ("Detaching", Past, Before),
        ("Detached", Past, Past),
        ("Terminating", Past, Before),
        ("Terminating:Wait", Past, Wait),
        ("Terminating:Proceed", Past, Past),
        ("Terminating:Retained", Past, Past),
        ("Terminated", Past, Past),
        ("Warmed:Terminating:Wait", Past, Wait),
        ("Warmed:Terminating:Proceed", Past, Past),
        ("Warmed:Terminated", Past, Past),
        ("ReplacingRootVolume:Wait", Past, Before),
        ("RootVolumeReplaced", Past, Before),
        ("SomethingNew", Before, Before),
        ("", Before, Before),
    ];
    for (state, launch, terminate) in cases {
        assert_eq!(
            (standing(Hook::Launch, state), standing(Hook::Terminate, state)),
            (launch, terminate),
            "{state}"
        );
    }
}

#[tokio::test]
async fn a_hook_is_completed_once_in_its_wait_state() {
    let asg = Asg::start(&["Pending", "Pending:Wait"], &["first"], &[(200, "")]).await;
    assert_eq!(asg.complete(Hook::Launch, Verdict::Continue).await, Settled::Completed);
    let calls = asg.calls("CompleteLifecycleAction");
    assert_eq!(calls.len(), 1);
    for part in [
        "LifecycleHookName=first",
        "InstanceId=i-0abc",
        "AutoScalingGroupName=web",
        "LifecycleActionResult=CONTINUE",
    ] {
        assert!(calls[0].contains(part), "{part} is missing in {}", calls[0]);
    }
}

#[tokio::test]
async fn no_active_action_is_resolved_by_the_state() {
    let taken = Asg::start(&["Terminating:Wait", "Terminating:Proceed"], &["only"], &[NOT_ACTIVE]).await;
    assert_eq!(taken.complete(Hook::Terminate, Verdict::Continue).await, Settled::Completed);
    assert_eq!(taken.calls("CompleteLifecycleAction").len(), 1);

    let race = Asg::start(&["Terminating:Wait"], &["only"], &[NOT_ACTIVE, (200, "")]).await;
    assert_eq!(race.complete(Hook::Terminate, Verdict::Continue).await, Settled::Completed);
    assert_eq!(race.calls("CompleteLifecycleAction").len(), 2);
}

#[tokio::test]
async fn nothing_is_called_where_nothing_waits() {
    for (states, hooks) in [(&["InService"][..], &["only"][..]), (&["Pending:Wait"], &[])] {
        let asg = Asg::start(states, hooks, &[]).await;
        assert_eq!(asg.complete(Hook::Launch, Verdict::Abandon).await, Settled::NothingOwed, "{states:?}");
        assert!(asg.calls("CompleteLifecycleAction").is_empty());
    }
}

#[tokio::test]
async fn several_hooks_are_not_guessed_between() {
    let asg = Asg::start(&["Pending:Wait"], &["mine", "theirs"], &[]).await;
    assert_eq!(asg.complete(Hook::Launch, Verdict::Continue).await, Settled::GaveUp);
    let error = asg.hooks.board.snapshot().errors.remove("launch").expect("it is said");
    assert!(error.contains("set lifecycle.launch_hook"), "{error}");
    assert!(asg.calls("CompleteLifecycleAction").is_empty());
}

#[tokio::test]
async fn the_terminate_hook_is_awaited_in_its_order() {
    let waits = Asg::start(&["InService", "Terminating", "Terminating:Wait"], &[], &[]).await;
    assert!(waits.hooks.await_terminate().await);
    let gone = Asg::start(&["Terminating", "Terminating:Proceed"], &[], &[]).await;
    assert!(!gone.hooks.await_terminate().await);
}

/// The answer of which there are five meanings.
const NOT_ACTIVE: (u16, &str) = (
    400,
    "<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code>\
     <Message>No active Lifecycle Action found with instance ID i-0abc</Message></Error></ErrorResponse>",
);

/// A metadata service and an Auto Scaling on loopback, with the hooks that speak to them.
struct Asg {
    fake: Fake,
    hooks: Hooks,
}

impl Asg {
    /// Lists the instance in each of `states` in turn (the last for good), and answers completions in turn too.
    async fn start(
        states: &'static [&'static str],
        hooks: &'static [&'static str],
        completions: &'static [(u16, &'static str)],
    ) -> Self {
        let (reads, completed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let next = |counter: &AtomicUsize| counter.fetch_add(1, Ordering::Relaxed);
        let fake = Fake::start(move |asked: &Asked, _| match action(&asked.body) {
            "DescribeAutoScalingInstances" => (200, member(states[next(&reads).min(states.len() - 1)])),
            "DescribeLifecycleHooks" => (200, listed(hooks)),
            "CompleteLifecycleAction" => match completions[next(&completed).min(completions.len() - 1)] {
                (200, _) => (200, result("CompleteLifecycleAction", "")),
                (code, body) => (code, body.to_owned()),
            },
            _ => metadata(asked, &[("meta-data/instance-id", "i-0abc")]),
        })
        .await;
        let imds = Arc::new(Imds::new(&fake.url).expect("the fake has a valid address"));
        let aws = Arc::new(Aws::with_config(imds.clone(), sdk(&fake.url)));
        let board = Board::new(&Lifecycle::new(Policy::default(), Moment::default()));
        let group = Arc::new(Group::new(aws, imds, Selector::Auto, board.clone()));
        Self {
            fake,
            hooks: Hooks {
                poll: Duration::from_millis(5),
                ..Hooks::new(group, Selector::Auto, Selector::Auto, board)
            },
        }
    }

    async fn complete(&self, hook: Hook, verdict: Verdict) -> Settled {
        self.hooks.complete(hook, verdict).await
    }

    fn calls(&self, wanted: &str) -> Vec<String> {
        self.fake.asked().into_iter().map(|asked| asked.body).filter(|body| action(body) == wanted).collect()
    }
}

fn sdk(url: &str) -> aws_config::SdkConfig {
    use aws_config::{BehaviorVersion, Region};
    use aws_sdk_autoscaling::config::{Credentials, SharedCredentialsProvider};
    aws_config::SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("eu-central-1"))
        .endpoint_url(url)
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("a", "b", None, None, "test")))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build()
}

fn action(body: &str) -> &str {
    body.strip_prefix("Action=").and_then(|rest| rest.split('&').next()).unwrap_or_default()
}

fn result(action: &str, inner: &str) -> String {
    format!("<{action}Response><{action}Result>{inner}</{action}Result></{action}Response>")
}

fn member(state: &str) -> String {
    let fields = [("InstanceId", "i-0abc"), ("AutoScalingGroupName", "web"), ("LifecycleState", state)];
    let fields: Vec<_> = fields.iter().map(|(name, value)| format!("<{name}>{value}</{name}>")).collect();
    let list = format!("<AutoScalingInstances><member>{}</member></AutoScalingInstances>", fields.concat());
    result("DescribeAutoScalingInstances", &list)
}

fn listed(names: &[&str]) -> String {
    let transitions = [Hook::Launch, Hook::Terminate].map(Hook::transition);
    let hook = |name: &str, transition: &str| {
        format!(
            "<member><LifecycleHookName>{name}</LifecycleHookName><LifecycleTransition>{transition}</LifecycleTransition>\
             <HeartbeatTimeout>60</HeartbeatTimeout><GlobalTimeout>6000</GlobalTimeout></member>"
        )
    };
    let all: Vec<_> =
        names.iter().flat_map(|name| transitions.map(|transition| hook(name, transition))).collect();
    result("DescribeLifecycleHooks", &format!("<LifecycleHooks>{}</LifecycleHooks>", all.concat()))
}
