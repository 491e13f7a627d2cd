//! The status as a person reads it, within one terminal screen.

use crate::board::Status;
use crate::lifecycle::HookStep;
use std::fmt::Write as _;

/// Entries shown of the timeline.
const TIMELINE: usize = 10;

/// Renders the status.
pub(super) fn text(status: &Status) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(out, "{name:>12}  {value}");
        }
    };
    line("phase", &format!("{} for {}", status.phase.name(), seconds(status.phase_seconds)));
    line("ready", &format!("{}: {}", if status.ready { "yes" } else { "no" }, status.reason));
    line(
        "deadline",
        &status.deadline_seconds.map(|left| format!("in {}", seconds(left))).unwrap_or_default(),
    );
    line("instance", status.instance_id.as_deref().unwrap_or("not known yet"));
    line("group", status.group.as_deref().unwrap_or_default());
    line("target state", status.target_state.as_deref().unwrap_or("none"));
    for (name, step) in &status.hooks {
        if *step != HookStep::Idle {
            line(&format!("{name} hook"), &hook(*step));
        }
    }
    for target in &status.targets {
        let port = target.port.map(|port| format!(":{port}")).unwrap_or_default();
        let group = target.group.rsplit("targetgroup/").next().unwrap_or(&target.group);
        line("target", &format!("{}{port} in {group} is {}", target.id, target.state));
    }
    line(
        "connections",
        &status.connections.map(|count| format!("{count} with work in flight")).unwrap_or_default(),
    );
    for check in &status.checks {
        let state = match (check.healthy, &check.error) {
            (_, Some(error)) => format!("fails: {error}"),
            (Some(true), None) => format!("passes in {} ms", check.elapsed_ms),
            (_, None) => "no answer yet".to_owned(),
        };
        line("check", &format!("{} {state}", check.name));
    }
    let metrics = &status.metrics;
    line(
        "metrics",
        &format!(
            "CPU {:.0} %, {} sent, {} waiting, {} dropped",
            metrics.cpu.utilization, metrics.sent, metrics.backlog, metrics.dropped
        ),
    );
    for (part, error) in &status.errors {
        line("error", &format!("{part}: {error}"));
    }
    for entry in status.timeline.iter().skip(status.timeline.len().saturating_sub(TIMELINE)) {
        line(entry.at.get(11..19).unwrap_or_default(), &entry.what);
    }
    out
}

fn seconds(seconds: u64) -> String {
    humantime::format_duration(std::time::Duration::from_secs(seconds)).to_string()
}

fn hook(step: HookStep) -> String {
    match step {
        HookStep::Idle => "not asked".to_owned(),
        HookStep::Watched => "waiting for Terminating:Wait".to_owned(),
        HookStep::Waiting => "waits for the drain".to_owned(),
        HookStep::Asked(verdict) => format!("being completed with {}", verdict.name()),
        HookStep::Settled(settled) => match settled {
            crate::lifecycle::Settled::Completed => "completed".to_owned(),
            crate::lifecycle::Settled::NothingOwed => "nothing owed".to_owned(),
            crate::lifecycle::Settled::GaveUp => "not completed".to_owned(),
        },
    }
}
