//! Elastic Load Balancing, version 2015-12-01.

use serde_json::Value;

use super::xml::{Node, Reply};
use super::{Outcome, Refusal, members, required};
use crate::cloud::{ACCOUNT, Cloud, Inner, REGION};
use crate::lifecycle::{Pool, State};
use crate::targets::{THRESHOLD, TargetGroup, TargetId};

const NAMESPACE: &str = "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/";

pub(super) fn answer(cloud: &Cloud, action: &str, parameters: &Value) -> Outcome {
    let now = cloud.now();
    let mut inner = cloud.lock();
    let fields = match action {
        "DescribeTargetGroups" => describe_groups(&inner, parameters)?,
        "DescribeTargetHealth" => describe_health(group(&mut inner, parameters)?, parameters)?,
        "DescribeTargetGroupAttributes" => describe_attributes(group(&mut inner, parameters)?),
        "RegisterTargets" => {
            let wanted = targets(parameters, group(&mut inner, parameters)?.port)?;
            // All or none.
            wanted.iter().try_for_each(|(id, _)| registrable(&inner, id))?;
            let group = group(&mut inner, parameters)?;
            for target in wanted {
                group.register(target, now);
            }
            Vec::new()
        }
        // Succeeds for targets that are not there, and does nothing for one registered with another port.
        "DeregisterTargets" => {
            let group = group(&mut inner, parameters)?;
            for target in targets(parameters, group.port)? {
                group.deregister(&target, now);
            }
            Vec::new()
        }
        other => return Err(Refusal::unknown_action(other, "2015-12-01")),
    };
    Ok(Reply { namespace: NAMESPACE, fields })
}

type Fields = Vec<(&'static str, Node)>;

fn group<'a>(inner: &'a mut Inner, parameters: &Value) -> Result<&'a mut TargetGroup, Refusal> {
    let arn = required(parameters, "TargetGroupArn")?;
    let found = inner.target_groups.iter_mut().find(|group| group.arn == arn);
    found.ok_or_else(|| Refusal::new("TargetGroupNotFound", format!("Target groups '{arn}' not found")))
}

/// `Targets.member.N.Id` and `.Port`, the group's port where none is named.
fn targets(parameters: &Value, default_port: u16) -> Result<Vec<TargetId>, Refusal> {
    let get =
        |n: usize, field: &str| parameters.get(format!("Targets.member.{n}.{field}")).and_then(Value::as_str);
    let mut found = Vec::new();
    for (n, id) in (1..).map_while(|n| get(n, "Id").map(|id| (n, id))) {
        let port = get(n, "Port").map_or(Ok(default_port), str::parse);
        let port = port.map_err(|_| Refusal::invalid(format!("the port of target {id} is not a number")))?;
        found.push((id.to_owned(), port));
    }
    Ok(found)
}

/// Whether EC2 knows the instance, and runs it.
fn registrable(inner: &Inner, id: &str) -> Result<(), Refusal> {
    let refused = |message: String| Err(Refusal::new("InvalidTarget", message));
    match inner.state(id) {
        None => refused(format!("Instance ID '{id}' is not valid")),
        Some(state) if state.gone() || matches!(state, State::Warmed(Pool::Stopped | Pool::Hibernated)) => {
            refused(format!(
                "The following targets are not in a running state and cannot be registered: '{id}'"
            ))
        }
        Some(_) => Ok(()),
    }
}

/// Those that are named, or all; one that does not exist spoils the call.
fn describe_groups(inner: &Inner, parameters: &Value) -> Result<Fields, Refusal> {
    let (arns, names) = (members(parameters, "TargetGroupArns"), members(parameters, "Names"));
    let all = || inner.target_groups.iter();
    let known = arns.iter().all(|arn| all().any(|group| group.arn == **arn))
        && names.iter().all(|name| all().any(|group| group.name() == *name));
    if !known {
        return Err(Refusal::new("TargetGroupNotFound", "One or more target groups not found"));
    }
    let wanted = all().filter(|group| {
        (arns.is_empty() && names.is_empty())
            || arns.contains(&group.arn.as_str())
            || names.contains(&group.name())
    });
    Ok(vec![("TargetGroups", Node::List(wanted.map(describe_group).collect()))])
}

/// Each group has a listener of its own; health checks come as often as AWS allows at most, whatever the stage's own
/// pace is.
fn describe_group(group: &TargetGroup) -> Node {
    let balancer = format!(
        "arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:loadbalancer/app/{}/50dc6c495c0c9188",
        group.name()
    );
    let port = group.health_port.map_or_else(|| "traffic-port".to_owned(), |port| port.to_string());
    Node::Fields(vec![
        ("TargetGroupArn", Node::text(&group.arn)),
        ("TargetGroupName", Node::text(group.name())),
        ("Protocol", Node::text("HTTP")),
        ("ProtocolVersion", Node::text("HTTP1")),
        ("Port", Node::text(group.port)),
        ("VpcId", Node::text("vpc-0123456789abcdef0")),
        ("TargetType", Node::text("instance")),
        ("IpAddressType", Node::text("ipv4")),
        ("HealthCheckEnabled", Node::text(true)),
        ("HealthCheckProtocol", Node::text("HTTP")),
        ("HealthCheckPort", Node::text(port)),
        ("HealthCheckPath", Node::text(&group.health_path)),
        ("HealthCheckIntervalSeconds", Node::text(5)),
        ("HealthCheckTimeoutSeconds", Node::text(2)),
        ("HealthyThresholdCount", Node::text(THRESHOLD)),
        ("UnhealthyThresholdCount", Node::text(THRESHOLD)),
        ("Matcher", Node::Fields(vec![("HttpCode", Node::text(200))])),
        ("LoadBalancerArns", Node::List(vec![Node::text(balancer)])),
    ])
}

fn describe_health(group: &TargetGroup, parameters: &Value) -> Result<Fields, Refusal> {
    let mut wanted = targets(parameters, group.port)?;
    if wanted.is_empty() {
        wanted = group.targets().map(|(id, _)| id.clone()).collect();
    }
    let list = wanted.into_iter().map(|target| {
        let (state, reason) = match group.health(&target) {
            Some(health) => (health.name(), health.reason()),
            None => {
                ("unused", Some(("Target.NotRegistered", "Target is not registered to the target group")))
            }
        };
        let mut health = vec![("State", Node::text(state))];
        if let Some((reason, description)) = reason {
            health.extend([("Reason", Node::text(reason)), ("Description", Node::text(description))]);
        }
        Node::Fields(vec![
            ("Target", Node::Fields(vec![("Id", Node::text(&target.0)), ("Port", Node::text(target.1))])),
            ("HealthCheckPort", Node::text(group.health_port.unwrap_or(target.1))),
            ("TargetHealth", Node::Fields(health)),
        ])
    });
    Ok(vec![("TargetHealthDescriptions", Node::List(list.collect()))])
}

fn describe_attributes(group: &TargetGroup) -> Fields {
    let attributes = [
        ("deregistration_delay.timeout_seconds", group.delay.as_secs().to_string()),
        ("slow_start.duration_seconds", "0".to_owned()),
        ("load_balancing.algorithm.type", "round_robin".to_owned()),
        ("stickiness.enabled", "false".to_owned()),
    ];
    let list = attributes
        .into_iter()
        .map(|(key, value)| Node::Fields(vec![("Key", Node::text(key)), ("Value", Node::text(value))]));
    vec![("Attributes", Node::List(list.collect()))]
}
