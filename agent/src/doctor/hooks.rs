//! The group and its hooks: are they there, are they ours, and do their times fit those of the configuration.

use super::cloud::Cloud;
use super::trials::Outcome;
use super::{Finding, text};
use crate::config::{Config, Selector};
use crate::group::HookInfo;
use crate::hook::Choice;
use crate::lifecycle::{HOOK_GRACE, Hook};
use std::time::Duration;

/// Suspended, these break an instance's way in or out; the others only hold the group's own decisions.
const PROCESSES: [(&str, &str); 3] = [
    ("AddToLoadBalancer", "instances are not registered with the target groups"),
    ("Terminate", "nothing is terminated"),
    ("Launch", "nothing is launched"),
];

pub(super) fn judge(cloud: &Cloud, config: &Config) -> Vec<Finding> {
    let mut findings = vec![member(cloud), processes(cloud)];
    for hook in [Hook::Launch, Hook::Terminate] {
        findings.extend(match &cloud.hooks {
            Ok(hooks) => of_transition(hook, hooks, cloud, config),
            Err(why) => names(hook).map(|name| Finding::skipped(name, why)).into_iter().collect::<Vec<_>>(),
        });
    }
    findings
}

/// The two checks of a hook: is there one, and do the times fit.
fn names(hook: Hook) -> [&'static str; 2] {
    match hook {
        Hook::Launch => ["hook.launch", "hook.launch-time"],
        Hook::Terminate => ["hook.terminate", "hook.terminate-time"],
    }
}

fn member(cloud: &Cloud) -> Finding {
    const CHECK: &str = "group.member";
    match (&cloud.name, &cloud.member) {
        (Ok((name, how)), _) if cloud.unlisted => Finding::fail(
            CHECK,
            format!("{name} is meant {how}, and Auto Scaling lists no such group"),
            "check lifecycle.group (\"auto\" finds the instance's own), and the region",
        ),
        (Ok((name, how)), Ok(Some(member))) if *name == member.group => {
            Finding::ok(CHECK, format!("in {name}, found {how}; {}", member.state))
        }
        (Ok((name, how)), Ok(Some(member))) => Finding::fail(
            CHECK,
            format!("in {}, and {name} is meant {how}", member.group),
            "set lifecycle.group = \"auto\"",
        ),
        (Ok((name, how)), Ok(None)) => Finding::warn(
            CHECK,
            format!("{name} {how}, and Auto Scaling does not list the instance"),
            "hooks and states are tried only on an instance that the group launched",
        ),
        (Err(why), Ok(None)) => Finding::warn(
            CHECK,
            why,
            "hooks, states and the group's CPU datum are for an instance that a group launched",
        ),
        (_, Err(why)) | (Err(why), _) => Finding::skipped(CHECK, why),
    }
}

fn processes(cloud: &Cloud) -> Finding {
    const CHECK: &str = "group.processes";
    let group = match &cloud.group {
        Ok(group) => group,
        Err(why) => return Finding::skipped(CHECK, why),
    };
    let held = PROCESSES.iter().filter(|(name, _)| group.suspended.iter().any(|held| held == name));
    let held: Vec<String> = held.map(|(name, what)| format!("{name} is suspended: {what}")).collect();
    if held.is_empty() {
        let kind = if group.health_check.is_empty() { "EC2" } else { &group.health_check };
        return Finding::ok(CHECK, format!("all run; health checks of type {kind}"));
    }
    let name = cloud.name.as_ref().map_or("…", |(name, _)| name);
    let remedy = format!("aws autoscaling resume-processes --auto-scaling-group-name {name}");
    // Without these an instance is never let in, or never let go; a launch is not its own.
    let broken =
        ["AddToLoadBalancer", "Terminate"].iter().any(|own| group.suspended.iter().any(|held| held == own));
    let finding = if broken { Finding::fail } else { Finding::warn };
    finding(CHECK, held.join("; "), remedy)
}

fn of_transition(hook: Hook, hooks: &[HookInfo], cloud: &Cloud, config: &Config) -> Vec<Finding> {
    let [there, time] = names(hook);
    let selector = if hook == Hook::Launch { &config.launch_hook } else { &config.terminate_hook };
    // Judged as the daemon itself judges which hook is its own.
    let choice = Choice::of(hooks, hook, selector);
    let broken = match (&choice, selector) {
        (Choice::Ours(info), _) => return ours(info, cloud, config),
        (Choice::None, Selector::Auto) => lost(hook, there),
        (Choice::None, Selector::Named(name)) => Finding::fail(
            there,
            format!("lifecycle.{}_hook is {name}, and the group has no {} hook", hook.name(), hook.name()),
            "add it to the group",
        ),
        _ => Finding::fail(
            there,
            choice.complaint(hook, selector).unwrap_or_default(),
            format!("set lifecycle.{}_hook to the one that this agent is to answer", hook.name()),
        ),
    };
    vec![broken, Finding::skipped(time, "no hook to go by")]
}

fn lost(hook: Hook, check: &'static str) -> Finding {
    match hook {
        Hook::Launch => Finding::warn(
            check,
            "none: the group registers each instance as soon as EC2 runs it, before user data has run",
            "add one on autoscaling:EC2_INSTANCE_LAUNCHING, with DefaultResult=ABANDON",
        ),
        Hook::Terminate => Finding::warn(
            check,
            "none: EC2 stops the instance when the deregistration delay is over (at once without a target group); \
             drain.scripts, the last datums and whatever is in flight then are lost",
            "add one on autoscaling:EC2_INSTANCE_TERMINATING, with DefaultResult=CONTINUE",
        ),
    }
}

fn ours(info: &HookInfo, cloud: &Cloud, config: &Config) -> Vec<Finding> {
    let [there, time] = names(info.hook);
    // bootstrap.imds_wait, bootstrap.timeout for each part, and lifecycle.ready_deadline.
    let launch = config.policy().bootstrap_deadline + config.ready_deadline;
    let drain = config.drain_max + config.margin + HOOK_GRACE;
    let (there, time) = match info.hook {
        Hook::Launch => (on_launch(info, there), lasts(info, time, launch, "a launch", cloud)),
        Hook::Terminate => (on_terminate(info, there, cloud), lasts(info, time, drain, "a drain", cloud)),
    };
    vec![there.of(&info.name), time.of(&info.name)]
}

fn on_launch(info: &HookInfo, check: &'static str) -> Finding {
    if info.default_result == "CONTINUE" {
        return Finding::warn(
            check,
            "its DefaultResult is CONTINUE: an instance that never answers goes into service",
            "set DefaultResult=ABANDON",
        );
    }
    Finding::ok(
        check,
        format!("an instance that never answers is replaced after {}", text(info.heartbeat_timeout)),
    )
}

fn on_terminate(info: &HookInfo, check: &'static str, cloud: &Cloud) -> Finding {
    let retains = cloud.group.as_ref().is_ok_and(|group| group.retains);
    if retains && info.default_result == "ABANDON" {
        return Finding::warn(
            check,
            "it times out with ABANDON, and the group retains what is abandoned: an instance whose agent died stays, \
             and is paid for, until a person ends it",
            "set DefaultResult=CONTINUE, or TerminateHookAbandon=terminate in the group's instance lifecycle policy",
        );
    }
    Finding::ok(check, format!("an instance whose agent died is held for {}", text(info.heartbeat_timeout)))
}

/// Whether the hook lasts as long as what it waits for, by itself or kept alive.
fn lasts(info: &HookInfo, check: &'static str, need: Duration, what: &str, cloud: &Cloud) -> Finding {
    let (timeout, takes) = (text(info.heartbeat_timeout), format!("{what} may take {}", text(need)));
    if info.global_timeout < need {
        return Finding::fail(
            check,
            format!("it ends after {} whatever the heartbeats, {takes}", text(info.global_timeout)),
            "raise HeartbeatTimeout (the end is a hundred times that), or lower the configured times",
        );
    }
    if info.heartbeat_timeout >= need {
        return Finding::ok(check, format!("{timeout}, and {takes}"));
    }
    let beat = cloud.trials.iter().find(|trial| trial.action.ends_with("RecordLifecycleActionHeartbeat"));
    match beat.map(|trial| &trial.outcome) {
        Some(Outcome::Allowed(_)) => Finding::ok(
            check,
            format!("{timeout}, and {takes}: heartbeats every {} carry it", text(info.heartbeat_timeout / 3)),
        ),
        Some(Outcome::Denied(_)) => Finding::fail(
            check,
            format!("{timeout}, {takes}, and heartbeats are denied"),
            "allow autoscaling:RecordLifecycleActionHeartbeat, or raise HeartbeatTimeout",
        ),
        _ => Finding::warn(
            check,
            format!("{timeout}, {takes}, and nobody knows whether heartbeats are allowed"),
            "raise HeartbeatTimeout, or lower the configured times",
        ),
    }
}
