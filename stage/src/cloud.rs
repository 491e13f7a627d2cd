//! The model of AWS as a whole: instances with their lifecycle, the group, its hooks and target groups.
//!
//! One lock, no waiting under it. Who changes something gets the timeline written and the watchers woken for free.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use crate::faults::{Asked, Fault, Faults};
use crate::lifecycle::{Effect, Event as On, Hook, Lifecycle, NoActiveAction, Order, Pool, State};
use crate::record::Record;
use crate::rehearsal::{Event, Observer, Who};
use crate::targets::TargetGroup;

pub(crate) const REGION: &str = "us-east-1";
pub(crate) const ZONE: &str = "us-east-1a";
pub(crate) const ACCOUNT: &str = "123456789012";
pub(crate) const GROUP: &str = "kiln-rehearsal";
pub(crate) const IMAGE: &str = "ami-0123456789abcdef0";
pub(crate) const INSTANCE_TYPE: &str = "t3.small";

/// EC2's `pending`: from the launch until the launch hook holds the instance.
const PENDING: Duration = Duration::from_secs(1);

/// An instance of the group.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) address: Ipv4Addr,
    pub(crate) user_data: Option<Vec<u8>>,
    pub(crate) lifecycle: Lifecycle,
    /// Whether it is a spot instance.
    pub(crate) spot: bool,
    /// EC2's interruption notice: the action and its time, which stays as it was said.
    pub(crate) interruption: Option<(&'static str, Timestamp)>,
    /// When EC2 recommended to rebalance.
    pub(crate) rebalance: Option<Timestamp>,
}

/// How an instance arrives.
#[derive(Debug, Clone, Default)]
pub struct Launch {
    /// User data as EC2 would hand it out; `None` is a launch without any (IMDS answers 404).
    pub user_data: Option<Vec<u8>>,
    /// Launched into the warm pool instead of service.
    pub pool: Option<Pool>,
    /// A spot instance.
    pub spot: bool,
}

/// What the lock protects.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) members: BTreeMap<String, Member>,
    pub(crate) hooks: Vec<Hook>,
    pub(crate) target_groups: Vec<TargetGroup>,
    /// `SuspendProcesses`: what the group leaves alone. Shown, and not obeyed.
    pub(crate) suspended: Vec<String>,
    deregister_lag: Duration,
    timeline: Vec<Event>,
}

impl Inner {
    /// Whether a target group still has the row that the Auto Scaling group made, draining included.
    pub(crate) fn is_target(&self, id: &str) -> bool {
        self.target_groups.iter().any(|group| group.health(&(id.to_owned(), group.port)).is_some())
    }

    pub(crate) fn state(&self, id: &str) -> Option<State> {
        self.members.get(id).map(|member| member.lifecycle.state())
    }

    /// The instance at an address.
    pub(crate) fn at(&self, address: Ipv4Addr) -> Option<(&String, &Member)> {
        self.members.iter().find(|(_, member)| member.address == address && !member.lifecycle.state().gone())
    }
}

/// The model of AWS.
pub(crate) struct Cloud {
    began: Instant,
    observer: Observer,
    pub(crate) record: Record,
    inner: Mutex<Inner>,
    changed: watch::Sender<()>,
    faults: Mutex<Faults>,
    orders: mpsc::UnboundedSender<(String, Order)>,
}

impl Cloud {
    /// A group with these hooks and target groups, no instance yet. The receiver gets what EC2 has to do.
    pub(crate) fn new(
        hooks: Vec<Hook>,
        target_groups: Vec<TargetGroup>,
        deregister_lag: Duration,
        observer: Observer,
    ) -> (Self, mpsc::UnboundedReceiver<(String, Order)>) {
        let (orders, ordered) = mpsc::unbounded_channel();
        let (members, suspended, timeline) = (BTreeMap::new(), Vec::new(), Vec::new());
        let inner = Inner { members, hooks, target_groups, suspended, deregister_lag, timeline };
        let cloud = Self {
            began: Instant::now(),
            observer,
            record: Record::default(),
            inner: Mutex::new(inner),
            changed: watch::Sender::new(()),
            faults: Mutex::default(),
            orders,
        };
        (cloud, ordered)
    }

    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Seconds since the play began, in milliseconds' precision.
    pub(crate) fn at(&self) -> f64 {
        crate::record::seconds(self.now())
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line to the timeline.
    pub(crate) fn tell(&self, who: Who, text: impl Into<String>) {
        self.say(&mut self.lock(), who, text.into());
    }

    fn say(&self, inner: &mut Inner, who: Who, text: String) {
        let event = Event { at: self.at(), who, text };
        (self.observer)(&event);
        inner.timeline.push(event);
    }

    pub(crate) fn timeline(&self) -> Vec<Event> {
        self.lock().timeline.clone()
    }

    /// A new instance, `Pending` or `Warmed:Pending`.
    pub(crate) fn launch(&self, id: &str, address: Ipv4Addr, how: Launch) {
        let mut inner = self.lock();
        let mut lifecycle = Lifecycle::new(inner.hooks.clone(), PENDING, inner.deregister_lag, self.now());
        if let Some(pool) = how.pool {
            lifecycle = lifecycle.into_pool(pool);
        }
        let state = lifecycle.state().name();
        let Launch { user_data, spot, .. } = how;
        let member = Member { address, user_data, lifecycle, spot, interruption: None, rebalance: None };
        inner.members.insert(id.to_owned(), member);
        self.say(&mut inner, Who::Stage, format!("{id} launched at {address}: {state}"));
    }

    /// What goes wrong with a request that comes now, if anything.
    pub(crate) fn strikes(&self, asked: Asked<'_>) -> Option<Fault> {
        self.faults().strikes(asked, self.now())
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an event for one instance and performs what follows from it.
    pub(crate) fn apply(&self, id: &str, event: &On) -> Result<(), NoActiveAction> {
        let mut inner = self.lock();
        let effects = match inner.members.get_mut(id) {
            Some(member) => member.lifecycle.handle(event, self.now())?,
            None => return Err(NoActiveAction),
        };
        for effect in effects {
            self.perform(&mut inner, id, effect);
        }
        drop(inner);
        self.changed.send_replace(());
        Ok(())
    }

    fn perform(&self, inner: &mut Inner, id: &str, effect: Effect) {
        match effect {
            Effect::Moved(from, to) => {
                self.say(inner, Who::Stage, format!("{id} {} → {}", from.name(), to.name()));
                if to.gone() {
                    inner.target_groups.iter_mut().for_each(|group| group.forget(id));
                }
            }
            Effect::TimedOut(hook, result) => {
                self.say(inner, Who::Stage, format!("hook {hook} timed out: {} by default", result.name()));
            }
            Effect::Register => {
                let now = self.now();
                for group in &mut inner.target_groups {
                    group.register((id.to_owned(), group.port), now);
                }
                self.say(
                    inner,
                    Who::Stage,
                    format!("{id} registered with {} target group(s)", inner.target_groups.len()),
                );
                self.follow(inner, id, &On::Registered);
            }
            Effect::Deregister => {
                let now = self.now();
                let mut told = 0;
                for group in &mut inner.target_groups {
                    // By its id alone, which is the group's port: rows with a port of their own are not its doing.
                    told += usize::from(group.deregister(&(id.to_owned(), group.port), now));
                }
                if told > 0 {
                    self.say(inner, Who::Stage, format!("the group deregisters {id}"));
                }
            }
            Effect::Machine(order) => {
                // The receiver is gone only when the play is over.
                let _ = self.orders.send((id.to_owned(), order));
            }
        }
    }

    fn follow(&self, inner: &mut Inner, id: &str, event: &On) {
        let now = self.now();
        let effects = inner.members.get_mut(id).and_then(|member| member.lifecycle.handle(event, now).ok());
        for effect in effects.unwrap_or_default() {
            self.perform(inner, id, effect);
        }
    }

    /// Lets time pass: hooks run out, delays end. To be called several times a second.
    pub(crate) fn tick(&self) {
        let mut inner = self.lock();
        let now = self.now();
        let gone: Vec<_> = inner.target_groups.iter_mut().flat_map(|group| group.tick(now)).collect();
        for (id, port) in &gone {
            self.say(
                &mut inner,
                Who::Stage,
                format!("target {id}:{port} is drained: deregistration delay over"),
            );
        }
        for id in inner.members.keys().cloned().collect::<Vec<_>>() {
            self.follow(&mut inner, &id, &On::Tick);
            if !inner.is_target(&id) {
                self.follow(&mut inner, &id, &On::TargetsGone);
            }
        }
        drop(inner);
        self.changed.send_replace(());
    }

    /// Takes a health probe's result.
    pub(crate) fn probed(&self, group: usize, target: &(String, u16), passed: bool) {
        let mut inner = self.lock();
        let now = self.now();
        if let Some(health) = inner.target_groups[group].probed(target, passed, now) {
            self.say(&mut inner, Who::Stage, format!("target {}:{} {}", target.0, target.1, health.name()));
        }
        drop(inner);
        self.changed.send_replace(());
    }

    /// Waits until `done` says something, at most `bound`; `None` is the end of patience.
    pub(crate) async fn wait<T>(&self, bound: Duration, done: impl Fn(&Inner) -> Option<T>) -> Option<T> {
        let mut changes = self.changed.subscribe();
        let wait = async {
            loop {
                changes.mark_unchanged();
                if let Some(found) = done(&self.lock()) {
                    return found;
                }
                // The sender lives in self: it cannot be gone.
                let _ = changes.changed().await;
            }
        };
        tokio::time::timeout(bound, wait).await.ok()
    }
}
