//! How long to wait before asking again.

use std::time::Duration;

/// Pauses between attempts: exponential with full jitter, so that a fleet does not ask in step.
#[derive(Debug, Clone)]
pub struct Pauses {
    first: Duration,
    longest: Duration,
    attempt: u32,
}

impl Pauses {
    /// Pauses of up to `first`, then up to twice that, and so on up to `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, attempt: 0 }
    }

    /// The next pause, at least a quarter of its bound.
    pub fn next_pause(&mut self) -> Duration {
        let bound = self.first.saturating_mul(1 << self.attempt.min(16)).min(self.longest);
        self.attempt += 1;
        bound.mul_f64(rand::random_range(0.25..=1.0))
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}
