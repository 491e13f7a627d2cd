//! The metrics: what they cost, and whether they arrive.

use super::{Finding, text};
use crate::board::Status;
use crate::config::Config;

/// Micro-dollars of one custom metric a month: list price of US East (N. Virginia), first 10,000 metrics, as of 2026-11:
/// <https://aws.amazon.com/cloudwatch/pricing/>.
const METRIC: u64 = 300_000;
/// Micro-dollars of one `PutMetricData` call: 0.01 USD a thousand, by the same list.
const CALL: u64 = 10;
/// Seconds of AWS' month of 730 hours.
const MONTH: u64 = 730 * 3_600;
/// Above this an instance's metrics cost more than its root volume of 12 GiB.
const DEAR: u64 = 1_000_000;
/// Ten minutes of slots: more than one lost call.
const BACKLOG: u64 = 60;

pub(super) fn judge(config: &Config, status: Option<&Status>) -> Vec<Finding> {
    if !config.metrics.enabled {
        return vec![Finding::skipped("metrics.cost", "metrics.enabled is false")];
    }
    vec![cost(config), arrival(status)]
}

fn cost(config: &Config) -> Finding {
    const CHECK: &str = "metrics.cost";
    let has = |name: &str| config.metrics.dimensions.iter().any(|dimension| dimension == name);
    let period = config.metrics.period.as_secs().max(1);
    let metrics = METRIC * u64::try_from(config.metrics.publish.len()).unwrap_or(u64::MAX);
    let instance = if has("InstanceId") { metrics } else { 0 } + MONTH / period * CALL;
    let group = if has("AutoScalingGroupName") { metrics } else { 0 };
    let found = format!(
        "{} an instance-month and {} a group-month at list price (US East, 2026-11: $0.30 a metric, $0.01 a thousand calls)",
        dollars(instance),
        dollars(group)
    );
    if instance > DEAR {
        let remedy = format!(
            "metrics.period is {}: calls are what costs, and a call a minute carries every datum",
            text(config.metrics.period)
        );
        return Finding::warn(CHECK, found, remedy);
    }
    Finding::ok(CHECK, found)
}

fn dollars(micro: u64) -> String {
    let cents = micro.div_ceil(10_000);
    format!("${}.{:02}", cents / 100, cents % 100)
}

fn arrival(status: Option<&Status>) -> Finding {
    const CHECK: &str = "metrics.arrive";
    let Some(status) = status else { return Finding::skipped(CHECK, "the agent does not answer") };
    let row = &status.metrics;
    let found = format!("{} datums sent, {} waiting, {} dropped", row.sent, row.backlog, row.dropped);
    match status.errors.get("metrics") {
        Some(error) => {
            Finding::warn(CHECK, format!("{found}: {error}"), "see iam.PutMetricData and aws.reachable")
        }
        None if row.dropped > 0 || row.backlog > BACKLOG => {
            Finding::warn(CHECK, found, "journalctl -u kiln-agent | grep metrics")
        }
        None => Finding::ok(CHECK, found),
    }
}
