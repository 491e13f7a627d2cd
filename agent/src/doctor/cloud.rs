//! What AWS knows of the instance: its group, the group's hooks, its target groups. Read as the agent itself reads it,
//! and each answer also tells whether the call is allowed.

mod targets;

pub(super) use targets::{Attributes, Settings, TargetGroup};

use super::trials::{self, Trial};
use super::{Known, metadata::Metadata};
use crate::aws::{Aws, Error};
use crate::board::{Board, Status};
use crate::config::{Config, Selector};
use crate::group::{Group, HookInfo, Member, elbv2_target_groups};
use crate::imds::Imds;
use crate::lifecycle::{Lifecycle, Policy};
use std::sync::Arc;

/// What AWS says.
#[derive(Debug)]
pub(super) struct Cloud {
    pub(super) member: Known<Option<Member>>,
    /// The group's name, and how it was found.
    pub(super) name: Known<(String, &'static str)>,
    pub(super) group: Known<GroupFacts>,
    /// Auto Scaling has answered, and lists no group of that name.
    pub(super) unlisted: bool,
    pub(super) hooks: Known<Vec<HookInfo>>,
    pub(super) target_groups: Known<Vec<TargetGroup>>,
    pub(super) trials: Vec<Trial>,
}

impl Cloud {
    /// Nothing but why.
    pub(super) fn unknown(why: &str, trials: Vec<Trial>) -> Self {
        let why = || why.to_owned();
        Self {
            member: Err(why()),
            name: Err(why()),
            group: Err(why()),
            unlisted: false,
            hooks: Err(why()),
            target_groups: Err(why()),
            trials,
        }
    }

    /// The ports that the instance is registered with.
    pub(super) fn ports(&self) -> Vec<u16> {
        let rows = self.target_groups.iter().flatten().filter_map(|group| group.rows.as_ref().ok()).flatten();
        rows.filter_map(|row| u16::try_from(row.port?).ok()).collect()
    }
}

/// The group, as far as it matters.
#[derive(Debug, Clone, Default)]
pub(super) struct GroupFacts {
    pub(super) arn: Option<String>,
    pub(super) health_check: String,
    pub(super) suspended: Vec<String>,
    /// A terminate hook that is abandoned keeps the instance, and its bill, until a person acts.
    pub(super) retains: bool,
    pub(super) target_groups: Vec<String>,
}

pub(super) async fn gather(
    config: &Config,
    metadata: &Metadata,
    imds: &Arc<Imds>,
    aws: &Arc<Aws>,
    agent: Option<&Status>,
) -> Cloud {
    let Ok(id) = &metadata.instance_id else {
        return Cloud::unknown("the metadata service does not answer", Vec::new());
    };
    // A board of its own: nobody reads it.
    let board = Board::new(&Lifecycle::new(Policy::default(), crate::clock::Moment::default()));
    let reader = Group::new(aws.clone(), imds.clone(), Selector::Auto, board);
    let (member, record, sources) =
        tokio::join!(reader.member(), trials::record(aws, config), trials::sources(imds, aws));
    let mut trials = vec![trials::read("autoscaling:DescribeAutoScalingInstances", &member)];
    trials.extend(record);
    trials.extend(sources);
    let name = name(config, metadata, &member);
    let group = name.as_ref().map(|(name, _)| name.as_str()).map_err(Clone::clone);
    let (facts, hooks, complete, beat, metrics) = tokio::join!(
        with(group.clone(), |name| group_facts(aws, name)),
        with(group.clone(), |name| reader.hooks(name)),
        with(group.clone(), |name| trials::complete(aws, name)),
        with(group.clone(), |name| trials::heartbeat(aws, name)),
        trials::put_metrics(aws, config, agent),
    );
    let of = |action, answer: Result<Result<(), Error>, String>| match answer {
        Ok(answer) => trials::dry(action, &answer),
        Err(why) => Trial::unknown(action, why),
    };
    let told = |action, answer: Known<Result<(), Error>>| match answer {
        Ok(answer) => trials::read(action, &answer),
        Err(why) => Trial::unknown(action, why),
    };
    trials.push(told("autoscaling:DescribeAutoScalingGroups", reply(&facts)));
    trials.push(told("autoscaling:DescribeLifecycleHooks", reply(&hooks)));
    trials.push(of("autoscaling:CompleteLifecycleAction", complete));
    trials.push(of("autoscaling:RecordLifecycleActionHeartbeat", beat));
    trials.push(metrics);

    let facts = flat(facts);
    let unlisted = matches!(facts, Ok(None));
    let facts =
        facts.and_then(|facts| facts.ok_or_else(|| "Auto Scaling does not list the group".to_owned()));
    let arns = match (&config.target_groups, &facts) {
        (Some(arns), _) => Ok(arns.clone()),
        (None, Ok(facts)) => Ok(facts.target_groups.clone()),
        (None, Err(why)) => Err(why.clone()),
    };
    let own: Vec<String> = [Some(id.clone()), metadata.address.clone()].into_iter().flatten().collect();
    let target_groups = match arns {
        Ok(arns) => {
            let (groups, tried) = targets::gather(aws, arns, &own).await;
            trials.extend(tried);
            Ok(groups)
        }
        Err(why) => {
            trials.push(Trial::unknown("elasticloadbalancing:DescribeTargetHealth", why.clone()));
            trials.push(Trial::unknown("elasticloadbalancing:DeregisterTargets", why.clone()));
            trials.push(Trial::unknown("elasticloadbalancing:RegisterTargets", why.clone()));
            Err(why)
        }
    };
    let member = member.map_err(|error| error.to_string());
    Cloud { member, name, group: facts, unlisted, hooks: flat(hooks), target_groups, trials }
}

fn name(
    config: &Config,
    metadata: &Metadata,
    member: &Result<Option<Member>, Error>,
) -> Known<(String, &'static str)> {
    match (&config.group, &metadata.group_tag, member) {
        (Selector::Named(name), _, _) => Ok((name.clone(), "by lifecycle.group")),
        (Selector::Auto, Some(name), _) => Ok((name.clone(), "by the instance's tag")),
        (Selector::Auto, None, Ok(Some(member))) => Ok((member.group.clone(), "by asking Auto Scaling")),
        (Selector::Auto, None, Ok(None)) => Err("the instance is in no group".to_owned()),
        (Selector::Auto, None, Err(error)) => Err(error.to_string()),
    }
}

/// Asks when there is a name to ask with.
async fn with<'a, T, Asked: Future<Output = T>>(
    name: Known<&'a str>,
    ask: impl FnOnce(&'a str) -> Asked,
) -> Known<T> {
    match name {
        Ok(name) => Ok(ask(name).await),
        Err(why) => Err(why),
    }
}

fn flat<T>(answer: Known<Result<T, Error>>) -> Known<T> {
    answer.and_then(|answer| answer.map_err(|error| error.to_string()))
}

fn reply<T>(answer: &Known<Result<T, Error>>) -> Known<Result<(), Error>> {
    match answer {
        Ok(Ok(_)) => Ok(Ok(())),
        Ok(Err(error)) => Ok(Err(error.clone())),
        Err(why) => Err(why.clone()),
    }
}

/// `None`: answered, and it is not listed.
async fn group_facts(aws: &Aws, name: &str) -> Result<Option<GroupFacts>, Error> {
    let answer = aws
        .autoscaling()
        .await?
        .describe_auto_scaling_groups()
        .auto_scaling_group_names(name)
        .include_instances(false)
        .send()
        .await
        .map_err(|error| Error::new("DescribeAutoScalingGroups", &error))?;
    let listed = answer.auto_scaling_groups();
    let Some(found) = listed.iter().find(|found| found.auto_scaling_group_name() == Some(name)) else {
        return Ok(None);
    };
    let triggers = found.instance_lifecycle_policy().and_then(|policy| policy.retention_triggers());
    let retained = triggers.and_then(|triggers| triggers.terminate_hook_abandon());
    Ok(Some(GroupFacts {
        arn: found.auto_scaling_group_arn().map(str::to_owned),
        health_check: found.health_check_type().unwrap_or_default().to_owned(),
        suspended: found
            .suspended_processes()
            .iter()
            .filter_map(|process| process.process_name().map(str::to_owned))
            .collect(),
        retains: retained.is_some_and(|action| action.as_str() == "retain"),
        target_groups: elbv2_target_groups(found),
    }))
}
