//! The agent as a process: the real loop over the real core; it can be killed at any await and between any two effects.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kiln_agent::clock::{Clock, Moment};
use kiln_agent::driver;
use kiln_agent::lifecycle::{Effect, Event, Hook, Lifecycle, Notice, Settled};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::cloud::Cloud;
use crate::steps::Steps;

/// The state file: what the last record left in it.
pub(crate) type Saved = Arc<Mutex<Option<Vec<u8>>>>;

/// A kill that waits for the next record, to fall just before it or between it and its effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doom {
    BeforeTheRecord,
    BeforeTheEffects,
}

/// A running process.
#[derive(Debug)]
pub(crate) struct Process {
    task: JoinHandle<()>,
    events: mpsc::Sender<Event>,
    interrupt: Option<oneshot::Sender<()>>,
    fatal: Arc<Fatal>,
    clock: Clock,
}

#[derive(Debug, Default)]
struct Fatal {
    doom: Mutex<Option<Doom>>,
    dead: Mutex<bool>,
    died: Notify,
}

impl Process {
    /// Starts it `since_boot` after the machine did.
    pub(crate) fn start(cloud: &Cloud, saved: &Saved, since_boot: Duration) -> Self {
        let now = Moment::default() + since_boot;
        let clock = Clock::anchored(now);
        let policy = cloud.lock().script.policy;
        let found = saved.lock().expect("a panic ends the simulation").clone();
        let (life, open) = match found {
            Some(bytes) => {
                let life: Lifecycle = serde_json::from_slice(&bytes).expect("what was saved can be read");
                life.resume(policy, now)
            }
            None => Lifecycle::begin(policy, now, !cloud.lock().left.is_empty()),
        };
        cloud.lock().witness.started(&life, &open, cloud.now());
        let (events, heard) = mpsc::channel(64);
        let (interrupt, interrupted) = oneshot::channel();
        let fatal = Arc::new(Fatal::default());
        let steps = Steps { cloud: cloud.clone(), clock, target: Arc::default() };
        let back = Arc::new(Notify::new());
        let world = World {
            steps: steps.clone(),
            saved: saved.clone(),
            deadline: watch::Sender::new(life.deadline().unwrap_or_default()),
            events: events.clone(),
            fatal: fatal.clone(),
            back: back.clone(),
            served: AtomicBool::new(false),
        };
        let (cloud, inputs) = (cloud.clone(), events.clone());
        let task = tokio::spawn(async move {
            let stop = async {
                // A sender that is gone interrupts nothing.
                if interrupted.await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                biased;
                () = driver::run(life, open, &world, clock, heard, stop) => {}
                () = steps.poll(inputs.clone()) => {}
                () = boot(&cloud, inputs.clone()) => {}
                () = claim(&cloud, inputs.clone()) => {}
                () = check(&cloud, &back, inputs) => {}
            }
        });
        Self { task, events, interrupt: Some(interrupt), fatal, clock }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Comes back when it has ended, or when its doom has come.
    pub(crate) async fn over(&mut self) {
        tokio::select! {
            biased;
            () = self.fatal.died.notified() => {}
            ended = &mut self.task => ended.expect("the agent does not panic"),
        }
    }

    /// SIGKILL, at whatever it awaits.
    pub(crate) async fn kill(self) {
        self.task.abort();
        match self.task.await {
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            _ => {}
        }
    }

    /// SIGKILL, at its next record.
    pub(crate) fn doom(&self, doom: Doom) {
        *self.fatal.doom.lock().expect("a panic ends the simulation") = Some(doom);
    }

    pub(crate) fn terminate(&self) {
        // One that has ended hears nothing.
        let _ = self.events.try_send(Event::Notice { notice: Notice::Shutdown, deadline: None });
    }

    /// `kiln-agent drain`
    pub(crate) fn drain(&self, bound: Option<Duration>) {
        let deadline = bound.map(|bound| self.clock.now() + bound);
        let _ = self.events.try_send(Event::Notice { notice: Notice::Operator, deadline });
    }

    /// Something else that it hears.
    pub(crate) fn say(&self, event: Event) {
        let _ = self.events.try_send(event);
    }

    pub(crate) fn interrupt(&mut self) {
        if let Some(interrupt) = self.interrupt.take() {
            let _ = interrupt.send(());
        }
    }
}

/// As `bootstrap::watch`: the outcome, once it is there.
async fn boot(cloud: &Cloud, events: mpsc::Sender<Event>) {
    let script = cloud.lock().script.bootstrap;
    if let Some((at, ok)) = script {
        tokio::time::sleep_until(cloud.instant(at)).await;
        let _ = events.send(Event::Bootstrapped { ok }).await;
    }
    std::future::pending::<()>().await;
}

/// As `Served::claim`: the mark of a boot before, once the metadata service has said whose it is.
async fn claim(cloud: &Cloud, events: mpsc::Sender<Event>) {
    if cloud.lock().served {
        while cloud.metadata(|_| Some("i-0abc".to_owned())).await != Ok(Some("i-0abc".to_owned())) {
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        let _ = events.send(Event::Served).await;
    }
    std::future::pending::<()>().await;
}

/// As `health::watch`: the turns of the whole, and the whole once more after each drain that was come back from.
async fn check(cloud: &Cloud, back: &Notify, events: mpsc::Sender<Event>) {
    let turns = cloud.lock().script.health.clone();
    // Thresholds take a moment to reach after a start; turns before that are seen as the last of them.
    let moment = Duration::from_secs(1);
    let mut look = cloud.now() + moment;
    loop {
        let state = turns.iter().rev().find(|(at, _)| *at <= look).map(|(_, healthy)| *healthy);
        tokio::time::sleep_until(cloud.instant(look)).await;
        match state {
            Some(true) => drop(events.send(Event::Healthy).await),
            Some(false) => drop(events.send(Event::Unhealthy).await),
            None => {}
        }
        let next = turns.iter().map(|(at, _)| *at).find(|at| *at > look);
        let turn = async {
            match next {
                Some(at) => tokio::time::sleep_until(cloud.instant(at)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = turn => look = next.unwrap_or(look),
            () = back.notified() => look = cloud.now() + moment,
        }
    }
}

struct World {
    steps: Steps,
    saved: Saved,
    deadline: watch::Sender<Moment>,
    events: mpsc::Sender<Event>,
    fatal: Arc<Fatal>,
    /// Told of each return from a drain.
    back: Arc<Notify>,
    /// What the life said last, as `Served` keeps it.
    served: AtomicBool,
}

impl World {
    fn is_dead(&self) -> bool {
        *self.fatal.dead.lock().expect("a panic ends the simulation")
    }

    fn die(&self) {
        *self.fatal.dead.lock().expect("a panic ends the simulation") = true;
        self.fatal.died.notify_one();
    }
}

impl driver::World for World {
    fn perform(&self, effect: Effect) -> impl Future<Output = Option<Event>> + Send + 'static {
        let (steps, events, deadline, dead) =
            (self.steps.clone(), self.events.clone(), self.deadline.clone(), self.is_dead());
        if !dead {
            steps.cloud.lock().witness.performing(effect, steps.cloud.now());
        }
        async move {
            if dead {
                std::future::pending::<()>().await;
            }
            match effect {
                Effect::CompleteHook(hook, verdict) => {
                    let settled = steps.complete(hook, verdict).await;
                    Some(Event::HookSettled { hook, settled })
                }
                Effect::StartDrain { deadline: at } => {
                    deadline.send_replace(at);
                    let how = steps.drain(deadline.subscribe()).await;
                    Some(Event::DrainEnded(how))
                }
                Effect::ShortenDrain { deadline: at } => {
                    deadline.send_replace(at);
                    None
                }
                Effect::WatchTerminate => {
                    if !steps.await_terminate().await {
                        let settled = Settled::NothingOwed;
                        return Some(Event::HookSettled { hook: Hook::Terminate, settled });
                    }
                    let _ = events.send(Event::TerminateWaitSeen).await;
                    steps.beat_while_draining(&events).await;
                    None
                }
                Effect::WatchLaunch => {
                    steps.beat_while_launching(&events).await;
                    None
                }
                Effect::Rejoin => steps.rejoin().await.then_some(Event::Rejoined),
                Effect::FlushMetrics | Effect::Exit => None,
            }
        }
    }

    fn record(&self, life: &Lifecycle) {
        if self.is_dead() {
            return;
        }
        let doom = *self.fatal.doom.lock().expect("a panic ends the simulation");
        if doom == Some(Doom::BeforeTheRecord) {
            return self.die();
        }
        let leaving = |life: &Lifecycle| life.phase().is_leaving();
        if self.steps.cloud.lock().witness.life.as_ref().is_some_and(leaving) && !leaving(life) {
            self.back.notify_one();
        }
        if self.served.swap(life.served(), Ordering::Relaxed) != life.served() {
            self.steps.cloud.lock().served = life.served();
        }
        let bytes = serde_json::to_vec(life).expect("a life can be written");
        *self.saved.lock().expect("a panic ends the simulation") = Some(bytes);
        let (now, seen_at) = (self.steps.clock.now(), self.steps.cloud.now());
        self.steps.cloud.lock().witness.recorded(life, now, seen_at);
        if doom == Some(Doom::BeforeTheEffects) {
            self.die();
        }
    }

    fn turn(&self, life: &Lifecycle) {
        if !self.is_dead() {
            let (now, seen_at) = (self.steps.clock.now(), self.steps.cloud.now());
            let mut inner = self.steps.cloud.lock();
            let missed = inner.is_missed();
            inner.witness.turned(life, now, seen_at);
            inner.witness.counted(life, missed, seen_at);
        }
    }
}
