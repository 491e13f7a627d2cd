//! Seeded lives: the real core and the real loop, against the stage's model of AWS, on a virtual clock, with faults.
//!
//! ```text
//!  seed ─▶ script ─▶ play ─▶ agent (driver::run, lifecycle) ─▶ steps ─▶ cloud (kiln-stage's lifecycle and targets)
//!                      │       kills, restarts, reboots, notices            storms: lost replies, throttling, 5xx …
//!                      └─────────────────────── witness: the invariants ◀───────┘
//! ```
//!
//! What is real: `kiln_agent::{lifecycle, driver}`, the state as it is saved, and the pure judgements of the steps
//! (`hook::standing`, `targets::must_be_told`, `drain::Evidence`). What is a model: the steps' loops of calls.
//!
//! A failing seed prints its timeline. One life alone, with its timeline, and other numbers of lives:
//!
//! ```text
//! KILN_SEED=4711 cargo test -p kiln-agent --test simulation -- --nocapture
//! KILN_LIVES=200000 cargo test -p kiln-agent --test simulation
//! ```

mod script;
mod cloud;
mod steps;
mod agent;
mod play;
mod witness;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Instant;

use witness::Ended;

/// Lives of a run: 150 s of processor time, unoptimised, shared by the cores.
const LIVES: u64 = 50_000;

/// What a run must have seen at least once, or it proves less than it says.
const MUST_BE_SEEN: &[&str] = &[
    "launch hook completed with CONTINUE",
    "launch hook completed with ABANDON",
    "terminate hook completed with CONTINUE",
    "reply lost after the call took effect",
    "completion refused: no active action",
    "throttled",
    "heartbeat recorded",
    "drain ended by evidence",
    "drain ended at its deadline",
    "drain resumed",
    "completion resumed",
    "deadline shortened",
    "agent killed",
    "agent stopped by SIGTERM",
    "machine rebooted",
    "machine rebooted in order",
    "launch heartbeat recorded",
    "somebody else's hook timed out",
    "came back: taken back by an operator",
    "came back: warm again",
    "came back: stopped on its way",
    "machine woke",
    "registered again",
    "unanswered: notice won",
    "unanswered: policy waits",
    "unanswered: not decided yet",
    "unanswered: outage",
    "unanswered: root replacement not shown",
    "launched from a new root",
];

#[test]
fn no_life_breaks_an_invariant() {
    if let Some(seed) = number("KILN_SEED") {
        let verdict = lives(seed..=seed).pop().expect("one seed is one life");
        let text = verdict.timeline.join("\n");
        writeln!(std::io::stderr(), "{text}").expect("stderr is open");
        assert!(verdict.broken.is_empty(), "seed {seed}: {}", verdict.broken.join("; "));
        return;
    }
    let (count, began) = (number("KILN_LIVES").unwrap_or(LIVES), Instant::now());
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let share = count.div_ceil(threads);
    let workers: Vec<_> = (0..threads)
        .map(|n| std::thread::spawn(move || lives(n * share..=((n + 1) * share).min(count) - 1)))
        .collect();
    let verdicts: Vec<Ended> = workers
        .into_iter()
        .flat_map(|worker| worker.join().expect("a life's panic is a failure of the simulation itself"))
        .collect();
    let mut seen = BTreeMap::new();
    for (what, times) in verdicts.iter().flat_map(|verdict| &verdict.seen) {
        *seen.entry(*what).or_insert(0_u64) += times;
    }
    let told = format!("{count} lives in {:.1} s: {seen:#?}\n", began.elapsed().as_secs_f64());
    std::io::stderr().write_all(told.as_bytes()).expect("stderr is open");
    let broken: Vec<_> = verdicts.iter().filter(|verdict| !verdict.broken.is_empty()).collect();
    if let Some(first) = broken.first() {
        let mut kinds = BTreeMap::new();
        for verdict in &broken {
            let kind = verdict.broken[0].split(':').next().unwrap_or_default();
            kinds.entry(kind).or_insert_with(Vec::new).push(verdict.seed);
        }
        let kinds: Vec<_> = kinds
            .iter()
            .map(|(kind, seeds)| {
                format!(
                    "{kind}: {} lives, KILN_SEED= one of {:?}",
                    seeds.len(),
                    &seeds[..seeds.len().min(20)]
                )
            })
            .collect();
        panic!(
            "{}\n\n{} of {count} lives broke an invariant\n{}\nseed {}: {}",
            first.timeline.join("\n"),
            broken.len(),
            kinds.join("\n"),
            first.seed,
            first.broken.join("; ")
        );
    }
    if count >= LIVES {
        for what in MUST_BE_SEEN {
            assert!(seen.contains_key(what), "no life of {count} has seen '{what}': {seen:?}");
        }
    }
}

#[test]
fn a_seed_is_one_life_and_no_other() {
    for seed in 0..20 {
        let (once, again) = (lives(seed..=seed), lives(seed..=seed));
        assert_eq!(once[0].timeline, again[0].timeline, "seed {seed}");
    }
}

/// Plays lives one after the other on a clock of their own; keeps the timeline of broken ones, and of a life alone.
fn lives(seeds: std::ops::RangeInclusive<u64>) -> Vec<Ended> {
    let alone = seeds.start() == seeds.end();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing");
    let play = |seed| {
        let mut verdict = runtime.block_on(play::play(seed));
        if verdict.broken.is_empty() && !alone {
            verdict.timeline.clear();
        }
        verdict
    };
    seeds.map(play).collect()
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("KILN_SEED and KILN_LIVES are whole numbers"))
}
