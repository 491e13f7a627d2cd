//! The units, as systemd knows them: do they run, do they stop in the right order and with enough time, and is the
//! daemon locked in. Asked by one `systemctl show`, whose output is made for programs.

use super::{Finding, Known, text};
use crate::config::Config;
use crate::systemd::STOP_BOUND;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::process::Command;

const AGENT: &str = "kiln-agent.service";
const BOOTSTRAP: &str = "kiln-bootstrap.service";
const NGINX: &str = "nginx.service";
/// Bounds systemd's answer; it is a few milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// From the drain's deadline to the agent's end: the hook's grace, 20 s, the last effects, 5 s, and a little.
const GRACE: Duration = Duration::from_secs(30);
/// The agent renews its stop timeout from its first turn after SIGTERM on, a turn each second; as much as its watchdog
/// allows a turn to take.
const FIRST_WORD: Duration = Duration::from_secs(30);
const PROPERTIES: &str = "--property=Id,LoadState,ActiveState,SubState,UnitFileState,Result,After,TimeoutStopUSec,\
                          ExecStop,User,NoNewPrivileges,ProtectSystem,CapabilityBoundingSet,NeedDaemonReload";

/// A unit's properties by their names.
type Unit = BTreeMap<String, String>;

/// What systemd says.
#[derive(Debug, Clone)]
pub(super) struct Units {
    pub(super) units: Vec<Unit>,
    /// For units that name no time of their own.
    pub(super) default_stop: Option<Duration>,
}

pub(super) async fn gather() -> Known<Units> {
    let units = show(&[PROPERTIES, AGENT, BOOTSTRAP, NGINX, "gunicorn@*"]);
    let manager = show(&["--property=DefaultTimeoutStopUSec"]);
    let (units, manager) = tokio::join!(units, manager);
    let default_stop =
        manager.ok().and_then(|text| parse(&text).first()?.get("DefaultTimeoutStopUSec").cloned());
    Ok(Units { units: parse(&units?), default_stop: default_stop.as_deref().and_then(span) })
}

async fn show(arguments: &[&str]) -> Known<String> {
    let mut command = Command::new("systemctl");
    command
        .arg("show")
        .args(arguments)
        .env("LC_ALL", "C")
        .kill_on_drop(true)
        .stdin(std::process::Stdio::null());
    let answer = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = answer
        .map_err(|_| format!("systemctl has not answered within {}", text(PATIENCE)))?
        .map_err(|error| format!("failed to run systemctl: {error}"))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(format!("systemd is not asked: {}", why.lines().next().unwrap_or_default()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `key=value` lines, an empty line between two units.
fn parse(text: &str) -> Vec<Unit> {
    let unit = |block: &str| {
        let pairs = block.lines().filter_map(|line| line.split_once('='));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    };
    text.split("\n\n").map(unit).filter(|unit: &Unit| !unit.is_empty()).collect()
}

/// systemd's own writing of a span: `5min 30s`, `infinity`.
fn span(text: &str) -> Option<Duration> {
    if text == "infinity" { Some(Duration::MAX) } else { humantime::parse_duration(text).ok() }
}

fn get<'a>(unit: &'a Unit, key: &str) -> &'a str {
    unit.get(key).map_or("", String::as_str)
}

pub(super) fn judge(units: &Known<Units>, config: &Config) -> Vec<Finding> {
    let known = match units {
        Ok(known) => known,
        Err(why) => {
            return ["units.run", "units.order", "units.stop-time", "units.sandbox"]
                .map(|check| Finding::skipped(check, why))
                .to_vec();
        }
    };
    let mut findings: Vec<Finding> = known.units.iter().map(|unit| runs(unit).of(get(unit, "Id"))).collect();
    let loaded: Vec<&Unit> = known.units.iter().filter(|unit| get(unit, "LoadState") == "loaded").collect();
    let Some(agent) = loaded.iter().copied().find(|unit| get(unit, "Id") == AGENT) else {
        return findings;
    };
    findings.push(order(agent, &loaded));
    findings.push(stop_time(agent, &loaded, known.default_stop, config));
    findings.push(sandbox(agent));
    findings
}

fn runs(unit: &Unit) -> Finding {
    const CHECK: &str = "units.run";
    let id = get(unit, "Id");
    let see = format!("systemctl status {id}; journalctl -u {id} -e");
    let (load, active) = (get(unit, "LoadState"), get(unit, "ActiveState"));
    let state = format!("{active} ({})", get(unit, "SubState"));
    match (load, active, get(unit, "UnitFileState")) {
        ("loaded", "active", "disabled" | "masked") => Finding::fail(
            CHECK,
            format!("{state}, and not started at the next boot"),
            format!("systemctl enable {id}"),
        ),
        ("loaded", "active", _) if get(unit, "NeedDaemonReload") == "yes" => Finding::warn(
            CHECK,
            format!("{state}, and its file has changed since"),
            "systemctl daemon-reload",
        ),
        ("loaded", "active", "") => Finding::ok(CHECK, state),
        ("loaded", "active", enabled) => Finding::ok(CHECK, format!("{state}, {enabled}")),
        ("loaded", "activating" | "reloading", _) => Finding::warn(CHECK, state, see),
        ("loaded", _, _) => Finding::fail(CHECK, format!("{state}, result {}", get(unit, "Result")), see),
        (load, ..) if id == AGENT || id == BOOTSTRAP => Finding::fail(
            CHECK,
            load,
            "install the units of Kiln's image template, then systemctl daemon-reload",
        ),
        (load, ..) => Finding::skipped(CHECK, load),
    }
}

/// At a shutdown units stop in the reverse of their order.
fn order(agent: &Unit, loaded: &[&Unit]) -> Finding {
    const CHECK: &str = "units.order";
    let after: Vec<&str> = get(agent, "After").split_whitespace().collect();
    let early = loaded.iter().filter(|unit| {
        let id = get(unit, "Id");
        let waits = get(unit, "ExecStop").contains(AGENT);
        id.ends_with(".service") && !matches!(id, AGENT | BOOTSTRAP) && !waits && !after.contains(&id)
    });
    let early: Vec<&str> = early.map(|unit| get(unit, "Id")).collect();
    if early.is_empty() {
        return Finding::ok(CHECK, "at a shutdown the agent drains before what it drains is stopped");
    }
    Finding::fail(
        CHECK,
        format!("at a shutdown {} may stop before the agent has drained", early.join(", ")),
        format!("After={} in {AGENT}, or an ExecStop= there that stops the agent first", early.join(" ")),
    )
}

fn stop_time(agent: &Unit, loaded: &[&Unit], default: Option<Duration>, config: &Config) -> Finding {
    const CHECK: &str = "units.stop-time";
    let Some(given) = span(get(agent, "TimeoutStopUSec")) else {
        return Finding::skipped(CHECK, "systemd names no TimeoutStopSec= of the agent");
    };
    if config.drain_max > STOP_BOUND {
        return Finding::warn(
            CHECK,
            format!(
                "drain.max is {}, and systemd forces a shutdown after {}",
                text(config.drain_max),
                text(STOP_BOUND)
            ),
            "lower drain.max: at a shutdown the drain ends then",
        );
    }
    if given < FIRST_WORD {
        let by = if default == Some(given) { " (DefaultTimeoutStopSec=)" } else { "" };
        return Finding::warn(
            CHECK,
            format!(
                "TimeoutStopSec= is {}{by}: on a busy machine the agent asks for more too late",
                text(given)
            ),
            format!("TimeoutStopSec={}s or more in a drop-in of {AGENT}", FIRST_WORD.as_secs()),
        );
    }
    // They stop the agent first, within their own time, which nobody renews.
    let need = config.drain_max + GRACE;
    let short = loaded.iter().find(|unit| {
        let stop = span(get(unit, "TimeoutStopUSec"));
        get(unit, "ExecStop").contains(AGENT) && stop.is_some_and(|stop| stop < need)
    });
    if let Some(unit) = short {
        let id = get(unit, "Id");
        return Finding::warn(
            CHECK,
            format!(
                "{id} waits at a shutdown for the agent, and less than drain.max and 30 s, {}",
                text(need)
            ),
            format!("TimeoutStopSec={}s in a drop-in of {id}, or a lower drain.max", need.as_secs()),
        );
    }
    Finding::ok(
        CHECK,
        format!(
            "the agent has what it asks for, {} at most; drain.max is {}",
            text(STOP_BOUND),
            text(config.drain_max)
        ),
    )
}

fn sandbox(agent: &Unit) -> Finding {
    const CHECK: &str = "units.sandbox";
    let wanted = [
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        // Empty: no capability can be had.
        ("CapabilityBoundingSet", ""),
    ];
    let open = wanted.iter().filter(|(key, value)| get(agent, key) != *value);
    let mut open: Vec<String> = open.map(|(key, value)| format!("{key}={value}")).collect();
    if matches!(get(agent, "User"), "" | "root") {
        open.push("User=kiln-agent".to_owned());
    }
    if open.is_empty() {
        return Finding::ok(CHECK, format!("runs as {}, locked in", get(agent, "User")));
    }
    Finding::warn(
        CHECK,
        format!("not as shipped: {} is missing", open.join(", ")),
        format!("take away the drop-in that changes it: systemctl cat {AGENT}"),
    )
}

#[cfg(test)]
mod tests;
