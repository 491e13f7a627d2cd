//! Slots by a clock that may be set either way, and a buffer that an outage fills.

use super::*;
use proptest::prelude::*;

const NOW: u64 = 1_800_000_000;

#[test]
fn ten_seconds_make_one_slot_of_their_means() {
    let mut slots = Slots::default();
    let ended: Vec<Slot> = (1000..1031)
        .filter_map(|unix| {
            let mut values = cpu(f64::from(u32::try_from(unix % 10).unwrap_or_default()));
            // Taken once in ten seconds.
            values[Published::Disk.index()] = if unix % 10 == 3 { 80.0 } else { f64::NAN };
            slots.add(unix, &values, true)
        })
        .collect();
    assert_eq!(ended.iter().map(|slot| slot.unix).collect::<Vec<_>>(), [1000, 1010, 1020]);
    for slot in ended {
        assert!(slot.serving && (slot.means[0] - 4.5).abs() < 1e-9, "{slot:?}");
        assert!((slot.means[Published::Disk.index()] - 80.0).abs() < 1e-9, "{slot:?}");
        assert!(slot.means[Published::Memory.index()].is_nan(), "never sampled: {slot:?}");
    }
}

#[test]
fn a_slot_counts_for_the_group_only_when_all_of_it_was_served() {
    let mut slots = Slots::default();
    slots.add(1000, &cpu(1.0), true);
    slots.add(1001, &cpu(1.0), false);
    assert!(!slots.close().expect("it has samples").serving);
}

#[test]
fn a_clock_set_back_ends_the_slot() {
    let mut slots = Slots::default();
    slots.add(5000, &cpu(1.0), true);
    assert_eq!(slots.add(4000, &cpu(3.0), true).map(|slot| slot.unix), Some(5000));
    assert_eq!(slots.close().map(|slot| slot.unix), Some(4000));
}

#[test]
fn a_clock_that_jumps_and_is_set_right_costs_the_slots_of_the_wrong_time_alone() {
    for wrong in [NOW + 5 * 3600, NOW - 20 * 86_400] {
        let (mut slots, mut buffer) = (Slots::default(), Buffer::new((1, 1)));
        for start in [NOW, wrong, NOW + 100] {
            for second in 0..20 {
                buffer.extend(slots.add(start + second, &cpu(1.0), true));
            }
        }
        buffer.extend(slots.close());
        let times: Vec<u64> = buffer.take(NOW + 120).iter().map(|slot| slot.unix).collect();
        assert_eq!(times, [NOW, NOW + 10, NOW + 100, NOW + 110]);
        assert_eq!(buffer.counters().3, 2, "dropped");
    }
}

#[test]
fn slots_of_a_wrong_clock_are_left_out() {
    let mut buffer = Buffer::new((2, 1));
    let times = [0, NOW - 15 * 86_400, NOW - 600, NOW + 600, NOW + 86_400];
    buffer.extend(times.map(slot));
    let times: Vec<u64> = buffer.take(NOW).iter().map(|slot| slot.unix).collect();
    assert_eq!((times, buffer.counters()), (vec![NOW - 600, NOW + 600], (0, 0, 0, 6)));
}

#[test]
fn an_outage_costs_the_oldest_slots_and_keeps_their_order() {
    let mut buffer = Buffer::new((3, 1));
    buffer.extend((0..CAPACITY as u64).map(slot));
    let taken = buffer.take(0);
    buffer.extend([slot(9000), slot(9001)]);
    buffer.settle(taken, 0, 0);
    let (waiting, bytes, sent, dropped) = buffer.counters();
    assert_eq!((waiting, sent, dropped), (CAPACITY as u64 * 3, 0, 6));
    assert!(bytes <= BYTES as u64 && bytes > BYTES as u64 - 100, "{bytes}");
    let order: Vec<u64> = buffer.take(9000).iter().map(|slot| slot.unix).collect();
    assert!(order.is_sorted() && order.first() == Some(&2) && order.last() == Some(&9001));
}

proptest! {
    #[test]
    fn whatever_the_clock_does_every_sample_is_in_a_slot_and_no_slot_is_out_of_bounds(
        steps in proptest::collection::vec((any::<i32>(), 0.0..100.0_f64), 1..200),
    ) {
        let (mut slots, mut buffer) = (Slots::default(), Buffer::new((1, 1)));
        let mut unix = NOW;
        for (step, value) in steps {
            unix = unix.saturating_add_signed(i64::from(step));
            buffer.extend(slots.add(unix, &cpu(value), true));
        }
        buffer.extend(slots.close());
        for slot in buffer.take(unix) {
            prop_assert!(slot.unix % 10 == 0 && slot.means[0].is_finite());
            prop_assert!(slot.unix < unix + NEWEST && unix < slot.unix + OLDEST);
        }
    }
}

fn cpu(value: f64) -> Values {
    let mut values = [f64::NAN; _];
    values[0] = value;
    values
}

fn slot(unix: u64) -> Slot {
    Slot { unix, means: cpu(1.0), serving: true }
}
