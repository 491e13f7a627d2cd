//! How many blocks are in flight at once: as many as EBS takes, found out by asking for more. Pure.
//!
//! ```text
//! 8 ─ +1 for each block that arrives ─▶ throttled: half ─ +1 for each round of blocks ─▶ … up to the knob
//! ```

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

/// In flight at first: what any link takes.
const FIRST: usize = 8;
/// Blocks that were in flight when EBS began to throttle are throttled with it: they are one sign, not many.
const DEAF: Duration = Duration::from_secs(1);

/// The bound on blocks in flight.
#[derive(Debug)]
pub(crate) struct Pace {
    limit: f64,
    most: f64,
    /// Until the first sign of too much it grows fast.
    unhurt: bool,
    deaf_until: Option<Instant>,
}

#[expect(clippy::cast_precision_loss, reason = "a few hundred at most")]
impl Pace {
    pub(crate) fn new(most: NonZeroUsize) -> Self {
        let most = most.get() as f64;
        Self { limit: most.min(FIRST as f64), most, unhurt: true, deaf_until: None }
    }

    /// How many may be in flight.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between one and a few hundred"
    )]
    pub(crate) fn limit(&self) -> usize {
        self.limit as usize
    }

    /// A block arrived.
    pub(crate) fn arrived(&mut self) {
        let step = if self.unhurt { 1.0 } else { 1.0 / self.limit };
        self.limit = (self.limit + step).min(self.most);
    }

    /// EBS said that it is too much, or said nothing in time.
    pub(crate) fn too_much(&mut self, now: Instant) {
        if self.deaf_until.is_none_or(|until| now >= until) {
            self.limit = (self.limit / 2.0).max(1.0);
            self.unhurt = false;
            self.deaf_until = Some(now + DEAF);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_to_the_knob_and_gives_way() {
        let mut pace = Pace::new(NonZeroUsize::new(64).expect("64"));
        assert_eq!(pace.limit(), 8);
        (0..200).for_each(|_| pace.arrived());
        assert_eq!(pace.limit(), 64);
        let now = Instant::now();
        (0..30).for_each(|_| pace.too_much(now));
        assert_eq!(pace.limit(), 32, "one burst is one sign");
        pace.too_much(now + DEAF);
        assert_eq!(pace.limit(), 16);
        (0..17).for_each(|_| pace.arrived());
        assert_eq!(pace.limit(), 17, "one more for each round");
        (0..20).for_each(|second| pace.too_much(now + DEAF * (second + 2)));
        assert_eq!(pace.limit(), 1, "never none");
    }

    #[test]
    fn a_small_knob_bounds_the_beginning_too() {
        assert_eq!(Pace::new(NonZeroUsize::MIN).limit(), 1);
    }
}
