//! What a script waits for and looks at.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Scene;
use serde_json::Value;

use crate::journal::tail;
use crate::lifecycle::State;
use crate::record::Request;
use crate::rehearsal::Snapshot;
use crate::targets::{Health, TargetGroup};

/// How often a condition is looked at that nobody announces.
const LOOK: Duration = Duration::from_millis(200);

impl Scene {
    /// Every instance that was launched.
    pub fn instances(&self) -> Vec<String> {
        self.machines.ids()
    }

    /// An instance's state in its group.
    pub fn state(&self, id: &str) -> Option<State> {
        self.cloud.lock().state(id)
    }

    /// Waits until an instance is in a state; the seconds since the play began.
    ///
    /// # Errors
    /// When it is not there within `bound`, or is gone for good.
    pub async fn reaches(&self, id: &str, state: State, bound: Duration) -> Result<f64> {
        let seen = self.cloud.wait(bound, |inner| inner.state(id).filter(|is| *is == state || is.gone()));
        match seen.await {
            Some(is) if is == state => Ok(self.cloud.at()),
            _ => bail!(
                "{id} is {}, not {} within {bound:?}",
                self.state(id).map_or("unknown", State::name),
                state.name()
            ),
        }
    }

    /// Waits until every row of an instance is healthy; the seconds since the play began.
    ///
    /// # Errors
    /// When that is not so within `bound`.
    pub async fn healthy(&self, id: &str, bound: Duration) -> Result<f64> {
        let all = self.cloud.wait(bound, |inner| {
            let mut rows = inner.target_groups.iter().flat_map(TargetGroup::targets);
            let own = rows.by_ref().filter(|((target, _), _)| target == id);
            let states: Vec<Health> = own.map(|(_, health)| health).collect();
            (!states.is_empty() && states.iter().all(|health| *health == Health::Healthy)).then_some(())
        });
        all.await.with_context(|| format!("{id} is not healthy everywhere within {bound:?}"))?;
        Ok(self.cloud.at())
    }

    /// The instance's rows in all target groups: group's number, port, health.
    pub fn rows(&self, id: &str) -> Vec<(usize, u16, Health)> {
        let inner = self.cloud.lock();
        let groups = inner.target_groups.iter().enumerate();
        groups
            .flat_map(|(n, group)| {
                let own = group.targets().filter(|((target, _), _)| target == id);
                own.map(move |((_, port), health)| (n, *port, health)).collect::<Vec<_>>()
            })
            .collect()
    }

    /// Waits for the next request of an instance with this action that comes after `since` seconds.
    ///
    /// # Errors
    /// When none came within `bound`.
    pub async fn asked(&self, id: &str, action: &str, since: f64, bound: Duration) -> Result<Request> {
        let found = self.until(bound, || {
            let mut all = self.cloud.record.all().into_iter();
            all.find(|r| r.at >= since && r.action == action && r.instance.as_deref() == Some(id))
        });
        found.await.with_context(|| format!("{id} did not ask for {action} within {bound:?}"))
    }

    /// `kiln-agent status --json` of an instance.
    ///
    /// # Errors
    /// When the instance is off, or its agent does not answer.
    pub async fn status(&self, id: &str) -> Result<Value> {
        let output = self.exec(id, &["kiln-agent", "status", "--json"]).await?;
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("no status: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }

    /// Waits until an instance's agent says that it is in a phase; its status then.
    ///
    /// # Errors
    /// When it does not say so within `bound`, with what it said last.
    pub async fn phase(&self, id: &str, phase: &str, bound: Duration) -> Result<Value> {
        let end = Instant::now() + bound;
        loop {
            let status = self.status(id).await;
            match status {
                Ok(status) if status["phase"] == phase => return Ok(status),
                last if Instant::now() >= end => bail!("{id} is not {phase} within {bound:?}: {last:?}"),
                _ => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// Waits until `done` says something; `None` is the end of patience.
    pub async fn until<T>(&self, bound: Duration, done: impl Fn() -> Option<T>) -> Option<T> {
        let wait = async {
            loop {
                if let Some(found) = done() {
                    return found;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(bound, wait).await.ok()
    }

    /// The same for what takes asking.
    pub async fn until_async<T>(&self, bound: Duration, done: impl AsyncFn() -> Option<T>) -> Option<T> {
        let wait = async {
            loop {
                if let Some(found) = done().await {
                    return found;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(bound, wait).await.ok()
    }

    /// Asks an instance how it is: `/healthz` from outside, `/readyz` and `status --json` inside.
    pub async fn look(&self, id: &str, moment: &str) -> Snapshot {
        self.machines.snapshot(id, moment).await
    }

    /// Every look so far; one is taken of each instance before it is powered off for good.
    pub fn looks(&self) -> Vec<Snapshot> {
        self.machines.snapshots.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An instance's journal, `journalctl -o json`: read now, or just before it went off.
    pub async fn journal(&self, id: &str) -> Vec<u8> {
        self.machines.read_journal(id).await;
        self.machines.journal(id)
    }

    /// The lines of its journal worth reading; those of the console where there is no journal.
    pub async fn journal_tail(&self, id: &str, lines: usize) -> Vec<String> {
        let journal = self.journal(id).await;
        let epoch = jiff::Timestamp::now().as_duration().as_secs_f64() - self.cloud.at();
        let told = tail(&String::from_utf8_lossy(&journal), epoch, lines);
        if told.is_empty() { self.machines.console_tail(id, lines) } else { told }
    }
}
