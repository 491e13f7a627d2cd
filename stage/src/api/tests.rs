//! The API over real HTTP on loopback, spoken by the real SDKs.

use aws_sdk_autoscaling::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use aws_sdk_autoscaling::error::ProvideErrorMetadata;
use aws_sdk_elasticloadbalancingv2::types::{TargetDescription, TargetHealthStateEnum};
use tokio::net::TcpListener;

use super::*;
use crate::cloud::{GROUP, Launch, REGION};
use crate::faults::{On, Span};
use crate::lifecycle::{ActionResult, Event, Hook, State, Transition};
use crate::peer::Peer;
use crate::server::serve;
use crate::targets::TargetGroup;

const ID: &str = "i-0123456789abcdef0";
const ARN: &str = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/x/1";

macro_rules! client {
    ($sdk:ident, $stage:expr, $key:expr) => {
        $sdk::Client::from_conf(
            $sdk::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new(REGION))
                .credentials_provider(Credentials::new($key, "secret", None, None, "test"))
                .endpoint_url(&$stage.url)
                .retry_config(RetryConfig::disabled())
                .http_client(aws_smithy_http_client::Builder::new().build_http())
                .build(),
        )
    };
}

mod datums;

#[tokio::test]
async fn an_instance_finds_itself_its_group_and_its_hooks() {
    let stage = stage().await;
    let client = client!(aws_sdk_autoscaling, stage, ACCESS_KEY);
    let found = client.describe_auto_scaling_instances().instance_ids(ID).send().await.unwrap();
    let [instance] = found.auto_scaling_instances() else { panic!("{found:?}") };
    assert_eq!(instance.auto_scaling_group_name(), Some(GROUP));
    assert_eq!(instance.lifecycle_state(), Some("Pending"));
    let groups =
        client.describe_auto_scaling_groups().auto_scaling_group_names(GROUP).include_instances(false);
    let groups = groups.send().await.unwrap();
    assert_eq!(groups.auto_scaling_groups()[0].target_group_arns(), [ARN]);
    assert!(groups.auto_scaling_groups()[0].instances().is_empty());
    let hooks = client.describe_lifecycle_hooks().auto_scaling_group_name(GROUP).send().await.unwrap();
    let [hook] = hooks.lifecycle_hooks() else { panic!("{hooks:?}") };
    assert_eq!(hook.heartbeat_timeout(), Some(60));
    assert_eq!(hook.global_timeout(), Some(6000));
    assert_eq!(hook.lifecycle_transition(), Some("autoscaling:EC2_INSTANCE_TERMINATING"));
    let sources = client.describe_traffic_sources().auto_scaling_group_name(GROUP).send().await.unwrap();
    assert_eq!(sources.traffic_sources()[0].identifier(), Some(ARN));
}

#[tokio::test]
async fn a_hook_is_completed_only_in_wait_and_only_once() {
    let stage = stage().await;
    let client = client!(aws_sdk_autoscaling, stage, ACCESS_KEY);
    let complete = async |result: &str| {
        let call =
            client.complete_lifecycle_action().auto_scaling_group_name(GROUP).lifecycle_hook_name("leave");
        call.instance_id(ID).lifecycle_action_result(result).send().await.map_err(|error| {
            let error = error.into_service_error();
            format!("{}: {}", error.code().unwrap_or_default(), error.message().unwrap_or_default())
        })
    };
    let none = format!("ValidationError: No active Lifecycle Action found with instance ID {ID}");
    assert_eq!(complete("CONTINUE").await.unwrap_err(), none);
    stage.wait_state();
    let beat = client
        .record_lifecycle_action_heartbeat()
        .auto_scaling_group_name(GROUP)
        .lifecycle_hook_name("leave");
    beat.instance_id(ID).send().await.unwrap();
    complete("CONTINUE").await.unwrap();
    assert_eq!(complete("CONTINUE").await.unwrap_err(), none);
    let calls: Vec<_> = stage
        .cloud
        .record
        .all()
        .into_iter()
        .filter(|call| call.action == "CompleteLifecycleAction")
        .collect();
    let seen: Vec<_> = calls.iter().map(|call| (call.state.as_deref(), call.status)).collect();
    let after = Some("Terminating:Proceed");
    assert_eq!(seen, [(Some("Pending"), 400), (Some("Terminating:Wait"), 200), (after, 400)]);
    assert_eq!(calls[1].notes["healthz"], 200, "the stage looked at /healthz in that moment");
    assert_eq!(calls[1].parameter("LifecycleActionResult"), Some("CONTINUE"));
}

#[tokio::test]
async fn targets_drain_by_id_and_port() {
    let stage = stage().await;
    let client = client!(aws_sdk_elasticloadbalancingv2, stage, ACCESS_KEY);
    stage.cloud.lock().target_groups[0].register((ID.to_owned(), 8080), Duration::ZERO);
    let health = async || {
        let target = TargetDescription::builder().id(ID).port(8080).build();
        let answer =
            client.describe_target_health().target_group_arn(ARN).targets(target).send().await.unwrap();
        answer.target_health_descriptions()[0].target_health().unwrap().state().cloned().unwrap()
    };
    let deregister = async |target| {
        client.deregister_targets().target_group_arn(ARN).targets(target).send().await.unwrap();
    };
    deregister(TargetDescription::builder().id(ID).build()).await;
    assert_eq!(health().await, TargetHealthStateEnum::Initial, "without the port nothing happens, silently");
    deregister(TargetDescription::builder().id(ID).port(8080).build()).await;
    assert_eq!(health().await, TargetHealthStateEnum::Draining);
    stage.cloud.lock().target_groups[0].tick(Duration::from_hours(1));
    assert_eq!(health().await, TargetHealthStateEnum::Unused);
    let attributes = client.describe_target_group_attributes().target_group_arn(ARN).send().await.unwrap();
    let delay =
        attributes.attributes().iter().find(|a| a.key() == Some("deregistration_delay.timeout_seconds"));
    assert_eq!(delay.unwrap().value(), Some("15"));
    let error = client.describe_target_health().target_group_arn("arn:other").send().await.unwrap_err();
    assert!(error.into_service_error().is_target_group_not_found_exception());
}

#[tokio::test]
async fn a_target_group_shows_its_settings_and_takes_running_instances_alone() {
    let stage = stage().await;
    let client = client!(aws_sdk_elasticloadbalancingv2, stage, ACCESS_KEY);
    let all = client.describe_target_groups().send().await.unwrap();
    let [group] = all.target_groups() else { panic!("{all:?}") };
    assert_eq!((group.target_group_arn(), group.target_group_name()), (Some(ARN), Some("x")));
    assert_eq!((group.port(), group.health_check_path()), (Some(80), Some("/healthz")));
    assert_eq!(group.load_balancer_arns().len(), 1);
    let other = client.describe_target_groups().target_group_arns("arn:other").send().await.unwrap_err();
    assert!(other.into_service_error().is_target_group_not_found_exception());

    let register = async |ids: &[&str]| {
        let targets = ids.iter().map(|id| TargetDescription::builder().id(*id).build()).collect();
        let call = client.register_targets().target_group_arn(ARN).set_targets(Some(targets));
        call.send().await.map_err(aws_sdk_elasticloadbalancingv2::error::SdkError::into_service_error)
    };
    let unknown = register(&[ID, "i-00000000000000000"]).await.unwrap_err();
    assert!(unknown.is_invalid_target_exception(), "{unknown:?}");
    assert_eq!(stage.cloud.lock().target_groups[0].targets().count(), 0, "all or none");
    register(&[ID]).await.unwrap();
    stage.cloud.apply(ID, &Event::PoweredOff).unwrap();
    assert!(register(&[ID]).await.unwrap_err().is_invalid_target_exception(), "it does not run");
}

#[tokio::test]
async fn what_iam_denies_has_no_effect_and_names_the_action() {
    let stage = stage().await;
    let action = "CompleteLifecycleAction";
    stage.cloud.faults().plan(On::Call(action), Fault::Denied, Span::Always, Duration::ZERO);
    stage.wait_state();
    let client = client!(aws_sdk_autoscaling, stage, ACCESS_KEY);
    let call = client.complete_lifecycle_action().auto_scaling_group_name(GROUP).lifecycle_hook_name("leave");
    let error = call.instance_id(ID).lifecycle_action_result("CONTINUE").send().await.unwrap_err();
    let error = error.into_service_error();
    assert_eq!(error.code(), Some("AccessDenied"));
    assert!(
        error.message().is_some_and(|said| said.contains("perform: autoscaling:CompleteLifecycleAction"))
    );
    assert_eq!(stage.cloud.lock().state(ID).map(State::name), Some("Terminating:Wait"));
}

#[tokio::test]
async fn strangers_and_unknown_actions_are_refused_and_logged() {
    let stage = stage().await;
    let stranger = client!(aws_sdk_autoscaling, stage, "AKIASTRANGER");
    let error = stranger.describe_auto_scaling_instances().send().await.unwrap_err();
    assert_eq!(error.into_service_error().code(), Some("InvalidClientTokenId"));
    let client = client!(aws_sdk_autoscaling, stage, ACCESS_KEY);
    let error = client.describe_account_limits().send().await.unwrap_err();
    assert_eq!(error.into_service_error().code(), Some("InvalidAction"));
    let logged: Vec<_> =
        stage.cloud.record.all().into_iter().map(|call| (call.action, call.status)).collect();
    let expected = [("DescribeAutoScalingInstances", 403), ("DescribeAccountLimits", 400)];
    assert_eq!(logged, expected.map(|(action, status)| (action.to_owned(), status)));
}

struct Local {
    url: String,
    cloud: Arc<Cloud>,
}

impl Local {
    /// Takes the instance to `Terminating:Wait`; it never was a target.
    fn wait_state(&self) {
        self.cloud.apply(ID, &Event::ScaledIn).expect("an instance that can go");
        self.cloud.tick();
        self.cloud.tick();
    }
}

async fn stage() -> Local {
    let hook = Hook {
        name: "leave".to_owned(),
        transition: Transition::Terminating,
        heartbeat: Duration::from_mins(1),
        default_result: ActionResult::Abandon,
        notifies: None,
    };
    let group = TargetGroup::new(ARN.to_owned(), 80, Duration::from_secs(15));
    let (cloud, _) = Cloud::new(vec![hook], vec![group], Duration::ZERO, Arc::new(|_| {}));
    let cloud = Arc::new(cloud);
    cloud.launch(ID, Ipv4Addr::LOCALHOST, Launch::default());
    let web = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = web.local_addr().expect("its address").port();
    tokio::spawn(serve(web, Arc::new(Peer)));
    let api = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", api.local_addr().expect("its address"));
    tokio::spawn(serve(api, Arc::new(Api::new(Arc::clone(&cloud), port))));
    Local { url, cloud }
}
