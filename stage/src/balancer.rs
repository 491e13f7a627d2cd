//! The load balancer's data plane: a real `HAProxy` that sends requests where the target states say.
//!
//! It behaves as an Application Load Balancer does where drains care: keep-alive to the targets for 60 s, no retry of a
//! request, no new requests to a draining target, and what is open when the delay ends is closed.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::Child;

use crate::targets::{Route, TargetId};
use crate::tether;

/// Where users of the nth target group connect: a listener of its own.
pub(crate) fn front(group: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 8000 + 10 * group))
}
/// Where the rest of the fleet listens.
pub(crate) const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8001);
/// Servers that can be behind one target group at one time.
const SLOTS: usize = 8;
/// `HAProxy` starts in milliseconds; its socket answers at once. Protects the play from one that does not.
const BOUND: Duration = Duration::from_secs(10);

/// `HAProxy` and what it was told last.
#[derive(Debug)]
pub(crate) struct Balancer {
    socket: PathBuf,
    _haproxy: Child,
    slots: BTreeMap<Place, (usize, Route)>,
}

/// A target group's number and a target of it.
pub(crate) type Place = (u16, TargetId);

impl Balancer {
    /// Starts it; it dies with the stage.
    pub(crate) async fn start(scratch: &Path, groups: u16) -> Result<Self> {
        let (socket, config) = (scratch.join("haproxy.sock"), scratch.join("haproxy.cfg"));
        tokio::fs::write(&config, configuration(&socket, groups))
            .await
            .context("failed to write haproxy.cfg")?;
        let log =
            std::fs::File::create(scratch.join("haproxy.log")).context("failed to create haproxy.log")?;
        let mut command = tether::command("haproxy");
        command.arg("-db").arg("-f").arg(&config).stdin(Stdio::null());
        command.stdout(log.try_clone().context("failed to share haproxy.log")?).stderr(log);
        let haproxy = tether::spawn(command).await.context("failed to start haproxy")?;
        let balancer = Self { socket, _haproxy: haproxy, slots: BTreeMap::new() };
        let answers = async {
            while balancer.tell("show info").await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(BOUND, answers).await.with_context(|| {
            format!("haproxy did not start, see {}", scratch.join("haproxy.log").display())
        })?;
        Ok(balancer)
    }

    /// Routes as told; only what changed is sent. Targets that are not named any more are out.
    pub(crate) async fn route(&mut self, routes: &[(Place, Ipv4Addr, Route)]) -> Result<()> {
        let gone = self.slots.keys().filter(|id| !routes.iter().any(|(place, ..)| place == *id));
        for id in gone.cloned().collect::<Vec<_>>() {
            self.set(&id, Ipv4Addr::UNSPECIFIED, Route::Out).await?;
        }
        for (id, address, route) in routes {
            if self.slots.get(id).is_none_or(|(_, last)| last != route) {
                self.set(id, *address, *route).await?;
            }
        }
        Ok(())
    }

    async fn set(&mut self, id: &Place, address: Ipv4Addr, route: Route) -> Result<()> {
        let (group, (_, port)) = id;
        let used =
            |slot: &usize| self.slots.iter().any(|((other, _), (used, _))| other == group && used == slot);
        let known = self.slots.get(id).map(|(slot, _)| *slot);
        let Some(slot) = known.or_else(|| (0..SLOTS).find(|slot| !used(slot))) else {
            bail!("the balancer has {SLOTS} places and all are taken");
        };
        if known.is_none() {
            self.tell(&format!("set server fleet{group}/slot{slot} addr {address} port {port}")).await?;
        }
        match route {
            Route::Ready => {
                self.tell(&format!("set server fleet{group}/slot{slot} state ready")).await?;
            }
            Route::Drain => {
                self.tell(&format!("set server fleet{group}/slot{slot} state drain")).await?;
            }
            Route::Out => {
                self.tell(&format!("set server fleet{group}/slot{slot} state maint")).await?;
                self.tell(&format!("shutdown sessions server fleet{group}/slot{slot}")).await?;
                self.slots.remove(id);
                return Ok(());
            }
        }
        self.slots.insert(id.clone(), (slot, route));
        Ok(())
    }

    /// One command of `HAProxy`'s runtime API; it answers changes with an empty line or with what is wrong.
    async fn tell(&self, command: &str) -> Result<()> {
        let ask = async {
            let mut socket = UnixStream::connect(&self.socket).await?;
            socket.write_all(format!("{command}\n").as_bytes()).await?;
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer)
        };
        let answer = tokio::time::timeout(BOUND, ask)
            .await
            .with_context(|| format!("haproxy did not answer '{command}'"))?
            .with_context(|| format!("failed to tell haproxy '{command}'"))?;
        let answer = answer.trim();
        let fine = answer.is_empty()
            || command.starts_with("show")
            || answer.contains("changed")
            || answer.contains("no need");
        if fine { Ok(()) } else { bail!("haproxy refused '{command}': {answer}") }
    }
}

fn configuration(socket: &Path, groups: u16) -> String {
    let slots: Vec<String> =
        (0..SLOTS).map(|slot| format!("    server slot{slot} 192.0.2.1:80 disabled")).collect();
    let slots = slots.join("\n");
    let fleets = (0..groups).map(|group| {
        format!(
            "frontend users{group}
    bind {}
    http-request set-header X-Forwarded-Proto https
    http-request set-header X-Forwarded-Port 443
    default_backend fleet{group}
backend fleet{group}
    balance roundrobin
{slots}
    server peer {PEER} backup
",
            front(group)
        )
    });
    let fleets: String = fleets.collect();
    format!(
        "global
    stats socket {socket} mode 600 level admin
    maxconn 4000
defaults
    mode http
    option http-keep-alive
    option forwardfor
    http-reuse safe
    retries 0
    timeout connect 5s
    timeout client 65s
    timeout server 60s
    timeout http-keep-alive 60s
{fleets}",
        socket = socket.display()
    )
}
