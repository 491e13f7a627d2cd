//! Elastic Load Balancing, version 2015-12-01.

use serde_json::Value;

use super::xml::{Node, Reply};
use super::{Outcome, Refusal, required};
use crate::cloud::{Cloud, Inner};
use crate::targets::{TargetGroup, TargetId};

const NAMESPACE: &str = "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/";

pub(super) fn answer(cloud: &Cloud, action: &str, parameters: &Value) -> Outcome {
    let now = cloud.now();
    let mut inner = cloud.lock();
    let fields = match action {
        "DescribeTargetHealth" => describe_health(group(&mut inner, parameters)?, parameters)?,
        "DescribeTargetGroupAttributes" => describe_attributes(group(&mut inner, parameters)?),
        "RegisterTargets" => {
            let group = group(&mut inner, parameters)?;
            for target in targets(parameters, group.port)? {
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
