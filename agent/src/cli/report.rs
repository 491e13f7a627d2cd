//! The status as a person reads it, within one terminal screen: what is waited for, since when, until when.

mod bootstrap;

use crate::board::{CheckRow, Status, TargetRow};
use crate::lifecycle::{Ended, Failure, HookStep, Notice, Phase, Settled};
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::{Duration, SystemTime};

/// Lines of a terminal, less the prompt.
pub(super) const SCREEN: usize = 23;
/// Characters of a line; what is longer is cut, since a wrapped line costs two.
const WIDTH: usize = 80;
/// Of a line's name and the gap behind it.
const NAMES: usize = 16;
/// Lines of one kind. With three kinds and ten lines of which there is one each, four are left for the timeline.
const ROWS: usize = 3;

/// How the page is to look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// The present, for the wall times of what has begun and of what is to end.
    pub(super) now: SystemTime,
    /// Whether the reader is a terminal that takes colours.
    pub(super) colour: bool,
}

/// Renders the status.
pub(super) fn text(status: &Status, look: Look) -> String {
    let mut page = Page::new(look.colour);
    life(&mut page, status, look.now);
    parts(&mut page, status);
    // The rest of the screen is for what has happened, the latest last.
    let room = SCREEN.saturating_sub(page.lines);
    for entry in status.timeline.iter().skip(status.timeline.len().saturating_sub(room)) {
        page.line(entry.at.get(11..19).unwrap_or_default(), &entry.what, Colour::None);
    }
    page.text
}

/// The lines about the whole: phase, times, reason, hooks and notices.
pub(super) fn life(page: &mut Page, status: &Status, now: SystemTime) {
    let since = wall(now.checked_sub(Duration::from_secs(status.phase_seconds)), status.phase_seconds);
    let phase = format!("{} since {since}, for {}", status.phase.name(), span(status.phase_seconds));
    page.line("phase", &phase, colour(status));
    if let (Some(left), Some(end)) = (status.deadline_seconds, end(status)) {
        let at = wall(now.checked_add(Duration::from_secs(left)), left);
        let when = if left == 0 { "now".to_owned() } else { format!("{at}, in {}", span(left)) };
        page.line("until", &format!("{when}: {end}"), Colour::None);
    }
    let ready = if status.ready { "yes" } else { "no" };
    page.line("ready", &format!("{ready}: {}", status.reason), Colour::None);
    page.line("waiting for", &waiting(status), Colour::Bold);
    page.line("instance", &instance(status), Colour::None);
    for (name, step) in &status.hooks {
        let colour = if *step == HookStep::Settled(Settled::GaveUp) { Colour::Red } else { Colour::None };
        page.line(&format!("{name} hook"), &hook(name, *step), colour);
    }
    // How the drain ended matters where it was not by its evidence.
    let ended = match status.drain_ended {
        Some(Ended::Overdue) => "at its deadline: work may have been in flight, targets untold",
        Some(Ended::Unreachable) => "without AWS: the targets were not told",
        Some(Ended::Quiet) | None => "",
    };
    page.line("drain ended", ended, Colour::Red);
    let notices: Vec<_> = status.notices.iter().map(|notice| notice.name()).collect();
    page.line("notices", &notices.join(", "), Colour::None);
}

/// The lines about the parts: targets, checks, metrics, errors.
fn parts(page: &mut Page, status: &Status) {
    page.rows("target", status.targets.iter().map(|row| (target(row), Colour::None)));
    let mut checks: Vec<&CheckRow> = status.checks.iter().collect();
    // What fails is what a person came for.
    checks.sort_by_key(|check| check.healthy == Some(true));
    page.rows("check", checks.into_iter().map(check));
    page.line("metrics", &metrics(status), Colour::None);
    let errors = status.errors.iter().map(|(part, error)| (format!("{part}: {error}"), Colour::Red));
    page.rows("error", errors);
}

/// The few colours that are used; each also stands for a word in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    None,
    Bold,
    Green,
    Yellow,
    Red,
}

impl Colour {
    /// What goes before and behind a text to show it so.
    pub(super) fn around(self) -> (&'static str, &'static str) {
        let code = match self {
            Self::None => return ("", ""),
            Self::Bold => "\x1b[1m",
            Self::Green => "\x1b[32m",
            Self::Yellow => "\x1b[33m",
            Self::Red => "\x1b[31m",
        };
        (code, "\x1b[0m")
    }
}

/// Whether standard output is a terminal that takes colours; `NO_COLOR` is honoured as <https://no-color.org> says:
/// any value but an empty one.
pub(super) fn terminal() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    std::io::stdout().is_terminal() && !set("NO_COLOR") && !dumb
}

fn colour(status: &Status) -> Colour {
    match status.phase {
        _ if status.failure.is_some() => Colour::Red,
        Phase::Serving if !status.ready => Colour::Red,
        Phase::Serving | Phase::Warmed => Colour::Green,
        _ => Colour::Yellow,
    }
}

/// Lines of a name and a value; those without a value are left out.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) text: String,
    lines: usize,
    coloured: bool,
}

impl Page {
    pub(super) fn new(coloured: bool) -> Self {
        Self { text: String::new(), lines: 0, coloured }
    }

    pub(super) fn line(&mut self, name: &str, value: &str, colour: Colour) {
        if value.is_empty() {
            return;
        }
        let value = cut(value, WIDTH - NAMES);
        let (on, off) = if self.coloured { colour.around() } else { ("", "") };
        let _ = writeln!(self.text, "{name:>14}  {on}{value}{off}");
        self.lines += 1;
    }

    fn rows(&mut self, name: &str, rows: impl ExactSizeIterator<Item = (String, Colour)>) {
        let count = rows.len();
        let shown = if count > ROWS { ROWS - 1 } else { ROWS };
        for (row, colour) in rows.take(shown) {
            self.line(name, &row, colour);
        }
        if count > shown {
            self.line(name, &format!("and {} more: see --json", count - shown), Colour::None);
        }
    }
}

/// One line of at most `room` characters. Control characters could move a terminal's cursor: they become spaces.
fn cut(value: &str, room: usize) -> String {
    let mut chars = value.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut line: String = chars.by_ref().take(room).collect();
    if chars.next().is_some() {
        line.pop();
        line.push('…');
    }
    line
}

/// What the end of the phase's time brings; `None` where it brings nothing any more.
fn end(status: &Status) -> Option<&'static str> {
    match status.phase {
        Phase::Bootstrapping | Phase::Warming if status.failure.is_some() => None,
        Phase::Bootstrapping | Phase::Warming => Some("then the launch has failed"),
        Phase::Draining => Some("the drain is over by then"),
        _ => Some("then the agent leaves"),
    }
}

fn waiting(status: &Status) -> String {
    let open = |name| status.hooks.get(name).is_some_and(|step: &HookStep| step.is_open());
    match status.phase {
        Phase::Bootstrapping if status.failure == Some(Failure::Bootstrap) => {
            "a person, or the group: see journalctl -u kiln-bootstrap".to_owned()
        }
        Phase::Bootstrapping => bootstrap::waiting(status),
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
        Phase::Drained if status.notices == [Notice::Operator] => {
            "a person: kiln-agent ready brings it back".to_owned()
        }
        Phase::Drained => "the machine to be stopped".to_owned(),
        Phase::Serving if status.rejoining => "AWS, to take the targets back".to_owned(),
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
            format!("AWS (see error), {connections}{still}")
        }
        Some("targets") => format!("the load balancer, {connections}{still}"),
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

fn target(row: &TargetRow) -> String {
    let port = row.port.map(|port| format!(":{port}")).unwrap_or_default();
    let reason = row.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    format!("{}{port} in {} is {}{reason}", row.id, short(&row.group), row.state)
}

/// The name in a target group's ARN, which ends in `targetgroup/name/id`.
pub(super) fn short(arn: &str) -> &str {
    arn.split("targetgroup/").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or(arn)
}

fn check(row: &CheckRow) -> (String, Colour) {
    let (state, colour) = match (row.healthy, &row.error) {
        (Some(true), Some(error)) => (format!("passes as yet, and failed last: {error}"), Colour::Yellow),
        (_, Some(error)) => (format!("fails: {error}"), Colour::Red),
        (Some(true), None) => (format!("passes in {} ms", row.elapsed_ms), Colour::None),
        (_, None) => ("no answer yet".to_owned(), Colour::Yellow),
    };
    (format!("{} {state}", row.name), colour)
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
        HookStep::Settled(Settled::NothingOwed | Settled::Superseded) => {
            "no hook waits for an answer".to_owned()
        }
        HookStep::Settled(Settled::GaveUp) => {
            format!("not completed: see the error '{name}' and the journal")
        }
    }
}

/// A length of time, exact below an hour, in two units above.
pub(super) fn span(seconds: u64) -> String {
    let unit = match seconds {
        ..3_600 => 1,
        3_600..86_400 => 60,
        _ => 3_600,
    };
    humantime::format_duration(Duration::from_secs(seconds - seconds % unit)).to_string()
}

/// A wall time in UTC; with its date where that may be another than today's.
fn wall(at: Option<SystemTime>, away: u64) -> String {
    let Some(at) = at else { return "long ago".to_owned() };
    let text = humantime::format_rfc3339_seconds(at).to_string();
    let (date, time) = (text.get(..10).unwrap_or_default(), text.get(11..19).unwrap_or_default());
    if away < 12 * 3_600 { format!("{time} UTC") } else { format!("{date} {time} UTC") }
}

#[cfg(test)]
mod tests;
