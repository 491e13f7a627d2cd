//! What IAM lets the agent do, and the policy that would let it do the rest.

use super::cloud::Cloud;
use super::metadata::Metadata;
use super::trials::{Outcome, PARAMETERS, SECRETS, Trial};
use super::{Finding, Known};
use crate::config::Config;
use serde_json::{Value, json};

/// What an action is for, and what its policy statement is bound to.
struct Action {
    name: &'static str,
    check: &'static str,
    scope: Scope,
    /// What is lost without it; `None` where only this command makes the call.
    without: Option<&'static str>,
}

/// What a statement names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// The action knows no resources.
    Any,
    /// The Auto Scaling group.
    Group,
    /// The target groups.
    Targets,
    /// The namespace, by a condition: the action knows no resources.
    Namespace,
    /// The record's log group and its streams.
    Logs,
    /// The record's objects.
    Objects,
    /// What `[env]` names.
    Sources,
}

impl Scope {
    const ALL: [Self; 7] =
        [Self::Any, Self::Group, Self::Targets, Self::Namespace, Self::Logs, Self::Objects, Self::Sources];

    /// What to do about a name that is nothing's.
    fn remedy(self) -> &'static str {
        match self {
            Self::Logs => "create the log group, in this region, or name another in record.log_group",
            Self::Objects => "create the bucket, in this region, or name another in record.bucket",
            Self::Sources => {
                "mend the name in the user data's [env], or create what it names, in this region"
            }
            _ => "see what the configuration names",
        }
    }
}

/// Every call that the agent may make.
const ACTIONS: [Action; 16] = [
    action(
        "autoscaling:DescribeAutoScalingInstances",
        "iam.DescribeAutoScalingInstances",
        Scope::Any,
        "no hook can be completed: the instance's state is not known",
    ),
    action(
        "autoscaling:DescribeLifecycleHooks",
        "iam.DescribeLifecycleHooks",
        Scope::Any,
        "hooks must be named in [lifecycle], and no heartbeat is sent",
    ),
    action(
        "autoscaling:DescribeAutoScalingGroups",
        "iam.DescribeAutoScalingGroups",
        Scope::Any,
        "target groups must be named in drain.target_groups",
    ),
    action(
        "autoscaling:CompleteLifecycleAction",
        "iam.CompleteLifecycleAction",
        Scope::Group,
        "each launch and each termination waits for its hook's timeout",
    ),
    action(
        "autoscaling:RecordLifecycleActionHeartbeat",
        "iam.RecordLifecycleActionHeartbeat",
        Scope::Group,
        "a drain that outlasts the terminate hook's timeout is cut off",
    ),
    action(
        "elasticloadbalancing:DescribeTargetHealth",
        "iam.DescribeTargetHealth",
        Scope::Any,
        "targets are not deregistered at a spot interruption or a shutdown",
    ),
    action(
        "elasticloadbalancing:DeregisterTargets",
        "iam.DeregisterTargets",
        Scope::Targets,
        "requests still arrive after a spot interruption or a shutdown",
    ),
    action(
        "elasticloadbalancing:RegisterTargets",
        "iam.RegisterTargets",
        Scope::Targets,
        "an instance that was taken out by `kiln-agent drain` does not come back",
    ),
    action("cloudwatch:PutMetricData", "iam.PutMetricData", Scope::Namespace, "no CPU metric"),
    action("logs:CreateLogStream", "iam.CreateLogStream", Scope::Logs, "the flight record is lost"),
    action("logs:PutLogEvents", "iam.PutLogEvents", Scope::Logs, "the flight record is lost"),
    action("s3:PutObject", "iam.PutObject", Scope::Objects, "the flight record is lost"),
    action(PARAMETERS, "iam.GetParameters", Scope::Sources, "the next boot fails at [env]"),
    action(SECRETS, "iam.GetSecretValue", Scope::Sources, "the next boot fails at [env]"),
    Action {
        name: "elasticloadbalancing:DescribeTargetGroups",
        check: "iam.DescribeTargetGroups",
        scope: Scope::Any,
        without: None,
    },
    Action {
        name: "elasticloadbalancing:DescribeTargetGroupAttributes",
        check: "iam.DescribeTargetGroupAttributes",
        scope: Scope::Any,
        without: None,
    },
];

const fn action(name: &'static str, check: &'static str, scope: Scope, without: &'static str) -> Action {
    Action { name, check, scope, without: Some(without) }
}

pub(super) fn judge(trials: &[Trial], metadata: &Metadata) -> Vec<Finding> {
    let silent = trials.iter().find_map(|trial| match &trial.outcome {
        Outcome::Silent(why) => Some(why),
        _ => None,
    });
    let answered =
        trials.iter().any(|trial| !matches!(trial.outcome, Outcome::Silent(_) | Outcome::Unknown(_)));
    let reachable = match (silent, answered) {
        _ if metadata.instance_id.is_err() => {
            Finding::skipped("aws.reachable", "the metadata service does not answer")
        }
        (None, true) => Finding::ok("aws.reachable", "every call was answered"),
        (None, false) => Finding::skipped("aws.reachable", "no call was made"),
        (Some(why), true) => Finding::warn(
            "aws.reachable",
            format!("not every call was answered: {why}"),
            "a route or an interface endpoint for each of autoscaling, elasticloadbalancing and monitoring, and for logs, \
             s3, ssm and secretsmanager where [record] and [env] name them",
        ),
        (Some(why), false) => Finding::fail(
            "aws.reachable",
            why,
            "attach an instance profile if there are no credentials; else give the subnet a route out, or interface \
             endpoints for autoscaling, elasticloadbalancing and monitoring, whose security groups admit port 443",
        ),
    };
    let mut findings = vec![reachable];
    findings.extend(ACTIONS.iter().flat_map(|action| action.judge(trials)));
    findings
}

impl Action {
    fn judge(&self, trials: &[Trial]) -> Vec<Finding> {
        let mut ours = trials.iter().filter(|trial| trial.action == self.name).peekable();
        let wanted = !matches!(self.scope, Scope::Logs | Scope::Objects | Scope::Sources);
        if ours.peek().is_none() {
            // What nobody has configured is no check.
            if !wanted {
                return Vec::new();
            }
            return vec![Finding::skipped(self.check, "nothing to try it on")];
        }
        // One line for all target groups, unless they differ.
        let mut findings: Vec<Finding> = Vec::new();
        for trial in ours {
            let finding = self.finding(&trial.outcome);
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
        findings
    }

    fn finding(&self, outcome: &Outcome) -> Finding {
        match (outcome, self.without) {
            (Outcome::Allowed(how), _) => Finding::ok(self.check, *how),
            (Outcome::Denied(why), None) => {
                Finding::skipped(self.check, format!("denied, and asked by doctor alone: {why}"))
            }
            (Outcome::Denied(why), Some(without)) => Finding::fail(
                self.check,
                format!("{why} (without it: {without})"),
                "add the statement of the missing policy below to the instance's role",
            ),
            (Outcome::Missing(why), _) => Finding::fail(self.check, why, self.scope.remedy()),
            (Outcome::Silent(why) | Outcome::Unknown(why), _) => Finding::skipped(self.check, why),
        }
    }
}

/// The least policy that allows what was denied; `None` when nothing was that the daemon needs.
pub(super) fn missing(cloud: &Cloud, metadata: &Metadata, config: &Config) -> Option<Value> {
    let denied = |action: &Action| -> Vec<&Trial> {
        let denials = cloud.trials.iter().filter(|trial| trial.action == action.name);
        denials.filter(|trial| matches!(trial.outcome, Outcome::Denied(_))).collect()
    };
    let mut statements = Vec::new();
    for scope in Scope::ALL {
        let actions = ACTIONS.iter().filter(|action| action.scope == scope && action.without.is_some());
        let (mut names, trials): (Vec<_>, Vec<_>) = actions
            .map(|action| (action.name, denied(action)))
            .filter(|(_, trials)| !trials.is_empty())
            .unzip();
        if names.is_empty() {
            continue;
        }
        let arn = |service: &str, resource: &str| arn_of(service, resource, metadata);
        statements.push(match scope {
            Scope::Logs => {
                // It cannot be tried, and goes with the other.
                names = vec!["logs:CreateLogStream", "logs:PutLogEvents"];
                let group = arn("logs", &format!("log-group:{}:*", config.record.log_group));
                json!({ "Effect": "Allow", "Action": names, "Resource": group })
            }
            Scope::Objects => {
                let objects = format!("{}/{}*", config.record.bucket, config.record.prefix);
                let objects = format!("arn:{}:s3:::{objects}", place(metadata).0);
                json!({ "Effect": "Allow", "Action": names, "Resource": objects })
            }
            Scope::Sources => {
                let of = |trial: &Trial| trial.of.as_deref().map(|name| source(trial.action, name, &arn));
                let arns: Vec<_> = trials.concat().into_iter().filter_map(of).collect();
                json!({ "Effect": "Allow", "Action": names, "Resource": arns })
            }
            Scope::Any => json!({ "Effect": "Allow", "Action": names, "Resource": "*" }),
            Scope::Group => {
                json!({ "Effect": "Allow", "Action": names, "Resource": group_arn(cloud, metadata) })
            }
            Scope::Targets => {
                let arns: Vec<_> = trials.concat().into_iter().filter_map(|trial| trial.of.clone()).collect();
                json!({ "Effect": "Allow", "Action": names, "Resource": arns })
            }
            Scope::Namespace => json!({
                "Effect": "Allow",
                "Action": names,
                "Resource": "*",
                "Condition": { "StringEquals": { "cloudwatch:namespace": config.metrics.namespace } },
            }),
        });
    }
    (!statements.is_empty()).then(|| json!({ "Version": "2012-10-17", "Statement": statements }))
}

/// The group's ARN without its id: a group that a stack replaces keeps its name and gets another id.
fn group_arn(cloud: &Cloud, metadata: &Metadata) -> String {
    const NAMED: &str = "autoScalingGroup:*:autoScalingGroupName/";
    let arn = cloud.group.as_ref().ok().and_then(|group| group.arn.as_deref());
    if let Some((before, after)) = arn.and_then(|arn| arn.split_once("autoScalingGroup:"))
        && let Some((_, name)) = after.split_once(":autoScalingGroupName/")
    {
        return format!("{before}{NAMED}{name}");
    }
    let name = known(&cloud.name).map_or("*", |(name, _)| name);
    arn_of("autoscaling", &format!("{NAMED}{name}"), metadata)
}

/// A parameter's or secret's ARN; one that was named by its ARN is taken as it is. A secret's ends in six characters that
/// its name does not tell.
fn source(action: &str, name: &str, arn: &impl Fn(&str, &str) -> String) -> String {
    match action {
        _ if name.starts_with("arn:") => name.to_owned(),
        PARAMETERS => {
            // Without the version or label.
            let path = name.split(':').next().unwrap_or_default().trim_start_matches('/');
            arn("ssm", &format!("parameter/{path}"))
        }
        _ => arn("secretsmanager", &format!("secret:{name}-??????")),
    }
}

fn arn_of(service: &str, resource: &str, metadata: &Metadata) -> String {
    let (partition, account) = place(metadata);
    let region = known(&metadata.region).map_or("*", String::as_str);
    format!("arn:{partition}:{service}:{region}:{account}:{resource}")
}

/// The partition and the account.
fn place(metadata: &Metadata) -> (&str, &str) {
    let role = known(&metadata.role).and_then(Option::as_ref);
    role.and_then(|role| role.account()).unwrap_or(("aws", "*"))
}

fn known<T>(fact: &Known<T>) -> Option<&T> {
    fact.as_ref().ok()
}
