//! Auto Scaling, version 2011-01-01.

use serde_json::Value;

use super::xml::{Node, Reply};
use super::{Outcome, Refusal, members, required};
use crate::cloud::{ACCOUNT, Cloud, GROUP, Inner, Member, REGION, ZONE};
use crate::lifecycle::{ActionResult, Event, Hook, State};
use crate::targets::TargetGroup;

const NAMESPACE: &str = "http://autoscaling.amazonaws.com/doc/2011-01-01/";

pub(super) fn answer(cloud: &Cloud, action: &str, parameters: &Value) -> Outcome {
    let fields = match action {
        "DescribeAutoScalingInstances" => {
            describe_instances(&cloud.lock(), &members(parameters, "InstanceIds"))
        }
        "DescribeAutoScalingGroups" => describe_groups(&cloud.lock(), parameters),
        "DescribeLifecycleHooks" => {
            group(parameters)?;
            describe_hooks(&cloud.lock().hooks, &members(parameters, "LifecycleHookNames"))
        }
        "DescribeTrafficSources" => {
            group(parameters)?;
            describe_sources(&cloud.lock())
        }
        "CompleteLifecycleAction" => {
            let result = match required(parameters, "LifecycleActionResult")? {
                "CONTINUE" => ActionResult::Continue,
                "ABANDON" => ActionResult::Abandon,
                other => {
                    return Err(Refusal::invalid(format!(
                        "The lifecycle action result {other} is not valid"
                    )));
                }
            };
            lifecycle_action(cloud, parameters, |hook| Event::Completed(hook, result))?
        }
        "RecordLifecycleActionHeartbeat" => lifecycle_action(cloud, parameters, Event::Heartbeat)?,
        other => return Err(Refusal::unknown_action(other, "2011-01-01")),
    };
    Ok(Reply { namespace: NAMESPACE, fields })
}

type Fields = Vec<(&'static str, Node)>;

fn group(parameters: &Value) -> Result<(), Refusal> {
    match required(parameters, "AutoScalingGroupName")? {
        GROUP => Ok(()),
        _ => Err(Refusal::invalid("AutoScalingGroup name not found - null")),
    }
}

fn lifecycle_action(
    cloud: &Cloud,
    parameters: &Value,
    event: impl Fn(String) -> Event,
) -> Result<Fields, Refusal> {
    group(parameters)?;
    let hook = required(parameters, "LifecycleHookName")?;
    // Only an agent that was told by a notification has a token; the stage sends none.
    let id = parameters.get("InstanceId").and_then(Value::as_str).ok_or_else(|| {
        Refusal::invalid("Either the InstanceId or the LifecycleActionToken must be specified")
    })?;
    cloud
        .apply(id, &event(hook.to_owned()))
        .map(|()| Vec::new())
        .map_err(|_| Refusal::invalid(format!("No active Lifecycle Action found with instance ID {id}")))
}

fn describe_instances(inner: &Inner, ids: &[&str]) -> Fields {
    let wanted = members_of(inner).filter(|(id, _)| ids.is_empty() || ids.contains(&id.as_str()));
    let list = wanted.map(|(id, member)| {
        let mut fields = instance(id, member);
        fields.push(("AutoScalingGroupName", Node::text(GROUP)));
        Node::Fields(fields)
    });
    vec![("AutoScalingInstances", Node::List(list.collect()))]
}

/// Who is in the group: a detached instance is not.
fn members_of(inner: &Inner) -> impl Iterator<Item = (&String, &Member)> {
    inner.members.iter().filter(|(_, member)| member.lifecycle.state() != State::Detached)
}

fn instance(id: &str, member: &Member) -> Fields {
    vec![
        ("InstanceId", Node::text(id)),
        ("InstanceType", Node::text(crate::cloud::INSTANCE_TYPE)),
        ("AvailabilityZone", Node::text(ZONE)),
        ("LifecycleState", Node::text(member.lifecycle.state().name())),
        ("HealthStatus", Node::text("HEALTHY")),
        ("ProtectedFromScaleIn", Node::text(false)),
    ]
}

fn describe_groups(inner: &Inner, parameters: &Value) -> Fields {
    let names = members(parameters, "AutoScalingGroupNames");
    if !names.is_empty() && !names.contains(&GROUP) {
        return vec![("AutoScalingGroups", Node::List(Vec::new()))];
    }
    let arns = inner.target_groups.iter().map(|group| Node::text(&group.arn)).collect();
    let suspended = inner.suspended.iter().map(|process| {
        Node::Fields(vec![
            ("ProcessName", Node::text(process)),
            ("SuspensionReason", Node::text("User suspended at 2026-01-01T00:00:00Z")),
        ])
    });
    let arn = format!(
        "arn:aws:autoscaling:{REGION}:{ACCOUNT}:autoScalingGroup:01234567-89ab-4cde-8f01-23456789abcd:\
         autoScalingGroupName/{GROUP}"
    );
    let mut fields = vec![
        ("AutoScalingGroupName", Node::text(GROUP)),
        ("AutoScalingGroupARN", Node::text(arn)),
        ("MinSize", Node::text(0)),
        ("MaxSize", Node::text(10)),
        ("DesiredCapacity", Node::text(members_of(inner).count())),
        ("DefaultCooldown", Node::text(300)),
        ("AvailabilityZones", Node::List(vec![Node::text(ZONE)])),
        ("TargetGroupARNs", Node::List(arns)),
        ("TrafficSources", Node::List(inner.target_groups.iter().map(source).collect())),
        ("SuspendedProcesses", Node::List(suspended.collect())),
        ("HealthCheckType", Node::text("ELB")),
        ("HealthCheckGracePeriod", Node::text(300)),
        ("CreatedTime", Node::text("2026-01-01T00:00:00Z")),
    ];
    if parameters.get("IncludeInstances").and_then(Value::as_str) != Some("false") {
        let list = members_of(inner).map(|(id, member)| Node::Fields(instance(id, member)));
        fields.push(("Instances", Node::List(list.collect())));
    }
    vec![("AutoScalingGroups", Node::List(vec![Node::Fields(fields)]))]
}

fn describe_hooks(hooks: &[Hook], names: &[&str]) -> Fields {
    let wanted = hooks.iter().filter(|hook| names.is_empty() || names.contains(&hook.name.as_str()));
    let list = wanted.map(|hook| {
        let mut fields = vec![
            ("LifecycleHookName", Node::text(&hook.name)),
            ("AutoScalingGroupName", Node::text(GROUP)),
            ("LifecycleTransition", Node::text(hook.transition.name())),
            ("HeartbeatTimeout", Node::text(hook.heartbeat.as_secs())),
            ("GlobalTimeout", Node::text(hook.global().as_secs())),
            ("DefaultResult", Node::text(hook.default_result.name())),
        ];
        if let Some(arn) = &hook.notifies {
            let role = format!("arn:aws:iam::{ACCOUNT}:role/hooks");
            fields.extend([("NotificationTargetARN", Node::text(arn)), ("RoleARN", Node::text(role))]);
        }
        Node::Fields(fields)
    });
    vec![("LifecycleHooks", Node::List(list.collect()))]
}

/// A target group as a traffic source.
fn source(group: &TargetGroup) -> Node {
    Node::Fields(vec![("Identifier", Node::text(&group.arn)), ("Type", Node::text("elbv2"))])
}

fn describe_sources(inner: &Inner) -> Fields {
    let list = inner.target_groups.iter().map(|group| {
        let mut fields = vec![("TrafficSource", Node::text(&group.arn)), ("State", Node::text("InService"))];
        if let Node::Fields(named) = source(group) {
            fields.extend(named);
        }
        Node::Fields(fields)
    });
    vec![("TrafficSources", Node::List(list.collect()))]
}
