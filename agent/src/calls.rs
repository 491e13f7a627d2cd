//! Seeded ways in and out by the real [`Hooks`](crate::hook::Hooks) and [`Targets`](crate::targets::Targets), through the
//! real SDK, on a virtual clock, against a small Auto Scaling and Elastic Load Balancing in memory.
//!
//! ```text
//!  seed ─▶ play: launch hook ─ serve ─ leave ─ rejoin ─ serve ─ leave ─ heartbeats ─ terminate hook
//!            │   (killed anywhere, restarted)            │
//!            └── faults ─▶ cloud: lost requests and replies, throttling, 5xx, delays, late effects, garbage
//! ```
//!
//! `tests/simulation` plays whole lives and models these loops; here the loops are the real ones. A failing seed prints
//! its timeline. One seed alone, and other numbers of seeds:
//!
//! ```text
//! KILN_SEED=4711 cargo test -p kiln-agent --lib calls -- --nocapture
//! KILN_LIVES=20000 cargo test -p kiln-agent --lib calls
//! ```

mod answers;
mod cloud;
mod faults;
mod play;

use std::collections::BTreeMap;
use std::io::Write as _;

/// Lives of a run: some seconds, unoptimised.
const LIVES: u64 = 400;

/// What a run must have seen at least once, or it proves less than it says.
const MUST_BE_SEEN: &[&str] = &[
    "throttled",
    "server error",
    "request lost",
    "reply lost after the call took effect",
    "took effect late",
    "garbage",
    "killed",
    "heartbeat recorded",
    "completion refused",
    "deregistered",
    "registered by the agent",
    "group deleted",
    "group denied",
    "the other's hook still held",
    "the terminate hook was completed",
    "the launch hook was completed",
];

#[test]
fn no_way_in_or_out_breaks_an_invariant() {
    let alone = number("KILN_SEED");
    let seeds = alone.map_or(0..number("KILN_LIVES").unwrap_or(LIVES), |seed| seed..seed + 1);
    let count = seeds.end - seeds.start;
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in seeds {
        let ended = play::play(seed);
        for (what, times) in ended.seen {
            *seen.entry(what).or_default() += times;
        }
        if alone.is_some() {
            writeln!(std::io::stderr(), "{}", ended.timeline.join("\n")).expect("stderr is open");
        }
        assert!(
            ended.broken.is_empty(),
            "{}\n\nseed {seed}: {}\nKILN_SEED={seed} cargo test -p kiln-agent --lib calls -- --nocapture",
            ended.timeline.join("\n"),
            ended.broken.join("; ")
        );
    }
    if count >= LIVES {
        for what in MUST_BE_SEEN {
            assert!(seen.contains_key(what), "no life of {count} has seen '{what}': {seen:?}");
        }
    }
}

#[test]
fn a_seed_is_one_way_and_no_other() {
    for seed in 0..5 {
        assert_eq!(play::play(seed).timeline, play::play(seed).timeline, "seed {seed}");
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("KILN_SEED and KILN_LIVES are whole numbers"))
}
