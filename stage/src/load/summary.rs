//! What users saw, summed up.

use serde::{Deserialize, Serialize};

/// Failures that are kept in full.
const KEPT: usize = 100;

/// Latency in milliseconds, from each request's intended start to its last byte.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
}

/// One failed request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// Seconds since the play began, of its intended start.
    pub at: f64,
    /// The path that was asked for.
    pub path: String,
    /// `no answer: …`, `status 502`, `truncated body: …`, `timeout …`.
    pub reason: String,
}

/// What users saw in a whole life.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadSummary {
    /// Requests per second that were intended.
    pub rate: f64,
    /// Requests sent, streams included.
    pub sent: u64,
    /// Answered whole by the instance, streams included.
    pub by_instance: u64,
    /// Answered whole by the rest of the fleet.
    pub by_peer: u64,
    /// Failed, for whatever reason, streams included.
    pub failed: u64,
    /// The first hundred failures.
    pub failures: Vec<Failure>,
    /// Latency of the instance's answers, streams left out.
    pub latency: Latency,
    /// Streams that the instance answered.
    pub streams: u64,
    /// Those of them that ended whole.
    pub streams_whole: u64,
}

/// One whole answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) at: f64,
    pub(super) millis: f64,
    pub(super) peer: bool,
}

/// Everything counted so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) samples: Vec<Sample>,
    pub(super) failed: u64,
    pub(super) failures: Vec<Failure>,
    pub(super) streams: u64,
    pub(super) streams_whole: u64,
}

impl Tally {
    pub(super) fn fail(&mut self, failure: Failure) {
        self.failed += 1;
        if self.failures.len() < KEPT {
            self.failures.push(failure);
        }
    }

    pub(super) fn sum_up(&self, rate: f64) -> LoadSummary {
        let by_peer = self.samples.iter().filter(|sample| sample.peer).count() as u64;
        let mut millis: Vec<f64> = self.samples.iter().filter(|s| !s.peer).map(|s| s.millis).collect();
        millis.sort_by(f64::total_cmp);
        let by_instance = millis.len() as u64 + self.streams_whole;
        LoadSummary {
            rate,
            sent: by_instance + by_peer + self.failed,
            by_instance,
            by_peer,
            failed: self.failed,
            failures: self.failures.clone(),
            latency: Latency {
                p50: percentile(&millis, 50),
                p90: percentile(&millis, 90),
                p99: percentile(&millis, 99),
                max: percentile(&millis, 100),
            },
            streams: self.streams,
            streams_whole: self.streams_whole,
        }
    }
}

/// Nearest rank, to a hundredth of a millisecond.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map_or(0.0, |millis| (millis * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        for (percent, expected) in [(50, 50.0), (90, 90.0), (99, 99.0), (100, 100.0)] {
            assert!((percentile(&hundred, percent) - expected).abs() < f64::EPSILON, "p{percent}");
        }
        assert!(percentile(&[], 99).abs() < f64::EPSILON, "none is no panic");
    }
}
