//! The instance's Auto Scaling group: which it is, the instance's state in it, its hooks and its target groups.

use crate::aws::{Aws, Error};
use crate::board::Board;
use crate::config::Selector;
use crate::hook::is_documented;
use crate::imds::Imds;
use crate::lifecycle::Hook;
use aws_sdk_autoscaling::types::AutoScalingGroup;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::OnceCell;

/// Bounds the wait for the instance's id; the caller comes again.
const IDENTITY_BOUND: Duration = Duration::from_secs(5);

/// Pages of one answer: what was asked for by name is on the first, and a service that never ends its list is not
/// followed.
const PAGES: usize = 20;
/// What an answer without a heartbeat timeout is taken for: the shortest there is, so that no beat comes late.
const SHORTEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest that any hook waits.
const LONGEST_WAIT: Duration = Duration::from_hours(48);

/// Auto Scaling's default of `DefaultResult`.
const ABANDON: &str = "ABANDON";

/// The instance as Auto Scaling knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The group's name.
    pub group: String,
    /// The lifecycle state, such as `Terminating:Wait`.
    pub state: String,
}

/// One lifecycle hook of the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookInfo {
    /// Its name.
    pub name: String,
    /// Its transition.
    pub hook: Hook,
    /// The queue or topic that is notified: whoever listens there answers the hook.
    pub notifies: Option<String>,
    /// From one heartbeat to the timeout.
    pub heartbeat_timeout: Duration,
    /// The end whatever the heartbeats: the lesser of 48 h and a hundred timeouts.
    pub global_timeout: Duration,
    /// What counts when nobody answers: `CONTINUE` or `ABANDON`.
    pub default_result: String,
}

impl HookInfo {
    /// A hook whose times cannot be read: as short and as long as AWS allows.
    pub fn guessed(name: &str, hook: Hook) -> Self {
        let (heartbeat_timeout, global_timeout) = (SHORTEST_TIMEOUT, LONGEST_WAIT);
        let (name, default_result) = (name.to_owned(), ABANDON.to_owned());
        Self { name, hook, notifies: None, heartbeat_timeout, global_timeout, default_result }
    }
}

/// Reads what Auto Scaling knows, by the fewest calls.
#[derive(Debug)]
pub struct Group {
    aws: Arc<Aws>,
    imds: Arc<Imds>,
    configured: Selector,
    pub(crate) instance_id: OnceCell<String>,
    pub(crate) addresses: OnceCell<Vec<String>>,
    /// Sources that are not Elastic Load Balancing's are named once.
    foreign_said: AtomicBool,
    /// And so is a lifecycle state that this agent has never heard of.
    unknown_said: AtomicBool,
    board: Board,
}

impl Group {
    /// A reader; `configured` wins over what is found out.
    pub fn new(aws: Arc<Aws>, imds: Arc<Imds>, configured: Selector, board: Board) -> Self {
        let (instance_id, addresses) = (OnceCell::new(), OnceCell::new());
        let (foreign_said, unknown_said) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { aws, imds, configured, instance_id, addresses, foreign_said, unknown_said, board }
    }

    /// The instance's id.
    pub async fn instance_id(&self) -> Result<&str, Error> {
        let id = self
            .instance_id
            .get_or_try_init(|| self.imds.get_patiently("instance-id", IDENTITY_BOUND))
            .await?;
        self.board.lock().instance_id = Some(id.clone());
        Ok(id)
    }

    /// The instance's primary addresses, by which target groups of type `ip` list it.
    pub async fn addresses(&self) -> Result<&[String], Error> {
        let read = || async {
            let four = self.imds.get("local-ipv4").await?;
            let six = self.imds.get("ipv6").await?;
            Ok::<_, Error>(four.into_iter().chain(six).collect())
        };
        Ok(self.addresses.get_or_try_init(read).await?)
    }

    /// The clients.
    pub fn aws(&self) -> &Aws {
        &self.aws
    }

    /// The instance's group and state, `None` when it is in no group.
    pub async fn member(&self) -> Result<Option<Member>, Error> {
        let answer = self.ask_member().await;
        self.board.heard(!answer.as_ref().is_err_and(Error::is_silence));
        answer
    }

    async fn ask_member(&self) -> Result<Option<Member>, Error> {
        const CALL: &str = "DescribeAutoScalingInstances";
        let id = self.instance_id().await?;
        let client = self.aws.autoscaling().await?;
        let mut page = None;
        for _ in 0..PAGES {
            let answer = client
                .describe_auto_scaling_instances()
                .instance_ids(id)
                .set_next_token(page)
                .send()
                .await
                .map_err(|error| Error::new(CALL, &error))?;
            // An empty list is an answer, a missing one is none.
            let lacks = |what| Error::lacks(CALL, what);
            let listed = answer.auto_scaling_instances.ok_or_else(|| lacks("AutoScalingInstances"))?;
            // The SDK fills in what is missing and must not be: empty is missing.
            let filled = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
            if let Some(found) = listed.iter().find(|found| found.instance_id() == Some(id)) {
                let group =
                    filled(found.auto_scaling_group_name()).ok_or_else(|| lacks("AutoScalingGroupName"))?;
                let state = filled(found.lifecycle_state()).ok_or_else(|| lacks("LifecycleState"))?;
                self.board.lock().group = Some(group.clone());
                if !is_documented(&state) && !self.unknown_said.swap(true, Ordering::Relaxed) {
                    tracing::warn!(state, "lifecycle state is not known to this agent, it changes nothing");
                    self.board.note(format!("lifecycle state {state} is not known, and changes nothing"));
                }
                return Ok(Some(Member { group, state }));
            }
            if listed.iter().any(|found| filled(found.instance_id()).is_none()) {
                return Err(lacks("InstanceId"));
            }
            page = answer.next_token.filter(|token| !token.is_empty());
            if page.is_none() {
                return Ok(None);
            }
        }
        Err(Error::lacks(CALL, "a last page"))
    }

    /// The group's name: as configured, as known already, from the instance's tags, or by asking.
    pub async fn name(&self) -> Result<Option<String>, Error> {
        if let Selector::Named(name) = &self.configured {
            self.board.lock().group = Some(name.clone());
            return Ok(Some(name.clone()));
        }
        let known = self.board.lock().group.clone();
        if known.is_some() {
            return Ok(known);
        }
        if let Ok(Some(name)) = self.imds.get("tags/instance/aws:autoscaling:groupName").await {
            self.board.lock().group = Some(name.clone());
            return Ok(Some(name));
        }
        Ok(self.member().await?.map(|member| member.group))
    }

    /// The group's hooks, on both transitions.
    pub async fn hooks(&self, group: &str) -> Result<Vec<HookInfo>, Error> {
        const CALL: &str = "DescribeLifecycleHooks";
        let answer = self
            .aws
            .autoscaling()
            .await?
            .describe_lifecycle_hooks()
            .auto_scaling_group_name(group)
            .send()
            .await
            .map_err(|error| Error::new(CALL, &error))?;
        let lacks = |what| Error::lacks(CALL, what);
        let mut hooks = Vec::new();
        for found in answer.lifecycle_hooks.ok_or_else(|| lacks("LifecycleHooks"))? {
            let transition = found.lifecycle_transition().ok_or_else(|| lacks("LifecycleTransition"))?;
            // A transition that is not known is none of ours.
            let Some(hook) =
                [Hook::Launch, Hook::Terminate].into_iter().find(|hook| hook.transition() == transition)
            else {
                continue;
            };
            let name = found.lifecycle_hook_name().ok_or_else(|| lacks("LifecycleHookName"))?.to_owned();
            let notifies = found.notification_target_arn().filter(|arn| !arn.is_empty()).map(str::to_owned);
            let heartbeat_timeout = seconds(found.heartbeat_timeout()).unwrap_or(SHORTEST_TIMEOUT);
            let global_timeout = seconds(found.global_timeout()).unwrap_or(LONGEST_WAIT);
            let default_result = found.default_result().unwrap_or(ABANDON).to_owned();
            hooks.push(HookInfo { name, hook, notifies, heartbeat_timeout, global_timeout, default_result });
        }
        Ok(hooks)
    }

    /// ARNs of the target groups that the group is attached to, as target groups or as traffic sources: this one call
    /// names both, so `DescribeTrafficSources` is not needed.
    pub async fn target_groups(&self, group: &str) -> Result<Vec<String>, Error> {
        const CALL: &str = "DescribeAutoScalingGroups";
        let client = self.aws.autoscaling().await?;
        let mut page = None;
        for _ in 0..PAGES {
            let answer = client
                .describe_auto_scaling_groups()
                .auto_scaling_group_names(group)
                .include_instances(false)
                .set_next_token(page)
                .send()
                .await
                .map_err(|error| Error::new(CALL, &error))?;
            let lacks = |what| Error::lacks(CALL, what);
            let listed = answer.auto_scaling_groups.ok_or_else(|| lacks("AutoScalingGroups"))?;
            if let Some(found) = listed.iter().find(|found| found.auto_scaling_group_name() == Some(group)) {
                if found.target_group_arns.is_none() && found.traffic_sources.is_none() {
                    return Err(lacks("TargetGroupARNs"));
                }
                return Ok(self.attached(found));
            }
            page = answer.next_token.filter(|token| !token.is_empty());
            if page.is_none() {
                // The SDK makes an empty list of a missing one, so nothing follows from it: the instance is in a group
                // by that name, or the configuration names one that does not exist.
                return Err(lacks("the group that was asked for: does lifecycle.group name it?"));
            }
        }
        Err(Error::lacks(CALL, "a last page"))
    }

    fn attached(&self, group: &AutoScalingGroup) -> Vec<String> {
        let mut sources = group.traffic_sources().iter().filter_map(|source| source.identifier());
        if let Some(other) = sources.find(|arn| !is_elbv2(arn))
            && !self.foreign_said.swap(true, Ordering::Relaxed)
        {
            tracing::info!(
                source = other,
                "traffic source is no target group of Elastic Load Balancing: only its group tells it"
            );
        }
        elbv2_target_groups(group)
    }
}

/// The target groups that a group is attached to, as such or as traffic sources, each once.
pub(crate) fn elbv2_target_groups(group: &AutoScalingGroup) -> Vec<String> {
    let sources = group.traffic_sources().iter().filter_map(|source| source.identifier());
    let attached = group.target_group_arns().iter().map(String::as_str).chain(sources);
    let mut arns: Vec<String> = attached.filter(|arn| is_elbv2(arn)).map(str::to_owned).collect();
    arns.sort();
    arns.dedup();
    arns
}

/// VPC Lattice has target groups too, and Classic Load Balancers have names: neither knows these calls.
fn is_elbv2(arn: &str) -> bool {
    arn.contains(":elasticloadbalancing:") && arn.contains(":targetgroup/")
}

fn seconds(given: Option<i32>) -> Option<Duration> {
    given.and_then(|given| u64::try_from(given).ok()).filter(|given| *given > 0).map(Duration::from_secs)
}

#[cfg(test)]
mod tests;
