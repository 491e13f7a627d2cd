//! AWS in memory: the stage's pure models behind calls that fail as the seed says, and the witness of what they were.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kiln_stage::lifecycle::{ActionResult, Effect, Event, Hook, Lifecycle, Order, State, Transition};
use kiln_stage::targets::TargetGroup;
use tokio::time::Instant;

use super::faults::{Storm, storm};

pub(super) const ID: &str = "i-0abc";
pub(super) const ADDRESS: &str = "10.0.0.7";
/// A row that is nobody's business here.
pub(super) const OTHER: &str = "i-0def";
pub(super) const LAUNCH: &str = "ours-launch";
pub(super) const TERMINATE: &str = "ours-terminate";
pub(super) const THEIRS: &str = "theirs";

/// What came of a seed.
#[derive(Debug, Default, Clone)]
pub(super) struct Ended {
    pub(super) timeline: Vec<String>,
    pub(super) broken: Vec<String>,
    pub(super) seen: BTreeMap<&'static str, u64>,
}

/// A target: the group's ARN, id and port.
pub(super) type Row = (String, String, u16);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) rng: fastrand::Rng,
    pub(super) lifecycle: Lifecycle,
    pub(super) hooks: Vec<Hook>,
    pub(super) groups: Vec<TargetGroup>,
    /// On no listener: `unused`, `Target.NotInUse`.
    pub(super) idle: BTreeSet<String>,
    pub(super) deleted: BTreeSet<String>,
    pub(super) denied: BTreeSet<String>,
    pub(super) storms: Vec<Storm>,
    /// What the agent's calls have deregistered.
    pub(super) taken_out: BTreeSet<Row>,
    /// What the agent has asked to deregister, whether or not the request arrived.
    pub(super) ever_asked: BTreeSet<Row>,
    /// The states that the agent may have been told.
    pub(super) told: Vec<State>,
    pub(super) calls: u64,
    /// When the other's hook is answered by its owner.
    pub(super) theirs_at: Option<Duration>,
    ticked: Duration,
    pub(super) ended: Ended,
}

/// The model, shared by the SDK and the play.
#[derive(Debug, Clone)]
pub(super) struct Cloud {
    began: Instant,
    inner: Arc<Mutex<Inner>>,
}

impl Cloud {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut hooks = vec![
            hook(LAUNCH, Transition::Launching, &mut rng),
            hook(TERMINATE, Transition::Terminating, &mut rng),
        ];
        if rng.bool() {
            hooks.push(hook(THEIRS, Transition::Terminating, &mut rng));
        }
        let delay = Duration::from_secs(rng.u64(0..60));
        let groups: Vec<_> = (0..rng.u16(0..4)).map(|n| TargetGroup::new(arn(n), 80 + n, delay)).collect();
        let pick = |rng: &mut fastrand::Rng, chance: f64| -> BTreeSet<String> {
            let picked = groups.iter().filter(|_| rng.f64() < chance);
            picked.map(|group| group.arn.clone()).collect()
        };
        let (idle, denied) = (pick(&mut rng, 0.2), pick(&mut rng, 0.1));
        let storms = (0..rng.u32(0..5)).map(|_| storm(&mut rng)).collect();
        let (pending, lag) = (Duration::from_secs(1), Duration::from_secs(rng.u64(0..5)));
        let inner = Inner {
            lifecycle: Lifecycle::new(hooks.clone(), pending, lag, Duration::ZERO),
            hooks,
            groups,
            idle,
            deleted: BTreeSet::new(),
            denied,
            storms,
            taken_out: BTreeSet::new(),
            ever_asked: BTreeSet::new(),
            told: Vec::new(),
            calls: 0,
            theirs_at: None,
            ticked: Duration::ZERO,
            ended: Ended::default(),
            rng,
        };
        Self { began: Instant::now(), inner: Arc::new(Mutex::new(inner)) }
    }

    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// The model as it is at present.
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.catch_up(self.now());
        inner
    }
}

impl Inner {
    fn catch_up(&mut self, now: Duration) {
        while self.ticked < now {
            self.ticked = (self.ticked + Duration::from_millis(500)).min(now);
            let at = self.ticked;
            for group in &mut self.groups {
                group.tick(at);
            }
            if self.theirs_at.is_some_and(|due| due <= at) {
                self.theirs_at = None;
                self.tell("the other's hook is answered");
                self.apply(&Event::Completed(THEIRS.to_owned(), ActionResult::Continue), at);
            }
            self.apply(&Event::Tick, at);
            // What is on no listener holds nothing, and neither does a row that the group did not make.
            let (idle, deleted) = (self.idle.clone(), self.deleted.clone());
            let held = self
                .groups
                .iter()
                .filter(|group| !idle.contains(&group.arn) && !deleted.contains(&group.arn));
            if !held.flat_map(TargetGroup::targets).any(|((id, _), _)| id == ID) {
                self.apply(&Event::TargetsGone, at);
            }
        }
    }

    /// Takes an event and performs what follows; `false` outside of a wait state.
    pub(super) fn apply(&mut self, event: &Event, now: Duration) -> bool {
        let Ok(effects) = self.lifecycle.handle(event, now) else { return false };
        for effect in effects {
            match effect {
                Effect::Moved(from, to) => {
                    self.tell(&format!("{} → {}", from.name(), to.name()));
                    if to == State::TerminatingWait && self.hooks.iter().any(|hook| hook.name == THEIRS) {
                        self.theirs_at = Some(now + Duration::from_secs(self.rng.u64(1..25)));
                    }
                }
                Effect::TimedOut(hook, _) => self.see("timed out", &hook),
                Effect::Register => {
                    self.register_all(now);
                    self.apply(&Event::Registered, now);
                }
                Effect::Deregister => {
                    for group in &mut self.groups {
                        let own: Vec<_> =
                            group.targets().map(|(row, _)| row.clone()).filter(|(id, _)| id == ID).collect();
                        for row in own {
                            group.deregister(&row, now);
                        }
                    }
                }
                Effect::Machine(Order::PowerOff) => {
                    self.apply(&Event::PoweredOff, now);
                }
                // Warm pools and new roots are the stage's own to play.
                Effect::Machine(_) => {}
            }
        }
        true
    }

    /// The group registers by id and its port; a person has added a port and an address of their own.
    fn register_all(&mut self, now: Duration) {
        for (n, group) in self.groups.iter_mut().enumerate() {
            let port = group.port;
            group.register((OTHER.to_owned(), port), now);
            group.register((ID.to_owned(), port), now);
            if n % 2 == 0 {
                group.register((ID.to_owned(), port + 8000), now);
                group.register((ADDRESS.to_owned(), port), now);
            }
        }
    }

    pub(super) fn see(&mut self, what: &'static str, of: &str) {
        *self.ended.seen.entry(what).or_default() += 1;
        let action = crate::fake::action(of);
        let of = if action.is_empty() { of } else { action };
        self.tell(&format!("{what}: {of}"));
    }

    pub(super) fn tell(&mut self, what: &str) {
        let at = self.ticked.as_secs_f64();
        self.ended.timeline.push(format!("{at:9.3}  {what}"));
    }

    pub(super) fn broke(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.tell(&format!("BROKEN: {what}"));
        self.ended.broken.push(what);
    }

    pub(super) fn now(&self) -> Duration {
        self.ticked
    }
}

pub(super) fn arn(n: u16) -> String {
    format!("arn:aws:elasticloadbalancing:eu-central-1:1:targetgroup/group-{n}/1")
}

fn hook(name: &str, transition: Transition, rng: &mut fastrand::Rng) -> Hook {
    let default_result = if rng.bool() { ActionResult::Abandon } else { ActionResult::Continue };
    Hook {
        name: name.to_owned(),
        transition,
        heartbeat: Duration::from_secs(rng.u64(30..90)),
        default_result,
        notifies: None,
    }
}
