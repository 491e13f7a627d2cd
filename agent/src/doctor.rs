//! Looks at everything that an instance's life hangs on, before the life does.
//!
//! ```text
//!  metadata ─▶ cloud (group, hooks, target groups, permissions) ┐
//!  units, files, clock                                          ├─▶ facts ─▶ judgements, pure ─▶ findings
//!  checks, ports, nginx, disk, memory                           ┘
//! ```
//!
//! Nothing is changed anywhere: calls that would change something are made in a form that names nothing real. All is
//! asked side by side, and every question has a bound, so that a pipeline can wait for the answer.

mod finding;
mod metadata;
mod cloud;
mod trials;
mod permissions;
mod hooks;
mod balancing;
mod metrics;
mod clock;
mod units;
mod files;
mod local;
#[cfg(test)]
mod tests;

pub use finding::{Finding, Result};

use crate::aws::Aws;
use crate::config::Config;
use crate::imds::Imds;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Bounds the whole. It ends before by the bounds of its parts: the metadata service's six seconds, [`CLOUD`], and three
/// for the ports; what else is asked of the machine is asked meanwhile.
pub const BOUND: Duration = Duration::from_mins(1);
/// Bounds the calls to AWS: three follow on each other, of 15 s at most with their retries.
const CLOUD: Duration = Duration::from_secs(46);

/// Something that could be found out, or why not.
type Known<T> = std::result::Result<T, String>;

/// Everything that was found out.
#[derive(Debug)]
struct Facts {
    metadata: metadata::Metadata,
    cloud: cloud::Cloud,
    clock: clock::Clock,
    units: Known<units::Units>,
    files: Vec<files::File>,
    local: local::Local,
}

/// The document of `doctor --json`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The agent's version.
    pub version: &'static str,
    /// The worst result.
    pub result: Result,
    /// The findings, in the order of an instance's life.
    pub checks: Vec<Finding>,
    /// The IAM policy that would allow what is denied now; nothing when nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_policy: Option<serde_json::Value>,
}

/// Asks and judges.
pub async fn examine(config: &Config, root: &Path, imds: Arc<Imds>, aws: Arc<Aws>) -> Report {
    match tokio::time::timeout(BOUND, Box::pin(gather(config, root, imds, aws))).await {
        Ok(facts) => report(&facts, config),
        Err(_) => Report::new(
            vec![Finding::fail(
                "doctor.time",
                format!("not done within {}", text(BOUND)),
                "run it again; if it hangs again, the machine starves: see top and dmesg",
            )],
            None,
        ),
    }
}

async fn gather(config: &Config, root: &Path, imds: Arc<Imds>, aws: Arc<Aws>) -> Facts {
    let (agent, units) = tokio::join!(local::agent(config), units::gather());
    let outside = async {
        let metadata = metadata::gather(&imds).await;
        let asked = cloud::gather(config, &metadata, &imds, &aws, agent.as_ref().ok());
        let cloud = within(CLOUD, Box::pin(asked)).await;
        (metadata, cloud)
    };
    let ((metadata, cloud), local) = tokio::join!(outside, local::gather(config, root));
    let ports = local::ports(config, &cloud.ports()).await;
    Facts {
        clock: clock::gather(root, metadata.ahead.clone()),
        files: files::gather(root),
        local: local::Local { agent, ports, ..local },
        metadata,
        cloud,
        units,
    }
}

/// What AWS says in time, or that it does not.
async fn within(bound: Duration, asked: impl Future<Output = cloud::Cloud>) -> cloud::Cloud {
    tokio::time::timeout(bound, asked).await.unwrap_or_else(|_| {
        let why = format!("AWS has not answered within {}", text(bound));
        cloud::Cloud::unknown(&why, vec![trials::Trial::silent(why.clone())])
    })
}

fn report(facts: &Facts, config: &Config) -> Report {
    let Facts { metadata, cloud, clock, units, files, local } = facts;
    let status = local.agent.as_ref().ok();
    let parts = [
        metadata::judge(metadata),
        permissions::judge(&cloud.trials, metadata),
        hooks::judge(cloud, config),
        balancing::judge(cloud, config),
        metrics::judge(config, status),
        clock::judge(clock),
        units::judge(units, config),
        files::judge(files, config),
        local::judge(local),
    ];
    Report::new(parts.concat(), permissions::missing(cloud, metadata, config))
}

impl Report {
    fn new(checks: Vec<Finding>, missing_policy: Option<serde_json::Value>) -> Self {
        let any = |result| checks.iter().any(|finding| finding.result == result);
        let result = [Result::Fail, Result::Warn].into_iter().find(|result| any(*result));
        Self {
            version: env!("CARGO_PKG_VERSION"),
            result: result.unwrap_or(Result::Ok),
            checks,
            missing_policy,
        }
    }

    /// How many checks came out so.
    pub fn count(&self, result: Result) -> usize {
        self.checks.iter().filter(|finding| finding.result == result).count()
    }
}

/// A length of time as configuration writes it.
fn text(span: Duration) -> String {
    humantime::format_duration(span).to_string()
}
