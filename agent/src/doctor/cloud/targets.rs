//! The target groups: their health checks, their attributes, and the instance's rows in them.

use crate::aws::{Aws, Error};
use crate::board::TargetRow;
use crate::doctor::Known;
use crate::doctor::trials::{self, Trial};
use crate::targets::read_rows;
use aws_sdk_elasticloadbalancingv2::types::{ProtocolEnum, TargetGroup as Group};
use std::sync::Arc;
use tokio::task::JoinSet;

/// A target group.
#[derive(Debug, Clone)]
pub(in crate::doctor) struct TargetGroup {
    pub(in crate::doctor) arn: String,
    pub(in crate::doctor) settings: Known<Settings>,
    pub(in crate::doctor) attributes: Known<Attributes>,
    /// Our rows.
    pub(in crate::doctor) rows: Known<Vec<TargetRow>>,
}

/// A target group's health check, and whether anything sends requests to it.
#[derive(Debug, Clone)]
pub(in crate::doctor) struct Settings {
    /// Of a Network Load Balancer, by its protocol: connections, not requests.
    pub(in crate::doctor) network: bool,
    pub(in crate::doctor) enabled: bool,
    pub(in crate::doctor) protocol: String,
    pub(in crate::doctor) path: Option<String>,
    pub(in crate::doctor) port: Option<i32>,
    pub(in crate::doctor) interval: u32,
    pub(in crate::doctor) timeout: u32,
    pub(in crate::doctor) healthy: u32,
    pub(in crate::doctor) unhealthy: u32,
    pub(in crate::doctor) balancers: usize,
}

/// A target group's attributes, in seconds.
#[derive(Debug, Clone, Copy)]
pub(in crate::doctor) struct Attributes {
    pub(in crate::doctor) delay: u64,
    pub(in crate::doctor) slow_start: u64,
}

/// Reads all of them side by side.
pub(super) async fn gather(
    aws: &Arc<Aws>,
    arns: Vec<String>,
    ids: &[String],
) -> (Vec<TargetGroup>, Vec<Trial>) {
    let mut running = JoinSet::new();
    for arn in arns {
        let (aws, ids) = (aws.clone(), ids.to_vec());
        running.spawn(async move { Box::pin(target_group(&aws, arn, &ids)).await });
    }
    let mut answers = running.join_all().await;
    answers.sort_by(|(one, _), (other, _)| one.arn.cmp(&other.arn));
    let (groups, tried): (Vec<_>, Vec<_>) = answers.into_iter().unzip();
    (groups, tried.concat())
}

async fn target_group(aws: &Aws, arn: String, ids: &[String]) -> (TargetGroup, Vec<Trial>) {
    let (settings, attributes, rows, deregister, register) = tokio::join!(
        settings(aws, &arn),
        attributes(aws, &arn),
        read_rows(aws, &arn, ids),
        trials::deregister(aws, &arn),
        trials::register(aws, &arn),
    );
    let tried = vec![
        trials::read("elasticloadbalancing:DescribeTargetHealth", &rows).of(&arn),
        trials::dry("elasticloadbalancing:DeregisterTargets", &deregister).of(&arn),
        trials::dry("elasticloadbalancing:RegisterTargets", &register).of(&arn),
        trials::read("elasticloadbalancing:DescribeTargetGroups", &settings).of(&arn),
        trials::read("elasticloadbalancing:DescribeTargetGroupAttributes", &attributes).of(&arn),
    ];
    let group = TargetGroup {
        settings: settings.map_err(|error| error.to_string()),
        attributes: attributes.map_err(|error| error.to_string()),
        rows: rows.map(|rows| rows.ours).map_err(|error| error.to_string()),
        arn,
    };
    (group, tried)
}

async fn settings(aws: &Aws, arn: &str) -> Result<Settings, Error> {
    let answer = aws
        .elbv2()
        .await?
        .describe_target_groups()
        .target_group_arns(arn)
        .send()
        .await
        .map_err(|error| Error::new("DescribeTargetGroups", &error))?;
    let found = answer.target_groups().first();
    let number = |given: Option<i32>| given.and_then(|given| u32::try_from(given).ok()).unwrap_or_default();
    let field = |read: fn(&Group) -> Option<i32>| number(found.and_then(read));
    let protocol = found.and_then(Group::protocol);
    let of_requests = |protocol: &ProtocolEnum| matches!(protocol.as_str(), "HTTP" | "HTTPS" | "GENEVE");
    Ok(Settings {
        network: protocol.is_some_and(|protocol| !of_requests(protocol)),
        enabled: found.and_then(Group::health_check_enabled).unwrap_or(true),
        protocol: found
            .and_then(|group| group.health_check_protocol())
            .map_or_else(String::new, |protocol| protocol.as_str().to_owned()),
        path: found.and_then(|group| group.health_check_path()).map(str::to_owned),
        port: found.and_then(Group::port),
        interval: field(Group::health_check_interval_seconds),
        timeout: field(Group::health_check_timeout_seconds),
        healthy: field(Group::healthy_threshold_count),
        unhealthy: field(Group::unhealthy_threshold_count),
        balancers: found.map_or(0, |group| group.load_balancer_arns().len()),
    })
}

async fn attributes(aws: &Aws, arn: &str) -> Result<Attributes, Error> {
    let answer = aws
        .elbv2()
        .await?
        .describe_target_group_attributes()
        .target_group_arn(arn)
        .send()
        .await
        .map_err(|error| Error::new("DescribeTargetGroupAttributes", &error))?;
    let value = |key: &str| {
        let found = answer.attributes().iter().find(|attribute| attribute.key() == Some(key));
        found.and_then(|attribute| attribute.value()).and_then(|value| value.parse().ok())
    };
    Ok(Attributes {
        // The default, which an answer without it stands for.
        delay: value("deregistration_delay.timeout_seconds").unwrap_or(300),
        slow_start: value("slow_start.duration_seconds").unwrap_or(0),
    })
}
