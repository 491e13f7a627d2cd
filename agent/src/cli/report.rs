//! The status as a person reads it, within one terminal screen: what is waited for, since when, until when.

use crate::board::Status;
use crate::lifecycle::{HookStep, Phase, Settled};
use std::fmt::Write as _;
use std::time::Duration;

/// Lines of a terminal, less the prompt.
const SCREEN: usize = 23;
/// Lines of one kind that are shown before the rest is only counted.
const ROWS: usize = 4;
/// A line's length; what is longer is cut, since a wrapped line costs two.
const WIDTH: usize = 100;

/// Renders the status.
pub(super) fn text(status: &Status) -> String {
    let mut page = Page::default();
    let since = span(status.phase_seconds);
    page.line("phase", &format!("{} for {since}{}", status.phase.name(), until(status)));
    page.line("ready", &format!("{}: {}", if status.ready { "yes" } else { "no" }, status.reason));
    page.line("waiting for", &waiting(status));
    page.line("instance", &instance(status));
    for (name, step) in &status.hooks {
        page.line(&format!("{name} hook"), &hook(name, *step));
    }
    page.rows("target", status.targets.iter().map(target));
    page.rows("check", status.checks.iter().map(check));
    page.line("metrics", &metrics(status));
    page.rows("error", status.errors.iter().map(|(part, error)| format!("{part}: {error}")));
    // The rest of the screen is for what has happened, the latest last.
    let room = SCREEN.saturating_sub(page.lines).max(3);
    for entry in status.timeline.iter().skip(status.timeline.len().saturating_sub(room)) {
        page.line(entry.at.get(11..19).unwrap_or_default(), &entry.what);
    }
    page.text
}

/// Lines of a name and a value; those without a value are left out.
#[derive(Default)]
struct Page {
    text: String,
    lines: usize,
}

impl Page {
    fn line(&mut self, name: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        let value = value.replace(['\n', '\r'], " ");
        let room = WIDTH - 15;
        let cut: String = value.chars().take(room).collect();
        let more = if cut.len() < value.len() { "…" } else { "" };
        let _ = writeln!(self.text, "{name:>14}  {cut}{more}");
        self.lines += 1;
    }

    fn rows(&mut self, name: &str, rows: impl ExactSizeIterator<Item = String>) {
        let count = rows.len();
        for row in rows.take(ROWS) {
            self.line(name, &row);
        }
        if count > ROWS {
            self.line(name, &format!("and {} more: see --json", count - ROWS));
        }
    }
}

fn until(status: &Status) -> String {
    let Some(left) = status.deadline_seconds else { return String::new() };
    let what = match status.phase {
        Phase::Bootstrapping | Phase::Warming if status.failure.is_some() => return String::new(),
        Phase::Bootstrapping | Phase::Warming => "failed",
        Phase::Draining => "over",
        _ => "left",
    };
    format!(", {what} in {} at the latest", span(left))
}

fn waiting(status: &Status) -> String {
    let open = |name| status.hooks.get(name).is_some_and(|step: &HookStep| step.is_open());
    match status.phase {
        Phase::Bootstrapping => "kiln-bootstrap.service, which runs the user data".to_owned(),
        Phase::Warming => {
            let failing = status.checks.iter().filter(|check| check.healthy != Some(true)).count();
            format!("{failing} of {} checks", status.checks.len())
        }
        Phase::Serving | Phase::Warmed if open("launch") => {
            "Auto Scaling, to take the answer to the launch hook".to_owned()
        }
        Phase::Draining => draining(status),
        Phase::Drained if open("terminate") => {
            "the group, which drains its targets before its hook".to_owned()
        }
        Phase::Drained => "the machine to be stopped".to_owned(),
        Phase::Serving | Phase::Warmed | Phase::Standby => String::new(),
    }
}

fn draining(status: &Status) -> String {
    let still = status.advanced_seconds.filter(|seconds| *seconds > 2);
    let still = still.map(|seconds| format!(", unchanged for {}", span(seconds))).unwrap_or_default();
    let connections = match status.connections {
        Some(1) => "1 connection with work in flight".to_owned(),
        Some(count) => format!("{count} connections with work in flight"),
        None => "connections that cannot be counted".to_owned(),
    };
    match status.waiting_for.as_deref() {
        Some("targets") if status.errors.keys().any(|part| part.starts_with("targets")) => {
            format!("AWS, to tell the load balancer (see error), {connections}{still}")
        }
        Some("targets") => format!("the load balancer to be told, {connections}{still}"),
        Some("scripts") => format!("drain.scripts to end, {connections}{still}"),
        Some("quiet") => format!("drain.quiet to pass without work{still}"),
        Some(_) => format!("{connections}{still}"),
        None => String::new(),
    }
}

fn instance(status: &Status) -> String {
    let id = status.instance_id.as_deref().unwrap_or("id not known yet");
    let group = status.group.as_deref().map(|group| format!(" of {group}")).unwrap_or_default();
    let target = status.target_state.as_deref().map(|state| format!(", wanted in {state}"));
    format!("{id}{group}{}", target.unwrap_or_else(|| ", no target lifecycle state".to_owned()))
}

fn target(row: &crate::board::TargetRow) -> String {
    let port = row.port.map(|port| format!(":{port}")).unwrap_or_default();
    let group = row.group.rsplit("targetgroup/").next().unwrap_or(&row.group);
    let reason = row.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    format!("{}{port} in {group} is {}{reason}", row.id, row.state)
}

fn check(row: &crate::board::CheckRow) -> String {
    let state = match (row.healthy, &row.error) {
        (Some(true), Some(error)) => format!("passes as yet, and failed last: {error}"),
        (_, Some(error)) => format!("fails: {error}"),
        (Some(true), None) => format!("passes in {} ms", row.elapsed_ms),
        (_, None) => "no answer yet".to_owned(),
    };
    format!("{} {state}", row.name)
}

fn metrics(status: &Status) -> String {
    let row = &status.metrics;
    let lost = if row.dropped > 0 { format!(", {} dropped", row.dropped) } else { String::new() };
    format!("CPU {:.0} %, {} datums sent, {} waiting{lost}", row.cpu.utilization, row.sent, row.backlog)
}

fn hook(name: &str, step: HookStep) -> String {
    match step {
        HookStep::Idle => String::new(),
        HookStep::Watched => "watching for Terminating:Wait".to_owned(),
        HookStep::Waiting => "waits for the end of the drain, with heartbeats".to_owned(),
        HookStep::Asked(verdict) => format!("being completed with {}", verdict.name()),
        HookStep::Settled(Settled::Completed) => "completed".to_owned(),
        HookStep::Settled(Settled::NothingOwed) => "no hook waits for an answer".to_owned(),
        HookStep::Settled(Settled::GaveUp) => {
            format!("not completed: see the error '{name}' and the journal")
        }
    }
}

fn span(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::{CheckRow, Entry, TargetRow};

    #[test]
    fn a_drain_says_what_it_waits_for_since_when_and_until_when() {
        let mut status = crate::fake::board().snapshot();
        (status.phase, status.phase_seconds, status.deadline_seconds) = (Phase::Draining, 75, Some(225));
        (status.waiting_for, status.connections) = (Some("connections".to_owned()), Some(3));
        status.advanced_seconds = Some(40);
        let text = text(&status);
        assert!(text.contains("phase  draining for 1m 15s, over in 3m 45s at the latest\n"), "{text}");
        assert!(
            text.contains("waiting for  3 connections with work in flight, unchanged for 40s\n"),
            "{text}"
        );
    }

    #[test]
    fn the_worst_day_fits_one_screen() {
        let mut status = crate::fake::board().snapshot();
        let long = "x".repeat(500);
        for n in 0..40 {
            status.targets.push(TargetRow {
                group: long.clone(),
                id: "i-0abc".to_owned(),
                port: Some(80),
                zone: None,
                state: "healthy".to_owned(),
                reason: None,
            });
            let error = Some(format!("line\nbreak {long}"));
            status.checks.push(CheckRow {
                name: format!("c{n}"),
                healthy: Some(false),
                error,
                elapsed_ms: 0,
            });
            status.errors.insert(format!("part{n}"), long.clone());
            status.timeline.push_back(Entry { at: "2026-01-01T00:00:00Z".to_owned(), what: long.clone() });
        }
        let text = text(&status);
        assert!(text.lines().count() <= SCREEN + 3, "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH + 2), "{text}");
    }
}
