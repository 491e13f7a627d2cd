//! Leaves: the targets are told, the work in flight is waited for, and the application goes on serving all the while.
//!
//! ```text
//!  every target told to leave ┐
//!  scripts ended              ├─ and then no work for `quiet` ─▶ drained
//!                             ┘            … or the deadline ─▶ drained
//! ```
//!
//! At shutdown, while AWS does not answer, nobody can be told and the machine goes down all the same: then the drain does
//! not hold it once AWS has been silent for [`SILENCE`] and there has been no work for `quiet`.

mod scripts;
#[cfg(test)]
mod runs;

use crate::board::Board;
use crate::clock::{Clock, Moment};
use crate::connections;
use crate::fetch::Url;
use crate::lifecycle::{Ended, Notice};
use crate::targets::Targets;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Time between two counts of the work in flight.
const SAMPLE: Duration = Duration::from_millis(500);
/// How long AWS may be silent before a shutdown goes on without it: two whole calls, each with its three attempts (15 s).
/// A single lost packet or a throttled minute is not silence, and a real outage does not cost `drain.max`.
pub const SILENCE: Duration = Duration::from_secs(30);
/// The port that is watched when neither the configuration nor a target names one.
const HTTP: u16 = 80;

/// Whether a drain may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Targets have yet to be told to leave.
    Targets,
    /// Scripts still run.
    Scripts,
    /// Work is in flight.
    Work,
    /// None is, but not for long enough.
    Quiet,
    /// Nothing holds the instance.
    Drained,
    /// Nothing holds the instance but targets that nobody can be told of.
    Unreachable,
    /// The deadline has come.
    Overdue,
}

/// The evidence of a drain, as it comes in.
#[derive(Debug, Clone, Copy, Default)]
pub struct Evidence {
    /// Every target has been told to leave.
    pub told: bool,
    /// The machine goes down and AWS has been silent for [`SILENCE`].
    pub unreachable: bool,
    /// Every script has ended.
    pub scripts_ended: bool,
    idle_since: Option<Moment>,
    work: Option<usize>,
}

impl Evidence {
    /// Takes in one count; `None` when it could not be taken, which proves nothing.
    pub fn count(&mut self, work: Option<usize>, now: Moment) {
        self.work = work;
        // New requests may come until the targets have been told, so quiet before that is worth nothing.
        if work == Some(0) && (self.told || self.unreachable) && self.scripts_ended {
            self.idle_since.get_or_insert(now);
        } else {
            self.idle_since = None;
        }
    }

    /// Judges what has been seen so far.
    pub fn verdict(&self, quiet: Duration, deadline: Moment, now: Moment) -> Verdict {
        match self.idle_since {
            _ if now >= deadline => Verdict::Overdue,
            _ if !self.told && !self.unreachable => Verdict::Targets,
            _ if !self.scripts_ended => Verdict::Scripts,
            _ if self.work.is_some_and(|work| work > 0) => Verdict::Work,
            Some(since) if now.since(since) < quiet => Verdict::Quiet,
            Some(_) if self.told => Verdict::Drained,
            Some(_) => Verdict::Unreachable,
            _ => Verdict::Quiet,
        }
    }
}

/// What a drain goes by.
#[derive(Debug)]
pub struct Drain {
    /// The instance's targets.
    pub targets: Targets,
    /// As configured; empty takes those of the targets.
    pub ports: Vec<u16>,
    /// nginx's status page.
    pub stub_status: Option<Url>,
    /// How long there must be no work.
    pub quiet: Duration,
    /// Commands to run side by side from the start.
    pub scripts: Vec<Vec<String>>,
    /// The board.
    pub board: Board,
    /// The clock.
    pub clock: Clock,
}

impl Drain {
    /// Comes back when nothing holds the instance any more, or at the deadline, which may be brought forward.
    pub async fn run(&self, deadline: watch::Receiver<Moment>) -> Ended {
        let mut evidence = Evidence::default();
        let mut scripts = scripts::start(self, &deadline);
        let leave = self.targets.leave();
        tokio::pin!(leave);
        let mut tick = tokio::time::interval(SAMPLE);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut last, mut said) = (None, None);
        loop {
            tokio::select! {
                () = &mut leave, if !evidence.told => evidence.told = true,
                Some(_) = scripts.join_next() => {}
                _ = tick.tick() => {}
            }
            evidence.scripts_ended = scripts.is_empty();
            evidence.unreachable = self.shuts_down() && self.targets.silence() >= SILENCE;
            let work = self.work().await;
            let now = self.clock.now();
            evidence.count(work, now);
            let verdict = evidence.verdict(self.quiet, *deadline.borrow(), now);
            let seen = (verdict, scripts.len(), work);
            let moves = work.is_some_and(|work| work > 0 || verdict == Verdict::Quiet);
            if last.replace(seen) != Some(seen) || moves {
                let mut status = self.board.lock();
                // Work in flight is progress by itself: a long download counts the same from second to second. So is quiet,
                // which may be longer than a hook's timeout.
                status.advanced = Some(Instant::now());
                status.waiting_for = Some(verdict.name().to_owned());
            }
            if said.replace(verdict) != Some(verdict) {
                tracing::info!(waiting_for = verdict.name(), connections = work, "drain advances");
            }
            if let Some(ended) = verdict.ended() {
                self.board.note(format!("drain ended: {}", verdict.name()));
                if verdict == Verdict::Unreachable {
                    tracing::warn!("drain ended without AWS: its targets were not told");
                }
                return ended;
            }
        }
    }

    fn shuts_down(&self) -> bool {
        self.board.lock().notices.contains(&Notice::Shutdown)
    }

    async fn work(&self) -> Option<usize> {
        let ports = self.ports();
        let counted = connections::count(&ports, self.stub_status.as_ref()).await;
        let error = counted.as_ref().err().map(|error| format!("failed to count connections: {error}"));
        if self.board.error("connections", error.as_deref()) && error.is_some() {
            tracing::warn!(reason = error, "connections cannot be counted");
        }
        let work = counted.ok();
        self.board.lock().connections = work;
        work
    }

    fn ports(&self) -> Vec<u16> {
        if !self.ports.is_empty() {
            return self.ports.clone();
        }
        let status = self.board.lock();
        let mut ports: Vec<u16> = status
            .targets
            .iter()
            .filter_map(|row| u16::try_from(row.port?).ok().filter(|port| *port > 0))
            .collect();
        if ports.is_empty() {
            ports.push(HTTP);
        }
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

impl Verdict {
    /// How the drain has ended, if it has.
    pub fn ended(self) -> Option<Ended> {
        match self {
            Verdict::Drained => Some(Ended::Quiet),
            Verdict::Unreachable => Some(Ended::Unreachable),
            Verdict::Overdue => Some(Ended::Overdue),
            Verdict::Targets | Verdict::Scripts | Verdict::Work | Verdict::Quiet => None,
        }
    }

    /// The word in the journal.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Targets => "targets",
            Verdict::Scripts => "scripts",
            Verdict::Work => "connections",
            Verdict::Quiet => "quiet",
            Verdict::Drained => "drained",
            Verdict::Unreachable => "AWS unreachable, targets not told",
            Verdict::Overdue => "deadline",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_secs(5);

    #[test]
    fn a_shutdown_without_aws_ends_when_nothing_is_in_flight() {
        let at = |seconds: u64| Moment::from_millis(seconds * 1000);
        // (unreachable, work) and the verdict after it; the targets are never told.
        let story = [
            (0, false, Some(0), Verdict::Targets),
            (30, true, Some(1), Verdict::Work),
            (31, true, Some(0), Verdict::Quiet),
            (33, false, Some(0), Verdict::Targets),
            (34, true, Some(0), Verdict::Quiet),
            (39, true, Some(0), Verdict::Unreachable),
        ];
        let mut evidence = Evidence { scripts_ended: true, ..Evidence::default() };
        for (second, unreachable, work, expected) in story {
            evidence.unreachable = unreachable;
            evidence.count(work, at(second));
            assert_eq!(evidence.verdict(QUIET, at(300), at(second)), expected, "second {second}");
        }
    }

    #[test]
    fn a_drain_ends_by_evidence_or_at_its_deadline() {
        let at = |seconds: u64| Moment::from_millis(seconds * 1000);
        // (told, scripts ended, work) each second, and the verdict after it.
        let story = [
            (false, false, Some(0), Verdict::Targets),
            (true, false, Some(0), Verdict::Scripts),
            (true, true, Some(2), Verdict::Work),
            (true, true, Some(0), Verdict::Quiet),
            (true, true, Some(1), Verdict::Work),
            (true, true, Some(0), Verdict::Quiet),
            (true, true, Some(0), Verdict::Quiet),
            (true, true, None, Verdict::Quiet),
            (true, true, Some(0), Verdict::Quiet),
            (true, true, Some(0), Verdict::Quiet),
            (true, true, Some(0), Verdict::Quiet),
            (true, true, Some(0), Verdict::Quiet),
            (true, true, Some(0), Verdict::Quiet),
            (true, true, Some(0), Verdict::Drained),
        ];
        let mut evidence = Evidence::default();
        for (second, (told, scripts_ended, work, expected)) in story.into_iter().enumerate() {
            let now = at(second as u64);
            (evidence.told, evidence.scripts_ended) = (told, scripts_ended);
            evidence.count(work, now);
            assert_eq!(evidence.verdict(QUIET, at(60), now), expected, "second {second}");
        }
        assert_eq!(Evidence::default().verdict(QUIET, at(60), at(60)), Verdict::Overdue);
    }
}
