//! Samples gathered into ten-second slots, and the slots that wait to be sent.

use crate::config::Published;
use std::collections::VecDeque;

/// Seconds of one datum.
const SECONDS: u64 = 10;
/// The buffer's bound: about two and a half hours of slots. It protects the instance's memory from a long outage.
const BYTES: usize = 64 * 1024;
/// The same in slots.
pub(super) const CAPACITY: usize = BYTES / size_of::<Slot>();

/// `PutMetricData` takes timestamps of up to two weeks back; a minute's room for the call itself.
const OLDEST: u64 = 14 * 86_400 - 60;
/// And of up to two hours ahead.
const NEWEST: u64 = 2 * 3600 - 60;

/// One value of each kind in percent, by [`Published::index`]; NaN where there is none.
pub(super) type Values = [f64; Published::ALL.len()];

/// One datum's worth of each kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    /// Start, in seconds since 1970.
    pub(super) unix: u64,
    /// Means of the samples.
    pub(super) means: Values,
    /// Whether the instance served through all of it.
    pub(super) serving: bool,
}

/// The slot being filled, with the number of samples of each kind.
#[derive(Debug, Default)]
pub(super) struct Slots {
    open: Option<(Slot, Values)>,
}

impl Slots {
    /// Adds one sample; gives back the slot that it ended, if it did.
    pub(super) fn add(&mut self, unix: u64, values: &Values, serving: bool) -> Option<Slot> {
        let start = unix - unix % SECONDS;
        // Any other start ends a slot: the clock may have been set in either direction.
        let ended = if self.open.is_some_and(|(slot, _)| slot.unix == start) { None } else { self.close() };
        let fresh = || (Slot { unix: start, means: [f64::NAN; _], serving }, [0.0; _]);
        let (slot, counts) = self.open.get_or_insert_with(fresh);
        for ((mean, count), value) in slot.means.iter_mut().zip(counts).zip(values) {
            if value.is_finite() {
                *count += 1.0;
                let before = if mean.is_nan() { 0.0 } else { *mean };
                *mean = before + (value - before) / *count;
            }
        }
        slot.serving &= serving;
        ended
    }

    /// Ends the open slot as it is.
    pub(super) fn close(&mut self) -> Option<Slot> {
        self.open.take().map(|(slot, _)| slot)
    }
}

/// Slots that wait to be sent, within [`BYTES`].
#[derive(Debug, Default)]
pub(super) struct Buffer {
    waiting: VecDeque<Slot>,
    /// Datums of one slot that serves, and of one that does not.
    datums: (usize, usize),
    sent: u64,
    dropped: u64,
}

impl Buffer {
    /// A buffer for slots of so many datums: those that serve, and those that do not.
    pub(super) fn new(datums: (usize, usize)) -> Self {
        Self { datums, ..Self::default() }
    }

    /// Adds slots; the oldest give way.
    pub(super) fn extend(&mut self, slots: impl IntoIterator<Item = Slot>) {
        for slot in slots {
            if self.waiting.len() == CAPACITY
                && let Some(oldest) = self.waiting.pop_front()
            {
                self.dropped += self.count(&oldest);
            }
            self.waiting.push_back(slot);
        }
    }

    /// Takes all out for a call at `now`, but those that `CloudWatch` would refuse, and their whole call with them: the
    /// clock was wrong when they were taken, or is wrong now.
    pub(super) fn take(&mut self, now: u64) -> Vec<Slot> {
        let taken: Vec<Slot> = self.waiting.drain(..).collect();
        let (fit, unfit): (Vec<Slot>, Vec<Slot>) = taken.into_iter().partition(|slot| {
            now.saturating_sub(slot.unix) < OLDEST && slot.unix.saturating_sub(now) < NEWEST
        });
        self.dropped += unfit.iter().map(|slot| self.count(slot)).sum::<u64>();
        fit
    }

    /// Counts a call's result, in datums, and puts what was not sent back in front.
    pub(super) fn settle(&mut self, unsent: Vec<Slot>, sent: usize, refused: usize) {
        self.sent += sent as u64;
        self.dropped += refused as u64;
        let newer: Vec<Slot> = self.waiting.drain(..).collect();
        self.extend(unsent);
        self.extend(newer);
    }

    /// Datums waiting, their bytes, datums sent and datums dropped.
    pub(super) fn counters(&self) -> (u64, u64, u64, u64) {
        let waiting = self.waiting.iter().map(|slot| self.count(slot)).sum();
        (waiting, (self.waiting.len() * size_of::<Slot>()) as u64, self.sent, self.dropped)
    }

    fn count(&self, slot: &Slot) -> u64 {
        (if slot.serving { self.datums.0 } else { self.datums.1 }) as u64
    }
}

#[cfg(test)]
mod tests;
