//! The target groups: does the load balancer ask the right question, does it wait as long as the drain, and what does
//! it think of this instance.

use super::cloud::{Attributes, Cloud, Settings, TargetGroup};
use super::{Finding, text};
use crate::board::TargetRow;
use crate::config::Config;
use std::time::Duration;

/// Where nginx shows `/readyz` to the load balancer.
const HEALTH_PATH: &str = "/healthz";
/// Elastic Load Balancing's defaults: 30 s, out after 2 failures, in after 5 passes.
const SLOW_OUT: u32 = 60;
const SLOW_IN: u32 = 150;
/// As users have measured; AWS states no bound.
const NETWORK_LAG: Duration = Duration::from_mins(2);

pub(super) fn judge(cloud: &Cloud, config: &Config) -> Vec<Finding> {
    let groups = match &cloud.target_groups {
        Ok(groups) => groups,
        Err(why) => return vec![Finding::skipped("targets.attached", why)],
    };
    if groups.is_empty() {
        return vec![Finding::warn(
            "targets.attached",
            "none: nobody is told that the instance leaves",
            "attach the group's target groups, or name them in drain.target_groups",
        )];
    }
    let names: Vec<_> = groups.iter().map(TargetGroup::name).collect();
    let mut findings = vec![Finding::ok("targets.attached", names.join(", "))];
    let state =
        cloud.member.as_ref().ok().and_then(|member| member.as_ref()).map(|member| member.state.as_str());
    for group in groups {
        findings.extend(group.judge(state, config).into_iter().map(|finding| {
            let of = finding.of.as_ref().map(|row| format!("{} {row}", group.name()));
            finding.of(of.unwrap_or_else(|| group.name().to_owned()))
        }));
    }
    findings
}

impl TargetGroup {
    fn name(&self) -> &str {
        self.arn.split("targetgroup/").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or(&self.arn)
    }

    fn judge(&self, state: Option<&str>, config: &Config) -> Vec<Finding> {
        let mut findings = match &self.settings {
            Ok(settings) => {
                let quiet = settings.network.then(|| quiet(config));
                let all = [settings.listener(), settings.question(), settings.times()];
                all.into_iter().chain(quiet).collect()
            }
            Err(why) => ["targets.listener", "targets.health-check", "targets.health-time"]
                .map(|check| Finding::skipped(check, why))
                .to_vec(),
        };
        match &self.attributes {
            Ok(attributes) => findings.extend([attributes.delay(config), attributes.slow_start()]),
            Err(why) => findings
                .extend(["targets.delay", "targets.slow-start"].map(|check| Finding::skipped(check, why))),
        }
        let port = self.settings.as_ref().ok().and_then(|settings| settings.port);
        match &self.rows {
            Err(why) => findings.push(Finding::skipped("targets.health", why)),
            Ok(rows) if rows.is_empty() => findings.push(absent(state)),
            Ok(rows) => findings.extend(rows.iter().map(|found| row(found, port, state))),
        }
        findings
    }
}

/// A Network Load Balancer opens connections to a target that it was told of, a while longer.
fn quiet(config: &Config) -> Finding {
    const CHECK: &str = "targets.quiet";
    let found = format!("a Network Load Balancer; drain.quiet is {}", text(config.quiet));
    if config.quiet >= NETWORK_LAG {
        return Finding::ok(CHECK, found);
    }
    Finding::warn(
        CHECK,
        format!("{found}, and connections still arrive for about two minutes after the deregistration"),
        "where no terminate hook holds the instance that long: drain.quiet = \"2m\", and drain.max well above it",
    )
}

impl Settings {
    fn listener(&self) -> Finding {
        if self.balancers == 0 {
            return Finding::fail(
                "targets.listener",
                "no listener of a load balancer sends requests here",
                "make it the action of a listener or of a listener's rule",
            );
        }
        Finding::ok("targets.listener", format!("used by {} load balancer(s)", self.balancers))
    }

    fn question(&self) -> Finding {
        const CHECK: &str = "targets.health-check";
        let remedy = format!("set HealthCheckProtocol=HTTP and HealthCheckPath={HEALTH_PATH}");
        match (self.enabled, self.protocol.as_str(), self.path.as_deref()) {
            (false, ..) => {
                Finding::warn(CHECK, "switched off: requests go to whatever is registered", remedy)
            }
            (_, "HTTP" | "HTTPS", Some(HEALTH_PATH)) => {
                Finding::ok(CHECK, format!("{} {HEALTH_PATH}", self.protocol))
            }
            (_, "HTTP" | "HTTPS", path) => Finding::warn(
                CHECK,
                format!(
                    "{} {}: not the agent's answer, so an instance that warms or drains looks healthy",
                    self.protocol,
                    path.unwrap_or("/")
                ),
                remedy,
            ),
            (_, protocol, _) => Finding::warn(
                CHECK,
                format!("{protocol}: a port that is open says nothing of the app, nor of a drain"),
                remedy,
            ),
        }
    }

    fn times(&self) -> Finding {
        let (out, into) =
            (self.interval.saturating_mul(self.unhealthy), self.interval.saturating_mul(self.healthy));
        let found = format!(
            "in {into} s after it was registered, out {out} s after it broke (every {} s, timeout {} s, {} passes, {} failures)",
            self.interval, self.timeout, self.healthy, self.unhealthy
        );
        if out > SLOW_OUT || into > SLOW_IN {
            let remedy = format!(
                "at most {SLOW_OUT} s to get out and {SLOW_IN} s to get in: lower HealthCheckIntervalSeconds"
            );
            return Finding::warn("targets.health-time", found, remedy);
        }
        Finding::ok("targets.health-time", found)
    }
}

impl Attributes {
    fn delay(self, config: &Config) -> Finding {
        const CHECK: &str = "targets.delay";
        let (delay, drain) = (Duration::from_secs(self.delay), config.drain_max);
        let (said, longest) = (text(delay), text(drain));
        if delay > 2 * drain {
            return Finding::warn(
                CHECK,
                format!("{said}: each termination takes that long, and a drain {longest} at most"),
                "lower deregistration_delay.timeout_seconds to drain.max",
            );
        }
        if delay < drain {
            return Finding::warn(
                CHECK,
                format!(
                    "{said}: what is in flight then is cut off with an error, though drain.max waits {longest} for it"
                ),
                "set both to the longest request: deregistration_delay.timeout_seconds and drain.max",
            );
        }
        Finding::ok(CHECK, format!("{said}, and drain.max is {longest}"))
    }

    fn slow_start(self) -> Finding {
        let found = match self.slow_start {
            0 => "off".to_owned(),
            seconds => format!("its full share of requests {seconds} s after it became healthy"),
        };
        Finding::ok("targets.slow-start", found)
    }
}

fn absent(state: Option<&str>) -> Finding {
    const CHECK: &str = "targets.health";
    match state {
        Some("InService") => Finding::fail(
            CHECK,
            "in service, and not registered",
            "see group.processes; register it, or let the group replace it",
        ),
        Some(state) => Finding::skipped(CHECK, format!("not registered while {state}")),
        None => Finding::skipped(CHECK, "not registered, and in no group"),
    }
}

fn row(row: &TargetRow, port: Option<i32>, state: Option<&str>) -> Finding {
    const CHECK: &str = "targets.health";
    let own = row.port.filter(|own| port.is_some_and(|port| port != *own));
    let reason = row.reason.as_deref().unwrap_or_default();
    let mut found = row.state.clone();
    if !reason.is_empty() {
        found = format!("{found} ({reason})");
    }
    if own.is_some() {
        found += ", registered with a port of its own";
    }
    let leaving = state.is_some_and(|state| state.starts_with("Terminating"));
    let port = row.port.unwrap_or_default();
    let finding = match (row.state.as_str(), reason) {
        ("healthy", _) | ("unavailable", "Target.HealthCheckDisabled") => Finding::ok(CHECK, found),
        ("draining" | "unhealthy.draining" | "unused", _) if leaving => Finding::ok(CHECK, found),
        ("unused", "Target.NotInUse") => Finding::fail(
            CHECK,
            found,
            "no load balancer sends requests to this zone: enable the instance's zone, and use the group in a listener",
        ),
        ("initial", _) => Finding::warn(CHECK, found, "not judged yet: run doctor again in a minute"),
        ("unhealthy", "Target.Timeout") => Finding::fail(
            CHECK,
            found,
            format!("let the load balancer's security group reach port {port} of the instance"),
        ),
        ("unhealthy", _) => Finding::fail(
            CHECK,
            found,
            format!("kiln-agent status says what fails; curl -i http://127.0.0.1:{port}{HEALTH_PATH}"),
        ),
        _ => Finding::warn(CHECK, found, "a deployment or a person took it out: kiln-agent status"),
    };
    finding.of(format!("{}:{port}", row.id))
}
