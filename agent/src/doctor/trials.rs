//! Every call that the agent may make, tried in a way that changes nothing.
//!
//! Reads are made for real. A call that changes something is made in a form that names nothing real, and the answer is
//! read so:
//!
//! - *Sure*: an `AccessDenied` is IAM's no. Auto Scaling and Elastic Load Balancing name the resource in it, so the
//!   group's or target group's own ARN is what was judged: both are given for real.
//! - *Likely*: a complaint about what the call names comes from the operation itself, which IAM had let through by then.
//!   Services document no order of the two. Complaints about a request's *form* come before IAM, so the form is whole:
//!   only the hook, the instance or the time of the datum cannot be.
//!
//! The record's destination is tried with a stream that is none, or with a body that is not what its digest says; the
//! sources of `[env]` are read as the next boot reads them, and nothing is kept of what they say.
//!
//! What cannot be verified says so; nothing here names the instance itself, one of its hooks or one of its rows.

mod record;
mod sources;

pub(super) use record::record;
pub(super) use sources::{PARAMETERS, SECRETS, sources};

use crate::aws::{Aws, Error};
use crate::board::Status;
use crate::config::Config;
use aws_sdk_cloudwatch::types::MetricDatum;
use aws_sdk_elasticloadbalancingv2::types::TargetDescription;
use aws_smithy_types::DateTime;

/// A hook's name that no one gives; it is well-formed.
const NO_HOOK: &str = "kiln-doctor-tries-whether-it-may";
/// An instance id that EC2 never gives; it is well-formed.
const NO_INSTANCE: &str = "i-00000000000000000";

/// What a trial showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is allowed, and how we know.
    Allowed(&'static str),
    /// IAM says no.
    Denied(String),
    /// What the configuration or user data names is not there, or is of no use.
    Missing(String),
    /// Nobody answered.
    Silent(String),
    /// It shows nothing, or was not tried.
    Unknown(String),
}

/// One action, tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trial {
    /// As IAM writes it.
    pub(super) action: &'static str,
    /// The target group's ARN, or the name of a source, where there is one trial for each.
    pub(super) of: Option<String>,
    pub(super) outcome: Outcome,
}

impl Trial {
    /// Not tried yet.
    fn new(action: &'static str) -> Self {
        Self::unknown(action, String::new())
    }

    pub(super) fn unknown(action: &'static str, why: String) -> Self {
        Self { action, of: None, outcome: Outcome::Unknown(why) }
    }

    /// The first call, unanswered.
    pub(super) fn silent(why: String) -> Self {
        let action = "autoscaling:DescribeAutoScalingInstances";
        Self { action, of: None, outcome: Outcome::Silent(why) }
    }

    #[must_use]
    pub(super) fn of(mut self, arn: &str) -> Self {
        self.of = Some(arn.to_owned());
        self
    }
}

/// What the answer to a real call shows.
pub(super) fn read<T>(action: &'static str, answer: &Result<T, Error>) -> Trial {
    let outcome = match answer {
        Ok(_) => Outcome::Allowed("answered"),
        Err(error) => refusal(error),
    };
    Trial { action, of: None, outcome }
}

/// What the answer to a call shows that names nothing real.
pub(super) fn dry(action: &'static str, answer: &Result<(), Error>) -> Trial {
    let outcome = match answer {
        Ok(()) => Outcome::Allowed("answered"),
        Err(error) if error.is_invalid() => {
            Outcome::Allowed("refused for what it names, not by IAM: allowed, very likely")
        }
        Err(error) => refusal(error),
    };
    Trial { action, of: None, outcome }
}

fn refusal(error: &Error) -> Outcome {
    match error {
        error if error.is_denied() => Outcome::Denied(error.to_string()),
        error if error.is_silence() => Outcome::Silent(error.to_string()),
        error => Outcome::Unknown(error.to_string()),
    }
}

/// No hook has this name and no instance this id, so there is no action to complete.
pub(super) async fn complete(aws: &Aws, group: &str) -> Result<(), Error> {
    let call = aws.autoscaling().await?.complete_lifecycle_action();
    call.auto_scaling_group_name(group)
        .lifecycle_hook_name(NO_HOOK)
        .instance_id(NO_INSTANCE)
        .lifecycle_action_result("CONTINUE")
        .send()
        .await
        .map_err(|error| Error::new("CompleteLifecycleAction", &error))?;
    Ok(())
}

/// Likewise: there is no action to keep alive.
pub(super) async fn heartbeat(aws: &Aws, group: &str) -> Result<(), Error> {
    let call = aws.autoscaling().await?.record_lifecycle_action_heartbeat();
    call.auto_scaling_group_name(group)
        .lifecycle_hook_name(NO_HOOK)
        .instance_id(NO_INSTANCE)
        .send()
        .await
        .map_err(|error| Error::new("RecordLifecycleActionHeartbeat", &error))?;
    Ok(())
}

/// Documented: deregistering a target that does not exist succeeds, and does nothing. Where the service rather says
/// `InvalidTarget`, as the same page lists, that is an answer too.
pub(super) async fn deregister(aws: &Aws, arn: &str) -> Result<(), Error> {
    let call = aws.elbv2().await?.deregister_targets();
    call.target_group_arn(arn)
        .targets(TargetDescription::builder().id(NO_INSTANCE).build())
        .send()
        .await
        .map_err(|error| Error::new("DeregisterTargets", &error))?;
    Ok(())
}

/// What does not exist cannot be registered: `InvalidTarget`. Where an answer says otherwise, the row is of no instance, so
/// that it takes no request, and it is taken out again.
pub(super) async fn register(aws: &Aws, arn: &str) -> Result<(), Error> {
    let call = aws.elbv2().await?.register_targets();
    call.target_group_arn(arn)
        .targets(TargetDescription::builder().id(NO_INSTANCE).build())
        .send()
        .await
        .map_err(|error| Error::new("RegisterTargets", &error))?;
    deregister(aws, arn).await
}

/// The daemon's own calls show it best; without them, a datum of 1970, which is never taken (two weeks back at most)
/// and so makes no metric.
pub(super) async fn put_metrics(aws: &Aws, config: &Config, agent: Option<&Status>) -> Trial {
    const ACTION: &str = "cloudwatch:PutMetricData";
    let outcome = match agent {
        _ if !config.metrics.enabled => Outcome::Unknown("metrics.enabled is false".to_owned()),
        Some(status) if status.metrics.sent > 0 && !status.errors.contains_key("metrics") => {
            Outcome::Allowed("the agent's own datums are taken")
        }
        _ => return dry(ACTION, &put_nothing(aws, config).await),
    };
    Trial { action: ACTION, of: None, outcome }
}

async fn put_nothing(aws: &Aws, config: &Config) -> Result<(), Error> {
    let datum =
        MetricDatum::builder().metric_name("CPUUtilization").timestamp(DateTime::from_secs(0)).value(0.0);
    // IAM may ask for the namespace, so it is the real one.
    let call = aws.cloudwatch().await?.put_metric_data().namespace(&config.metrics.namespace);
    call.metric_data(datum.build()).send().await.map_err(|error| Error::new("PutMetricData", &error))?;
    Ok(())
}
