//! AWS as one instance sees it: the stage's model behind calls that fail as the script's storms say.

mod inner;

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kiln_stage::lifecycle::{Lifecycle, Order, State};
use kiln_stage::targets::TargetGroup;
use rand::RngExt;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::script::{Fault, Script, millis};
use crate::witness::{Ended, Witness};

pub(crate) const ID: &str = "i-0123456789abcdef0";
/// As the agent's SDK is set up: three attempts, each bounded, all of them bounded.
const ATTEMPTS: u32 = 3;
const ATTEMPT_BOUND: Duration = Duration::from_secs(5);
const CALL_BOUND: Duration = Duration::from_secs(15);
/// For so long after a change a read may still show what was before.
const STALE: Duration = Duration::from_secs(3);

/// Why a call came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Error {
    /// `ValidationError`: no active lifecycle action.
    Invalid,
    /// Throttled, a server's error, no answer.
    Lost,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) script: Script,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) groups: Vec<TargetGroup>,
    pub(crate) witness: Witness,
    /// What EC2 is told to do with the machine, and has yet to do.
    pub(crate) orders: VecDeque<Order>,
    /// When EC2 will take the spot instance back.
    pub(crate) spot: Option<Duration>,
    pub(crate) rebalance: bool,
    /// The groups that the agent has deregistered from, as noted in its list.
    pub(crate) left: BTreeSet<usize>,
    /// The mark on the disk that the group wanted it in service.
    pub(crate) served: bool,
    /// What the instance's wall clock is off by, in seconds.
    pub(crate) wall: i64,
    before: State,
    ticked: Duration,
    /// Told of each change of state.
    changed: Arc<Notify>,
}

/// The model, shared by all that play.
#[derive(Debug, Clone)]
pub(crate) struct Cloud {
    began: Instant,
    inner: Arc<Mutex<Inner>>,
}

impl Cloud {
    pub(crate) fn new(seed: u64) -> Self {
        let script = Script::draw(seed);
        let lifecycle = Lifecycle::new(script.hooks.clone(), script.pending, script.lag, Duration::ZERO);
        let lifecycle = match script.pool {
            Some(pool) => lifecycle.into_pool(pool),
            None => lifecycle,
        };
        let groups = (0..script.target_groups)
            .map(|n| TargetGroup::new(format!("group-{n}"), 80 + n, script.delay))
            .collect();
        let witness = Witness::new(seed, &script);
        let inner = Inner {
            before: lifecycle.state(),
            lifecycle,
            groups,
            witness,
            orders: VecDeque::new(),
            spot: None,
            rebalance: false,
            left: BTreeSet::new(),
            served: false,
            wall: 0,
            ticked: Duration::ZERO,
            changed: Arc::default(),
            script,
        };
        Self { began: Instant::now(), inner: Arc::new(Mutex::new(inner)) }
    }

    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn instant(&self, at: Duration) -> Instant {
        self.began + at
    }

    /// The model as it is at present, whatever time was slept or leapt through.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.inner.lock().expect("a panic ends the simulation");
        inner.catch_up(self.now());
        inner
    }

    /// What came of the life.
    pub(crate) fn end(self) -> Ended {
        let mut inner = self.lock();
        let nothing = Ended {
            seed: 0,
            broken: Vec::new(),
            seen: std::collections::BTreeMap::new(),
            timeline: Vec::new(),
        };
        std::mem::replace(&mut inner.witness.verdict, nothing)
    }

    /// What is told of each change of state.
    pub(crate) fn changed(&self) -> Arc<Notify> {
        self.lock().changed.clone()
    }

    /// A call through the SDK: lost ones are sent again.
    pub(crate) async fn call<T>(
        &self,
        name: &'static str,
        act: impl Fn(&mut Inner) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let attempts = async {
            for attempt in 1..ATTEMPTS {
                match self.attempt(name, &act).await {
                    Err(Error::Lost) => {}
                    answer => return answer,
                }
                let pause = millis(&mut self.lock().script.rng, 0, 1000 << attempt);
                sleep(pause).await;
            }
            self.attempt(name, &act).await
        };
        timeout(CALL_BOUND, attempts).await.unwrap_or(Err(Error::Lost))
    }

    async fn attempt<T>(
        &self,
        name: &'static str,
        act: &impl Fn(&mut Inner) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (fault, latency) = {
            let mut inner = self.lock();
            let fault = inner.fault(self.now(), |fault| fault != Fault::Metadata);
            (fault, millis(&mut inner.script.rng, 2, 60))
        };
        match fault {
            None | Some(Fault::Metadata) => {
                sleep(latency).await;
                let answer = act(&mut self.lock());
                sleep(latency).await;
                answer
            }
            Some(Fault::Throttled | Fault::ServerError) => {
                sleep(latency).await;
                self.lock()
                    .see(if fault == Some(Fault::Throttled) { "throttled" } else { "server error" }, name);
                Err(Error::Lost)
            }
            Some(Fault::RequestLost) => {
                sleep(ATTEMPT_BOUND).await;
                self.lock().see("request lost", name);
                Err(Error::Lost)
            }
            Some(Fault::ReplyLost) => {
                sleep(latency).await;
                let took_effect = act(&mut self.lock()).is_ok();
                sleep(ATTEMPT_BOUND).await;
                let what = if took_effect { "reply lost after the call took effect" } else { "refusal lost" };
                self.lock().see(what, name);
                Err(Error::Lost)
            }
            Some(Fault::Slow(by)) => {
                let answer = async {
                    sleep(by / 2).await;
                    let answer = act(&mut self.lock());
                    sleep(by / 2).await;
                    answer
                };
                timeout(ATTEMPT_BOUND, answer).await.unwrap_or(Err(Error::Lost))
            }
        }
    }

    /// An item of the metadata service; `Ok(None)` is a 404.
    pub(crate) async fn metadata(
        &self,
        item: impl Fn(&Inner) -> Option<String>,
    ) -> Result<Option<String>, ()> {
        let (fault, dice) = {
            let mut inner = self.lock();
            let fault = inner.fault(self.now(), |fault| fault == Fault::Metadata);
            (fault, inner.script.rng.random_range(0..3))
        };
        match (fault, dice) {
            // Some milliseconds decide nothing here, and most of a life is reads of this kind.
            (None, _) => Ok(item(&self.lock())),
            (_, 0) => Ok(None),
            (_, 1) => Ok(Some("<html>503".to_owned())),
            (_, _) => {
                sleep(Duration::from_secs(2)).await;
                Err(())
            }
        }
    }
}
