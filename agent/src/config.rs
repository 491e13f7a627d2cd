//! `/etc/kiln/agent.toml` and its fragments, checked: files → [`fragment`]s → merged → [`Config`].
//!
//! Every key is optional and every default stands here, once. A wrong type or an unknown key is reported with file,
//! line, column and a caret; a rule between keys names both.

mod fragment;
mod metrics;
mod record;
mod rules;
mod source;
#[cfg(test)]
mod tests;

pub use fragment::{CloudInit, Rebalance, Selector};
pub use metrics::{Metrics, Published};
pub use record::{Record, RecordTo};
pub use source::{Source, USER_DATA};

use crate::lifecycle::{OnFailure, Policy};
use fragment::Fragment;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the configuration is looked for unless `--config` names another file.
pub const DEFAULT_PATH: &str = "/etc/kiln/agent.toml";

/// What the agent goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Time between two reads of the target lifecycle state.
    pub imds_poll: Duration,
    /// Where the four endpoints are served.
    pub listen: SocketAddr,
    /// Passes in a row that make a check healthy.
    pub ready_after: NonZeroU32,
    /// Failures in a row that make a check unhealthy.
    pub unready_after: NonZeroU32,
    /// The checks, in the order written. None means: ready once bootstrap has succeeded.
    pub checks: Vec<Check>,
    /// The Auto Scaling group's name.
    pub group: Selector,
    /// The launch hook's name.
    pub launch_hook: Selector,
    /// The terminate hook's name.
    pub terminate_hook: Selector,
    /// From the end of bootstrap to passing checks.
    pub ready_deadline: Duration,
    /// What a failure does to the launch hook.
    pub on_failure: OnFailure,
    /// ARNs of the target groups to leave; `None` asks the group.
    pub target_groups: Option<Vec<String>>,
    /// Local ports whose connections are work; empty takes those of the targets, or 80.
    pub ports: Vec<u16>,
    /// How long there must be no work before a drain ends.
    pub quiet: Duration,
    /// The longest a drain may take.
    pub drain_max: Duration,
    /// Kept free between the end of a drain and the moment the instance is gone.
    pub margin: Duration,
    /// Commands run when a drain starts; it does not end before they do.
    pub scripts: Vec<Vec<String>>,
    /// nginx's `stub_status`, or `None` when every connection is to count as work.
    pub stub_status: Option<String>,
    /// What a rebalance recommendation does.
    pub rebalance: Rebalance,
    /// The metrics' settings.
    pub metrics: Metrics,
    /// The flight record's settings.
    pub record: Record,
    /// How long a part of user data may run that names no bound of its own.
    pub bootstrap_timeout: Duration,
    /// How long bootstrap waits for the metadata service.
    pub imds_wait: Duration,
    /// Who runs the user data beside cloud-init.
    pub cloud_init: CloudInit,
}

/// One health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name in `status` and in the journal.
    pub name: String,
    /// What is asked.
    pub probe: Probe,
    /// Time from one answer to the next question.
    pub every: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// What a health check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// A GET of this URL answers 2xx or 3xx.
    Http(String),
    /// A connection to this socket is accepted.
    Unix(PathBuf),
    /// A connection to this `host:port` is accepted.
    Tcp(String),
    /// This command exits 0.
    Command(Vec<String>),
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("failed to read configuration '{}': {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// A file is not what the format says: `file:line:column`, then the line with a caret.
    #[error("{0}")]
    Syntax(String),
    /// Keys that do not go together.
    #[error("{0}")]
    Rule(String),
}

impl Config {
    /// Reads `path`, beside it `<stem>.d/*.toml` in the order of their names, and then user data's `[agent]`.
    ///
    /// A missing file is an error only when it was `named` by the caller: an instance without one runs on defaults.
    pub fn load(path: &Path, named: bool) -> Result<Self, Error> {
        Source::new(path, named, Path::new("/")).load()
    }

    /// Parses one document; `name` is what errors call it.
    pub fn parse(text: &str, name: &str) -> Result<Self, Error> {
        Self::check(Fragment::parse(text, name).map_err(Error::Syntax)?)
    }

    fn check(merged: Fragment) -> Result<Self, Error> {
        let Fragment { imds, health, lifecycle, drain, spot, metrics, record, bootstrap } = merged;
        let seconds = |given: Option<fragment::Span>, default| {
            given.map_or(Duration::from_secs(default), |span| span.0)
        };
        let config = Self {
            // AWS advises 2 to 5 s; one second costs 60 small local requests a minute and halves the reaction time.
            imds_poll: seconds(imds.poll, 1),
            listen: health.listen.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 9180))),
            ready_after: health.ready_after.unwrap_or(NonZeroU32::MIN),
            unready_after: health.unready_after.unwrap_or(NonZeroU32::MIN.saturating_add(2)),
            checks: health
                .check
                .into_iter()
                .map(fragment::CheckFragment::check)
                .collect::<Result<_, _>>()
                .map_err(Error::Rule)?,
            group: lifecycle.group.unwrap_or_default(),
            launch_hook: lifecycle.launch_hook.unwrap_or_default(),
            terminate_hook: lifecycle.terminate_hook.unwrap_or_default(),
            ready_deadline: seconds(lifecycle.ready_deadline, 300),
            on_failure: lifecycle.on_failure.unwrap_or_default(),
            target_groups: drain.target_groups.and_then(fragment::TargetGroups::explicit),
            ports: drain.ports.unwrap_or_default(),
            quiet: seconds(drain.quiet, 5),
            // The default deregistration delay of a target group: the load balancer cuts what is left then.
            drain_max: seconds(drain.max, 300),
            margin: seconds(drain.margin, 5),
            scripts: drain.scripts.unwrap_or_default(),
            stub_status: Some(
                drain.stub_status.unwrap_or_else(|| "http://127.0.0.1:9181/stub_status".to_owned()),
            )
            .filter(|url| !url.is_empty()),
            rebalance: spot.rebalance.unwrap_or_default(),
            metrics: Metrics::new(metrics),
            record: Record::new(record),
            bootstrap_timeout: seconds(bootstrap.timeout, 600),
            imds_wait: seconds(bootstrap.imds_wait, 120),
            cloud_init: bootstrap.cloud_init.unwrap_or_default(),
        };
        config.rules().map_or(Ok(config), |broken| Err(Error::Rule(broken)))
    }

    /// Where the endpoints are reached from this machine.
    pub fn local_address(&self) -> SocketAddr {
        let mut address = self.listen;
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        address
    }

    /// The bounds the lifecycle decides by.
    pub fn policy(&self) -> Policy {
        Policy {
            // Bootstrap waits for the metadata service first; then a grace for starting it.
            bootstrap_deadline: self.imds_wait + self.bootstrap_timeout + Duration::from_secs(30),
            ready_deadline: self.ready_deadline,
            on_failure: self.on_failure,
            drain_max: self.drain_max,
            margin: self.margin,
        }
    }
}
