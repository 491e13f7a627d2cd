//! Samples gathered into ten-second slots, and the slots that wait to be sent.

use std::collections::VecDeque;

/// Seconds of one datum.
const SECONDS: u64 = 10;
/// One hour of slots; with two datums each they fit one call (`PutMetricData` takes 1,000).
const CAPACITY: usize = 360;

/// `PutMetricData` takes timestamps of up to two weeks back; a minute's room for the call itself.
const OLDEST: u64 = 14 * 86_400 - 60;
/// And of up to two hours ahead.
const NEWEST: u64 = 2 * 3600 - 60;

/// One datum's worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Slot {
    /// Start, in seconds since 1970.
    pub(super) unix: u64,
    /// Mean of its samples, in percent.
    pub(super) mean: f64,
    /// Whether the instance served through all of it.
    pub(super) serving: bool,
}

/// The slot being filled.
#[derive(Debug, Default)]
pub(super) struct Slots {
    open: Option<(Slot, f64)>,
}

impl Slots {
    /// Adds one sample; gives back the slot that it ended, if it did.
    pub(super) fn add(&mut self, unix: u64, value: f64, serving: bool) -> Option<Slot> {
        let start = unix - unix % SECONDS;
        // Any other start ends a slot: the clock may have been set in either direction.
        let ended = if self.open.is_some_and(|(slot, _)| slot.unix == start) { None } else { self.close() };
        let (slot, count) = self.open.get_or_insert((Slot { unix: start, mean: 0.0, serving }, 0.0));
        *count += 1.0;
        slot.mean += (value - slot.mean) / *count;
        slot.serving &= serving;
        ended
    }

    /// Ends the open slot as it is.
    pub(super) fn close(&mut self) -> Option<Slot> {
        self.open.take().map(|(slot, _)| slot)
    }
}

/// Slots that wait to be sent, at most an hour's.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    waiting: VecDeque<Slot>,
    sent: u64,
    dropped: u64,
}

impl Buffer {
    /// Adds slots; the oldest give way.
    pub(super) fn extend(&mut self, slots: impl IntoIterator<Item = Slot>) {
        for slot in slots {
            if self.waiting.len() == CAPACITY {
                self.waiting.pop_front();
                self.dropped += 1;
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
        self.dropped += unfit.len() as u64;
        fit
    }

    /// Counts a call's result and puts what was not sent back in front.
    pub(super) fn settle(&mut self, unsent: Vec<Slot>, sent: usize, refused: usize) {
        self.sent += sent as u64;
        self.dropped += refused as u64;
        let newer: Vec<Slot> = self.waiting.drain(..).collect();
        self.extend(unsent);
        self.extend(newer);
    }

    /// Waiting, sent and dropped.
    pub(super) fn counters(&self) -> (usize, u64, u64) {
        (self.waiting.len(), self.sent, self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_seconds_make_one_slot_of_their_mean() {
        let mut slots = Slots::default();
        let ended: Vec<Slot> = (1000..1031)
            .filter_map(|unix| slots.add(unix, f64::from(u32::try_from(unix % 10).unwrap_or_default()), true))
            .collect();
        assert_eq!(ended.iter().map(|slot| slot.unix).collect::<Vec<_>>(), [1000, 1010, 1020]);
        assert!(ended.iter().all(|slot| (slot.mean - 4.5).abs() < 1e-9 && slot.serving));
    }

    #[test]
    fn a_slot_counts_for_the_group_only_when_all_of_it_was_served() {
        let mut slots = Slots::default();
        slots.add(1000, 1.0, true);
        slots.add(1001, 1.0, false);
        assert!(!slots.close().expect("it has samples").serving);
    }

    #[test]
    fn a_clock_set_back_ends_the_slot() {
        let mut slots = Slots::default();
        slots.add(5000, 1.0, true);
        assert_eq!(slots.add(4000, 3.0, true).map(|slot| slot.unix), Some(5000));
        assert_eq!(slots.close().map(|slot| slot.unix), Some(4000));
    }

    #[test]
    fn slots_of_a_wrong_clock_are_left_out() {
        const NOW: u64 = 1_800_000_000;
        let slot = |unix| Slot { unix, mean: 1.0, serving: true };
        let mut buffer = Buffer::default();
        buffer.extend([
            slot(0),
            slot(NOW - 15 * 86_400),
            slot(NOW - 600),
            slot(NOW + 600),
            slot(NOW + 86_400),
        ]);
        let times: Vec<u64> = buffer.take(NOW).iter().map(|slot| slot.unix).collect();
        assert_eq!((times, buffer.counters()), (vec![NOW - 600, NOW + 600], (0, 0, 3)));
    }

    #[test]
    fn an_outage_costs_the_oldest_slots_and_keeps_their_order() {
        let slot = |unix| Slot { unix, mean: 1.0, serving: true };
        let mut buffer = Buffer::default();
        buffer.extend((0..CAPACITY as u64).map(slot));
        let taken = buffer.take(0);
        buffer.extend([slot(900), slot(901)]);
        buffer.settle(taken, 0, 0);
        assert_eq!(buffer.counters(), (CAPACITY, 0, 2));
        let order: Vec<u64> = buffer.take(0).iter().map(|slot| slot.unix).collect();
        assert!(order.is_sorted() && order.first() == Some(&2) && order.last() == Some(&901));
    }
}
