//! DRAWS: all that will befall one life, from its seed. Times count from the launch.

use std::time::Duration;

use kiln_agent::lifecycle::{OnFailure, Policy};
use kiln_stage::lifecycle::{ActionResult, Hook, Pool, Transition};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

pub(crate) const LAUNCH: &str = "launch";
pub(crate) const TERMINATE: &str = "terminate";
/// A hook of somebody else's, on either transition: it ends by its own timeout.
pub(crate) const OTHERS: &str = "others";

/// What happens to the instance from outside.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fate {
    /// The group scales in.
    ScaleIn,
    /// The same, back into its warm pool.
    Return,
    /// The group takes it out of the warm pool.
    Call,
    /// It is put on standby.
    Standby,
    /// It is taken off standby.
    StandbyLeft,
    /// It is detached from its group.
    Detach,
    /// An instance refresh replaces its root volume.
    NewRoot,
    /// `kiln-agent drain`, with its timeout.
    Drain(Option<Duration>),
    /// `kiln-agent ready`
    Ready,
    /// EC2 announces the interruption of the spot instance.
    Spot,
    /// EC2 recommends rebalancing.
    Rebalance,
    /// The machine is told to power off.
    Poweroff,
    /// The machine reboots: the run state is lost, the monotonic clock begins again.
    Reboot,
    /// It reboots in order: SIGTERM first.
    Shutdown,
    /// The agent is killed, and started again after this long.
    Kill(Duration),
    /// The agent's unit is restarted: SIGINT, all is left as it is.
    Restart(Duration),
    /// The agent's unit is stopped by SIGTERM, and started again after this long.
    Stop(Duration),
    /// The whole machine stands still for this long.
    Freeze(Duration),
    /// The wall clock jumps by these seconds.
    WallJump(i64),
}

/// Bad weather between the instance and AWS.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Storm {
    pub(crate) from: Duration,
    pub(crate) to: Duration,
    pub(crate) fault: Fault,
    /// Of how many calls.
    pub(crate) chance: f64,
}

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    /// Refused before it took effect.
    Throttled,
    /// The same, by a server's error.
    ServerError,
    /// It never arrived.
    RequestLost,
    /// It took effect, and nobody said so.
    ReplyLost,
    /// Everything takes this long.
    Slow(Duration),
    /// The metadata service does not answer, answers 404 where there is an item, or garbage.
    Metadata,
}

/// One life as it is going to be.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) rng: Xoshiro256PlusPlus,
    pub(crate) policy: Policy,
    pub(crate) quiet: Duration,
    pub(crate) poll: Duration,
    pub(crate) rebalance_drains: bool,
    pub(crate) hooks: Vec<Hook>,
    /// The warm pool that it is launched into.
    pub(crate) pool: Option<Pool>,
    pub(crate) pending: Duration,
    pub(crate) lag: Duration,
    pub(crate) delay: Duration,
    pub(crate) target_groups: u16,
    /// Until Auto Scaling lists the instance.
    pub(crate) listed: Duration,
    /// Until the agent's first start.
    pub(crate) boot: Duration,
    /// When user data ends, and how; never, when `None`.
    pub(crate) bootstrap: Option<(Duration, bool)>,
    /// When the checks turn, by their thresholds.
    pub(crate) health: Vec<(Duration, bool)>,
    /// How long work stays in flight once a drain has begun.
    pub(crate) work: Duration,
    pub(crate) fates: Vec<(Duration, Fate)>,
    pub(crate) storms: Vec<Storm>,
}

impl Script {
    pub(crate) fn draw(seed: u64) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let draw = &mut rng;
        let policy = Policy {
            bootstrap_deadline: seconds(draw, 20, 120),
            ready_deadline: seconds(draw, 10, 60),
            on_failure: if draw.random_bool(0.15) { OnFailure::Wait } else { OnFailure::Abandon },
            drain_max: seconds(draw, 5, 60),
            margin: seconds(draw, 0, 10),
        };
        let mut hooks = Vec::new();
        for (name, transition) in [(LAUNCH, Transition::Launching), (TERMINATE, Transition::Terminating)] {
            if draw.random_bool(0.9) {
                let default_result =
                    if draw.random_bool(0.5) { ActionResult::Abandon } else { ActionResult::Continue };
                hooks.push(Hook {
                    name: name.to_owned(),
                    transition,
                    heartbeat: seconds(draw, 30, 90),
                    default_result,
                    notifies: None,
                });
            }
        }
        if draw.random_bool(0.2) {
            let launching = draw.random_bool(0.5);
            hooks.push(Hook {
                name: OTHERS.to_owned(),
                transition: if launching { Transition::Launching } else { Transition::Terminating },
                heartbeat: seconds(draw, 30, 60),
                default_result: ActionResult::Continue,
                notifies: None,
            });
        }
        let pool = draw.random_bool(0.2).then(|| pool(draw));
        let health = health(draw);
        let bootstrap = draw.random_bool(0.95).then(|| (millis(draw, 1000, 60_000), draw.random_bool(0.9)));
        let ready = bootstrap
            .map_or(Duration::ZERO, |(at, _)| at)
            .max(health.first().map_or(Duration::ZERO, |turn| turn.0));
        let mut end = seconds(draw, 1, 100);
        let mut fates = ways(draw, pool.is_some(), ready, &mut end);
        fates.push((end, Fate::ScaleIn));
        // Most of what can happen matters most around the launch, its answer, and the end.
        for _ in 0..draw.random_range(0..=3) {
            let (near, within) = match draw.random_range(0..5) {
                0 | 1 => (end, 40_000),
                2 | 3 => (Duration::ZERO, 40_000),
                _ => (ready, 3000),
            };
            let at = near + millis(draw, 0, within);
            let what = fate(draw);
            if let Fate::Drain(_) = what
                && draw.random_bool(0.8)
            {
                fates.push((at + millis(draw, 100, 40_000), Fate::Ready));
            }
            fates.push((at, what));
        }
        fates.sort_by_key(|(at, _)| *at);
        let storms = (0..draw.random_range(0..=2_u32)).map(|_| storm(draw, end)).collect();
        Self {
            policy,
            quiet: seconds(draw, 0, 5),
            poll: millis(draw, 1000, 3000),
            rebalance_drains: draw.random_bool(0.5),
            hooks,
            pool,
            pending: millis(draw, 0, 3000),
            lag: millis(draw, 0, 5000),
            delay: seconds(draw, 0, 40),
            target_groups: draw.random_range(0..=2),
            listed: millis(draw, 0, 2000),
            boot: millis(draw, 500, 15_000),
            bootstrap,
            health,
            work: seconds(draw, 0, 80),
            fates,
            storms,
            rng,
        }
    }
}

fn health(draw: &mut Xoshiro256PlusPlus) -> Vec<(Duration, bool)> {
    let mut at = millis(draw, 2000, 60_000);
    let mut turns = Vec::new();
    if draw.random_bool(0.95) {
        for turn in 0..draw.random_range(1..=4_u32) {
            turns.push((at, turn % 2 == 0));
            at += millis(draw, 1000, 30_000);
        }
    }
    turns
}

/// Where the group and its operators send it before the end.
fn ways(
    draw: &mut Xoshiro256PlusPlus,
    pooled: bool,
    ready: Duration,
    end: &mut Duration,
) -> Vec<(Duration, Fate)> {
    let mut at = ready + millis(draw, 0, 30_000);
    let mut ways = Vec::new();
    let mut go = |draw: &mut Xoshiro256PlusPlus, fate, longest| {
        at += millis(draw, 0, longest);
        ways.push((at, fate));
    };
    if pooled {
        // Several times, since it may not be there yet.
        for _ in 0..draw.random_range(0..=3) {
            go(draw, Fate::Call, 40_000);
        }
    }
    match draw.random_range(0..10) {
        0 | 1 => {
            for _ in 0..draw.random_range(1..=2) {
                go(draw, Fate::Return, 40_000);
                go(draw, Fate::Call, 120_000);
                go(draw, Fate::Call, 40_000);
            }
        }
        2 => {
            go(draw, Fate::Standby, 40_000);
            go(draw, Fate::StandbyLeft, 80_000);
        }
        3 => {
            go(draw, Fate::Detach, 40_000);
            // Nobody but its owner ends it.
            go(draw, Fate::Poweroff, 90_000);
        }
        4 => go(draw, Fate::NewRoot, 40_000),
        _ => {}
    }
    // A new root takes a delay, a hook that nobody answers, and a boot.
    let renewed = ways.iter().any(|(_, fate)| *fate == Fate::NewRoot);
    let longest = if renewed { 240_000 } else { 60_000 };
    *end = (*end).max(ways.last().map_or(Duration::ZERO, |(last, _)| *last + millis(draw, 0, longest)));
    if ways.iter().any(|(_, fate)| *fate == Fate::Detach) {
        ways.push((*end + Duration::from_secs(1), Fate::Poweroff));
    }
    ways
}

fn pool(draw: &mut Xoshiro256PlusPlus) -> Pool {
    match draw.random_range(0..3) {
        0 => Pool::Stopped,
        1 => Pool::Running,
        _ => Pool::Hibernated,
    }
}

fn fate(draw: &mut Xoshiro256PlusPlus) -> Fate {
    match draw.random_range(0..20) {
        0 | 1 => Fate::Spot,
        2 => Fate::Rebalance,
        3 => Fate::Poweroff,
        4 if draw.random_bool(0.5) => Fate::Reboot,
        4 => Fate::Shutdown,
        5..=8 => Fate::Kill(millis(draw, 100, 20_000)),
        9 | 10 => Fate::Restart(millis(draw, 100, 3000)),
        11 | 12 => Fate::Stop(millis(draw, 100, 10_000)),
        13 => Fate::Freeze(millis(draw, 500, 60_000)),
        14 | 15 => Fate::WallJump(draw.random_range(-600..=600)),
        _ => Fate::Drain(draw.random_bool(0.5).then(|| millis(draw, 1000, 60_000))),
    }
}

fn storm(draw: &mut Xoshiro256PlusPlus, end: Duration) -> Storm {
    let near = if draw.random_bool(0.6) { end } else { Duration::ZERO };
    let from = near + millis(draw, 0, 40_000);
    let fault = match draw.random_range(0..7) {
        0 => Fault::Throttled,
        1 => Fault::ServerError,
        2 => Fault::RequestLost,
        3 | 4 => Fault::ReplyLost,
        5 => Fault::Slow(millis(draw, 200, 12_000)),
        _ => Fault::Metadata,
    };
    Storm { from, to: from + millis(draw, 1000, 60_000), fault, chance: draw.random_range(0.3..=1.0) }
}

fn seconds(draw: &mut Xoshiro256PlusPlus, from: u64, to: u64) -> Duration {
    Duration::from_secs(draw.random_range(from..=to))
}

pub(crate) fn millis(draw: &mut Xoshiro256PlusPlus, from: u64, to: u64) -> Duration {
    Duration::from_millis(draw.random_range(from..=to))
}
