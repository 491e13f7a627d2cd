//! The health checks: each asks on its own timer, counts, and tells the lifecycle when the whole turns.

pub(crate) mod probe;

use crate::board::{Board, CheckRow};
use crate::config::{Check, Config};
use crate::lifecycle::Event;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// While a check is not healthy it is asked this often: the answer decides when traffic arrives, or comes back.
const EAGER: Duration = Duration::from_millis(500);

/// Time between two looks whether a drain has come to an end; a drain takes seconds.
const REST: Duration = Duration::from_millis(500);
/// Between two looks whether the instance leaves, when no check answers meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The passes and failures of one check, and what they make of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    ready_after: u32,
    unready_after: u32,
    row: u32,
    last: bool,
    healthy: Option<bool>,
}

impl Threshold {
    /// Healthy after `ready_after` passes in a row, unhealthy after `unready_after` failures in a row.
    pub fn new(ready_after: u32, unready_after: u32) -> Self {
        Self { ready_after, unready_after, row: 0, last: false, healthy: None }
    }

    /// Counts one answer; says what the check is by now.
    pub fn count(&mut self, passed: bool) -> Option<bool> {
        self.row = if self.last == passed { self.row.saturating_add(1) } else { 1 };
        self.last = passed;
        let needed = if passed { self.ready_after } else { self.unready_after };
        if self.row >= needed {
            self.healthy = Some(passed);
        }
        self.healthy
    }
}

/// The whole of the checks: healthy when all are, unhealthy when any is, unknown in between.
pub fn whole(checks: impl IntoIterator<Item = Option<bool>>) -> Option<bool> {
    let mut all = Some(true);
    for healthy in checks {
        match healthy {
            Some(false) => return Some(false),
            None => all = None,
            Some(true) => {}
        }
    }
    all
}

/// Asks the checks while the process lives, and rests while the instance leaves: nothing goes by them then, and their
/// own connections would count as work in flight. Without any check the instance is healthy from the start.
pub async fn watch(config: Config, board: Board, events: mpsc::Sender<Event>) {
    loop {
        if !ask(&config, &board, &events).await {
            return;
        }
        // A warm pool's instance comes back from its drain.
        while board.lock().phase.is_leaving() {
            tokio::time::sleep(REST).await;
        }
    }
}

/// Asks until the instance leaves, were it for a moment; `false` when nobody listens any more.
async fn ask(config: &Config, board: &Board, events: &mpsc::Sender<Event>) -> bool {
    let row =
        |check: &Check| CheckRow { name: check.name.clone(), healthy: None, error: None, elapsed_ms: 0 };
    let drains = {
        let mut status = board.lock();
        status.checks = config.checks.iter().map(row).collect();
        status.drains
    };
    let mut running = JoinSet::new();
    let (turned, mut turns) = mpsc::channel(1);
    for (at, check) in config.checks.iter().cloned().enumerate() {
        let threshold = Threshold::new(config.ready_after.get(), config.unready_after.get());
        running.spawn(ask_on_a_timer(at, check, threshold, board.clone(), turned.clone()));
    }
    let mut told = None;
    loop {
        let (healthy, leaves) = {
            let status = board.lock();
            let healthy = whole(status.checks.iter().map(|check| check.healthy));
            (healthy, status.phase.is_leaving() || status.drains != drains)
        };
        if leaves {
            return true;
        }
        if healthy.is_some() && healthy != told {
            told = healthy;
            let event = if healthy == Some(true) { Event::Healthy } else { Event::Unhealthy };
            if events.send(event).await.is_err() {
                return false;
            }
        }
        // Without checks there is no turn to wait for, only the leaving.
        let _ = tokio::time::timeout(LONGEST_WAIT, turns.recv()).await;
    }
}

async fn ask_on_a_timer(
    at: usize,
    check: Check,
    mut threshold: Threshold,
    board: Board,
    turned: mpsc::Sender<()>,
) {
    loop {
        let asked = Instant::now();
        let answer = probe::ask(&check.probe, check.timeout).await;
        let healthy = threshold.count(answer.is_ok());
        let elapsed_ms = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
        let before = {
            let mut status = board.lock();
            let row = &mut status.checks[at];
            let before = std::mem::replace(&mut row.healthy, healthy);
            row.error = answer.as_ref().err().cloned();
            row.elapsed_ms = elapsed_ms;
            if before != healthy {
                // What keeps the launch hook alive while the checks come up one by one.
                status.advanced = Some(asked);
            }
            before
        };
        if before != healthy {
            report(&check.name, healthy, answer.err().as_deref(), elapsed_ms, &board);
        }
        if turned.send(()).await.is_err() {
            return;
        }
        let pause = if healthy == Some(true) { check.every } else { check.every.min(EAGER) };
        // A tenth of jitter keeps several checks of one service from asking in step.
        tokio::time::sleep(pause.mul_f64(0.9 + 0.2 * fastrand::f64())).await;
    }
}

fn report(check: &str, healthy: Option<bool>, error: Option<&str>, elapsed_ms: u64, board: &Board) {
    if healthy == Some(true) {
        tracing::info!(check, elapsed_ms, "check passes");
        board.note(format!("check '{check}' passes"));
    } else {
        let reason = error.unwrap_or("unknown");
        tracing::warn!(check, elapsed_ms, reason, "check fails");
        board.note(format!("check '{check}' fails: {reason}"));
    }
}

#[cfg(test)]
mod tests;
