//! The machine itself: the daemon, the checks, the ports, nginx's status page, room on the disk and in memory.

use super::{Finding, Known};
use crate::board::Status;
use crate::config::Config;
use crate::connections::Stub;
use crate::fetch::{Url, fetch};
use crate::health::probe;
use crate::lifecycle::Phase;
use hyper::Method;
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Bounds one question to this machine: what answers at all answers from memory.
const LOCAL: Duration = Duration::from_secs(3);

/// What was found on the machine.
#[derive(Debug)]
pub(super) struct Local {
    pub(super) agent: Known<Status>,
    /// Each check's name, and how long it took or what it said.
    pub(super) checks: Vec<(String, Known<Duration>)>,
    /// Each target port, and what `/healthz` answers there.
    pub(super) ports: Vec<(u16, Known<u16>)>,
    /// `None` where it is not to be asked.
    pub(super) stub: Option<Known<()>>,
    pub(super) disk: Known<Room>,
    pub(super) memory: Known<Room>,
}

/// Free and in all, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) free: u64,
    pub(super) all: u64,
}

/// The running daemon's status.
pub(super) async fn agent(config: &Config) -> Known<Status> {
    let url = Url::parse(&format!("http://{}/status", config.local_address()))?;
    let reply = fetch(Method::GET, &url, &[], LOCAL).await.map_err(|error| error.to_string())?;
    serde_json::from_slice(&reply.body).map_err(|error| format!("its status cannot be read: {error}"))
}

/// All but the daemon and the ports, which are found out elsewhere.
pub(super) async fn gather(config: &Config, root: &Path) -> Local {
    let (checks, stub) = tokio::join!(checks(config), stub(config));
    Local {
        agent: Err("not asked".to_owned()),
        checks,
        ports: Vec::new(),
        stub,
        disk: disk(root),
        memory: std::fs::read_to_string("/proc/meminfo")
            .map_err(|error| format!("failed to read /proc/meminfo: {error}"))
            .and_then(|text| memory(&text).ok_or_else(|| "/proc/meminfo cannot be read".to_owned())),
    }
}

async fn checks(config: &Config) -> Vec<(String, Known<Duration>)> {
    let mut running = JoinSet::new();
    for (at, check) in config.checks.iter().cloned().enumerate() {
        running.spawn(async move {
            let asked = Instant::now();
            let answer = probe::ask(&check.probe, check.timeout).await;
            (at, check.name, answer.map(|()| asked.elapsed()))
        });
    }
    let mut answers = running.join_all().await;
    answers.sort_by_key(|(at, ..)| *at);
    answers.into_iter().map(|(_, name, answer)| (name, answer)).collect()
}

async fn stub(config: &Config) -> Option<Known<()>> {
    let address = config.stub_status.as_deref()?;
    let ask = async {
        let reply =
            fetch(Method::GET, &Url::parse(address)?, &[], LOCAL).await.map_err(|error| error.to_string())?;
        let page = std::str::from_utf8(&reply.body).ok().and_then(Stub::parse);
        page.map(|_| ()).ok_or_else(|| format!("{address} answers {}, and no status page", reply.status))
    };
    Some(ask.await)
}

/// Asks `/healthz` at the configured ports, those that the instance is registered with, or 80.
pub(super) async fn ports(config: &Config, registered: &[u16]) -> Vec<(u16, Known<u16>)> {
    let mut ports = if config.ports.is_empty() { registered.to_vec() } else { config.ports.clone() };
    if ports.is_empty() {
        ports.push(80);
    }
    ports.sort_unstable();
    ports.dedup();
    let mut running = JoinSet::new();
    for port in ports {
        running.spawn(async move { (port, healthz(port).await) });
    }
    let mut answers = running.join_all().await;
    answers.sort_by_key(|(port, _)| *port);
    answers
}

async fn healthz(port: u16) -> Known<u16> {
    let url = Url::parse(&format!("http://127.0.0.1:{port}/healthz"))?;
    let reply = fetch(Method::GET, &url, &[], LOCAL).await.map_err(|error| error.to_string())?;
    Ok(reply.status.as_u16())
}

fn disk(root: &Path) -> Known<Room> {
    let stat =
        nix::sys::statvfs::statvfs(root).map_err(|error| format!("failed to ask the disk: {error}"))?;
    let (block, free, all) = (stat.fragment_size(), stat.blocks_available(), stat.blocks());
    Ok(Room { free: free.saturating_mul(block), all: all.saturating_mul(block) })
}

/// `MemAvailable` and `MemTotal`, in kB.
fn memory(text: &str) -> Option<Room> {
    let field = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(Room { free: field("MemAvailable")?, all: field("MemTotal")? })
}

pub(super) fn judge(local: &Local) -> Vec<Finding> {
    let mut findings = vec![daemon(&local.agent)];
    if local.checks.is_empty() {
        findings.push(Finding::warn(
            "checks.pass",
            "none are configured: the instance is ready when user data has run",
            "add a [[health.check]] for each service",
        ));
    }
    findings.extend(local.checks.iter().map(|(name, answer)| {
        let finding = match answer {
            Ok(took) => Finding::ok("checks.pass", format!("passes in {} ms", took.as_millis())),
            Err(why) => Finding::fail("checks.pass", why, "journalctl -u 'gunicorn@*' -u nginx -e"),
        };
        finding.of(name)
    }));
    let ready = local.agent.as_ref().ok().map(|status| status.ready);
    findings.extend(local.ports.iter().map(|(port, answer)| healthz_of(answer, ready).of(port.to_string())));
    findings.push(match &local.stub {
        None => Finding::skipped("nginx.stub-status", "drain.stub_status is empty"),
        Some(Ok(())) => Finding::ok("nginx.stub-status", "answers"),
        Some(Err(why)) => Finding::warn(
            "nginx.stub-status",
            format!("{why}: idle keep-alives count as work, and a drain lasts to its deadline"),
            "let nginx serve stub_status there, or set drain.stub_status",
        ),
    });
    findings.push(room("disk.room", &local.disk, "df -h /; journalctl --vacuum-size=100M"));
    findings.push(room(
        "memory.room",
        &local.memory,
        "systemctl status shows each unit's; a larger instance type",
    ));
    findings
}

fn daemon(agent: &Known<Status>) -> Finding {
    const CHECK: &str = "agent.answers";
    let status = match agent {
        Err(why) => return Finding::fail(CHECK, why, "systemctl start kiln-agent; kiln-agent status"),
        Ok(status) => status,
    };
    let said = format!("{}: {}", status.phase.name(), status.reason);
    if status.version != env!("CARGO_PKG_VERSION") {
        let found = format!("it is {}, and this is {}", status.version, env!("CARGO_PKG_VERSION"));
        return Finding::warn(CHECK, found, "systemctl restart kiln-agent");
    }
    let broken = status.failure.is_some() || (status.phase == Phase::Serving && !status.ready);
    match (broken, status.errors.first_key_value()) {
        (true, _) => Finding::fail(CHECK, said, "kiln-agent status"),
        (false, Some((part, error))) => {
            Finding::warn(CHECK, format!("{said}; {part}: {error}"), "kiln-agent status")
        }
        (false, None) => Finding::ok(CHECK, said),
    }
}

/// What the load balancer would be told.
fn healthz_of(answer: &Known<u16>, ready: Option<bool>) -> Finding {
    const CHECK: &str = "ports.healthz";
    match answer {
        Ok(200) => Finding::ok(CHECK, "/healthz answers 200"),
        Ok(503) if ready == Some(false) => Finding::warn(
            CHECK,
            "/healthz answers 503, as the agent is not ready",
            "kiln-agent status says why",
        ),
        Ok(code) => Finding::fail(
            CHECK,
            format!("/healthz answers {code}"),
            "nginx must hand /healthz to health.listen's /readyz",
        ),
        Err(why) => {
            Finding::fail(CHECK, why, "systemctl status nginx; or set drain.ports to the ports in use")
        }
    }
}

fn room(check: &'static str, room: &Known<Room>, remedy: &str) -> Finding {
    let Room { free, all } = match room {
        Ok(room) => *room,
        Err(why) => return Finding::skipped(check, why),
    };
    let found = format!("{} of {} MiB free", free >> 20, all >> 20);
    // A tenth is where logs and page cache begin to hurt; a fiftieth is gone within the next deployment.
    if free < all / 50 {
        Finding::fail(check, found, remedy)
    } else if free < all / 10 {
        Finding::warn(check, found, remedy)
    } else {
        Finding::ok(check, found)
    }
}

#[cfg(test)]
mod tests;
