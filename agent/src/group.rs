//! The instance's Auto Scaling group: which it is, the instance's state in it, its hooks and its target groups.

use crate::aws::{Aws, Error};
use crate::board::Board;
use crate::config::Selector;
use crate::imds::Imds;
use crate::lifecycle::Hook;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;

/// Bounds the wait for the instance's id; the caller comes again.
const IDENTITY_BOUND: Duration = Duration::from_secs(5);

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
    /// From one heartbeat to the timeout.
    pub heartbeat_timeout: Duration,
    /// The end whatever the heartbeats: the lesser of 48 h and a hundred timeouts.
    pub global_timeout: Duration,
}

/// Reads what Auto Scaling knows, by the fewest calls.
#[derive(Debug)]
pub struct Group {
    aws: Arc<Aws>,
    imds: Arc<Imds>,
    configured: Selector,
    instance_id: OnceCell<String>,
    addresses: OnceCell<Vec<String>>,
    board: Board,
}

impl Group {
    /// A reader; `configured` wins over what is found out.
    pub fn new(aws: Arc<Aws>, imds: Arc<Imds>, configured: Selector, board: Board) -> Self {
        Self { aws, imds, configured, instance_id: OnceCell::new(), addresses: OnceCell::new(), board }
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
        let id = self.instance_id().await?;
        let answer = self
            .aws
            .autoscaling()
            .await?
            .describe_auto_scaling_instances()
            .instance_ids(id)
            .send()
            .await
            .map_err(|error| Error::new("DescribeAutoScalingInstances", &error))?;
        let found = answer.auto_scaling_instances().iter().find(|found| found.instance_id() == Some(id));
        let member = found.and_then(|found| {
            Some(Member {
                group: found.auto_scaling_group_name()?.to_owned(),
                state: found.lifecycle_state()?.to_owned(),
            })
        });
        if let Some(member) = &member {
            self.board.lock().group = Some(member.group.clone());
        }
        Ok(member)
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

    /// The group's hooks on one transition.
    pub async fn hooks(&self, group: &str, hook: Hook) -> Result<Vec<HookInfo>, Error> {
        let answer = self
            .aws
            .autoscaling()
            .await?
            .describe_lifecycle_hooks()
            .auto_scaling_group_name(group)
            .send()
            .await
            .map_err(|error| Error::new("DescribeLifecycleHooks", &error))?;
        let seconds = |given: Option<i32>, default: u64| {
            Duration::from_secs(given.and_then(|given| u64::try_from(given).ok()).unwrap_or(default))
        };
        let ours = answer
            .lifecycle_hooks()
            .iter()
            .filter(|found| found.lifecycle_transition() == Some(hook.transition()));
        Ok(ours
            .filter_map(|found| {
                Some(HookInfo {
                    name: found.lifecycle_hook_name()?.to_owned(),
                    heartbeat_timeout: seconds(found.heartbeat_timeout(), 3600),
                    global_timeout: seconds(found.global_timeout(), 172_800),
                })
            })
            .collect())
    }

    /// ARNs of the target groups that the group is attached to, as target groups or as traffic sources.
    pub async fn target_groups(&self, group: &str) -> Result<Vec<String>, Error> {
        let answer = self
            .aws
            .autoscaling()
            .await?
            .describe_auto_scaling_groups()
            .auto_scaling_group_names(group)
            .include_instances(false)
            .send()
            .await
            .map_err(|error| Error::new("DescribeAutoScalingGroups", &error))?;
        let mut arns: Vec<String> = Vec::new();
        for found in answer.auto_scaling_groups() {
            arns.extend(found.target_group_arns().iter().cloned());
            let sources = found.traffic_sources().iter().filter(|source| source.r#type() != Some("elb"));
            arns.extend(
                sources
                    .filter_map(|source| source.identifier())
                    .filter(|arn| arn.contains(":targetgroup/"))
                    .map(str::to_owned),
            );
        }
        arns.sort();
        arns.dedup();
        Ok(arns)
    }
}
