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
        self.attempt = self.attempt.saturating_add(1);
        bound.mul_f64(0.25 + 0.75 * fastrand::f64())
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

/// Plus or minus a fifth, so that instances of a group do not ask in step.
pub fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.8 + 0.4 * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_start_over() {
        let second = Duration::from_secs(1);
        let mut pauses = Pauses::new(second, second * 10);
        for bound in [1, 2, 4, 8, 10, 10].into_iter().chain(std::iter::repeat_n(10, 100)) {
            let pause = pauses.next_pause();
            assert!(pause >= second * bound / 4 && pause <= second * bound, "{pause:?} of {bound} s");
        }
        pauses.reset();
        assert!(pauses.next_pause() <= second);
        for _ in 0..100 {
            let pause = jittered(second);
            assert!(pause >= second * 4 / 5 && pause <= second * 6 / 5, "{pause:?}");
        }
    }
}
