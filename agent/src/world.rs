//! BUILDS: the composition root. Nothing else constructs a client; each effect is handed to the step that performs it.

mod renew;

use crate::aws::Aws;
use crate::board::Board;
use crate::clock::{Clock, Moment};
use crate::config::{Config, Source};
use crate::control;
use crate::drain::{Drain, SILENCE};
use crate::driver;
use crate::fetch::Url;
use crate::group::Group;
use crate::health;
use crate::hook::Hooks;
use crate::http;
use crate::imds::Imds;
use crate::lifecycle::{Effect, Event, HOOK_GRACE, Hook, Lifecycle, Notice, Phase, Settled};
use crate::metrics::{Flush, Metrics};
use crate::notice::Poller;
use crate::record::{self, End, Record};
use crate::served::Served;
use crate::state::State;
use crate::systemd;
use crate::targets::{self, Targets};
use anyhow::Context;
use renew::{policy, watch_bootstrap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// Events on their way to the loop; more than ever happen at once.
const EVENTS: usize = 64;
/// Bounds a flush of metrics, so that it does not hold up an exit.
const FLUSH_BOUND: Duration = Duration::from_secs(10);

/// The parts of a running agent.
#[derive(Debug)]
pub struct World {
    board: Board,
    imds: Arc<Imds>,
    clock: Clock,
    state: State,
    hooks: Hooks,
    drain: Arc<Drain>,
    deadline: watch::Sender<Moment>,
    flushes: mpsc::Sender<Flush>,
    events: mpsc::Sender<Event>,
    said: Mutex<Said>,
    alive_every: Option<Duration>,
    record: Arc<Record>,
    served: Arc<Served>,
}

/// What systemd was told last.
#[derive(Debug, Default)]
struct Said {
    status: Option<(Phase, String)>,
    alive: Option<Instant>,
    /// To the record: the most final end.
    end: Option<End>,
}

/// Runs the agent to its end, with all files under `root`; or until user data has changed its settings, which come back
/// and which the next run goes by: it goes on with the same life.
pub async fn run(config: Config, source: &Source, root: &Path) -> anyhow::Result<Option<Config>> {
    let clock = Clock::system();
    let state = State::new(root);
    let (life, open) = state.resume(policy(&config, root), clock.now(), targets::owed(root));
    let board = Board::new(&life);
    let imds = Arc::new(Imds::from_env().map_err(anyhow::Error::msg)?);
    let aws = Arc::new(Aws::new(imds.clone()).watched_by(board.clone()));
    aws.prepare();
    let group = Arc::new(Group::new(aws, imds.clone(), config.group.clone(), board.clone()));
    let (events, heard) = mpsc::channel(EVENTS);
    let (flushes, flush_requests) = mpsc::channel(4);

    let listener = TcpListener::bind(config.listen).await.with_context(|| {
        format!("failed to listen on {} (health.listen): is another agent running?", config.listen)
    })?;
    tokio::spawn(http::serve(listener, board.clone()));
    // After the address is ours: a socket that lies there now is an earlier agent's.
    tokio::spawn(control::serve(root.join(control::PATH), board.clone(), clock, events.clone()));

    let record =
        Arc::new(Record::new(config.record.clone(), group.clone(), imds.clone(), board.clone(), root));
    if !life.phase().is_leaving() {
        record.goes_on().await;
    }
    board.note(concat!("agent ", env!("CARGO_PKG_VERSION"), " started"));

    let served = Arc::new(Served::new(root, board.clone()));
    tokio::spawn({
        let (served, group, events) = (served.clone(), group.clone(), events.clone());
        async move { served.claim(&group, &events).await }
    });

    let world = World {
        hooks: Hooks::new(
            group.clone(),
            config.launch_hook.clone(),
            config.terminate_hook.clone(),
            board.clone(),
        ),
        drain: Arc::new(drain(&config, &group, &board, clock, root)),
        deadline: watch::Sender::new(life.deadline().unwrap_or_default()),
        board: board.clone(),
        imds: imds.clone(),
        clock,
        state,
        flushes,
        events: events.clone(),
        said: Mutex::default(),
        alive_every: systemd::alive_every(),
        record: record.clone(),
        served,
    };
    let poller = Poller {
        imds,
        poll: config.imds_poll,
        rebalance: config.rebalance,
        board: board.clone(),
        clock,
        events: events.clone(),
    };
    tokio::spawn(poller.run());
    tokio::spawn(Metrics::new(config.metrics.clone(), group, board.clone(), clock).run(flush_requests));
    let (renew, renewed) = oneshot::channel();
    tokio::spawn(watch_bootstrap(
        root.to_owned(),
        board.clone(),
        events.clone(),
        source.clone(),
        config.clone(),
        renew,
    ));
    tokio::spawn(health::watch(config, board, events.clone()));
    let interrupted = signals(events, clock)?;
    systemd::ready();
    let (mut next, mut handed_over) = (None, false);
    let stop = async {
        tokio::select! {
            () = interrupted => {}
            Ok(config) = renewed => next = Some(config),
        }
        handed_over = true;
    };
    driver::run(life, open, &world, clock, heard, stop).await;
    if !handed_over {
        // Whatever else is on its way: the exit waits for the record no longer than this.
        let _ = tokio::time::timeout(record::BOUND, record.send(End::Over)).await;
    }
    Ok(next)
}

fn drain(config: &Config, group: &Arc<Group>, board: &Board, clock: Clock, root: &Path) -> Drain {
    Drain {
        targets: Targets::new(group.clone(), config.target_groups.clone(), board.clone(), root),
        ports: config.ports.clone(),
        // The configuration's check has parsed it already.
        stub_status: config.stub_status.as_deref().and_then(|url| Url::parse(url).ok()),
        quiet: config.quiet,
        scripts: config.scripts.clone(),
        board: board.clone(),
        clock,
    }
}

/// SIGTERM is a notice: the machine goes down, or the unit is stopped. SIGINT, which the unit sends on a restart,
/// leaves all as it is: the next agent goes on from the state file.
fn signals(events: mpsc::Sender<Event>, clock: Clock) -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to handle SIGINT")?;
    tokio::spawn(async move {
        while terminate.recv().await.is_some() {
            let deadline = Some(clock.now() + systemd::STOP_BOUND);
            if events.send(Event::Notice { notice: Notice::Shutdown, deadline }).await.is_err() {
                return;
            }
        }
    });
    Ok(async move {
        interrupt.recv().await;
        tracing::info!("leaving all as it is for the next agent");
    })
}

impl driver::World for World {
    fn perform(&self, effect: Effect) -> impl Future<Output = Option<Event>> + Send + 'static {
        let (hooks, drain, board, events) =
            (self.hooks.clone(), self.drain.clone(), self.board.clone(), self.events.clone());
        let (deadline, flushes, clock) = (self.deadline.clone(), self.flushes.clone(), self.clock);
        async move {
            match effect {
                Effect::CompleteHook(hook, verdict) => {
                    let settled = hooks.complete(hook, verdict).await;
                    Some(Event::HookSettled { hook, settled })
                }
                Effect::StartDrain { deadline: at } => {
                    deadline.send_replace(at);
                    board.note("drain began");
                    let how = drain.run(deadline.subscribe()).await;
                    Some(Event::DrainEnded(how))
                }
                Effect::ShortenDrain { deadline: at } => {
                    deadline.send_replace(at);
                    None
                }
                Effect::WatchTerminate => {
                    if !hooks.await_terminate().await {
                        return Some(Event::HookSettled {
                            hook: Hook::Terminate,
                            settled: Settled::NothingOwed,
                        });
                    }
                    // The loop listens for as long as this runs.
                    let _ = events.send(Event::TerminateWaitSeen).await;
                    hooks.beat_while_draining(&events).await;
                    None
                }
                Effect::WatchLaunch => {
                    hooks.beat_while_launching(clock.now().since(Moment::default()), &events).await;
                    None
                }
                Effect::Rejoin => drain.targets.rejoin().await.then_some(Event::Rejoined),
                Effect::FlushMetrics => {
                    let (done, answer) = oneshot::channel();
                    if flushes.send(done).await.is_ok() {
                        let _ = tokio::time::timeout(FLUSH_BOUND, answer).await;
                    }
                    None
                }
                // The loop's own.
                Effect::Exit => None,
            }
        }
    }

    fn record(&self, life: &Lifecycle) {
        let (phase, failure, notices) = {
            let status = self.board.lock();
            (status.phase, status.failure, status.notices.clone())
        };
        self.board.record(life, self.clock.now());
        for notice in life.notices().iter().filter(|notice| !notices.contains(notice)) {
            self.board.note(format!("notice from {}", notice.name()));
        }
        if failure.is_none() && life.failure().is_some() {
            let reason = self.board.lock().reason.clone();
            self.board.note(format!("instance failed: {reason}"));
        }
        if phase != life.phase() {
            self.board.note(format!("phase is {}", life.phase().name()));
        }
        self.served.set(life.served());
        let error =
            self.state.write(life).err().map(|error| format!("failed to write the state file: {error}"));
        if self.board.error("state", error.as_deref()) && error.is_some() {
            // The life goes on; only a kill would cost it its memory.
            tracing::warn!(reason = error, "state not written");
        }
        self.end(life);
        self.say(life);
    }

    fn turn(&self, life: &Lifecycle) {
        self.board.record(life, self.clock.now());
        self.board.lock().imds = self.imds.counts();
        self.say(life);
        let silent = self.board.lock().silent_since.is_some_and(|since| since.elapsed() >= SILENCE);
        if silent && life.notices().contains(&Notice::Shutdown) && life.hook(Hook::Terminate).is_open() {
            // A full queue has something to say first; the next tick says it again.
            let _ = self.events.try_send(Event::Silence);
        }
        let Some(every) = self.alive_every else { return };
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.alive.is_none_or(|last| last.elapsed() >= every) {
            said.alive = Some(Instant::now());
            systemd::alive();
        }
    }
}

impl World {
    /// Sends the record when the life ends, beside all else: nothing waits for it but the exit.
    fn end(&self, life: &Lifecycle) {
        let Some(end) = record::due(life) else { return };
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.end < Some(end) {
            said.end = Some(end);
            let record = self.record.clone();
            tokio::spawn(async move { record.send(end).await });
        }
    }

    fn say(&self, life: &Lifecycle) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let status = self.board.lock();
        let same = |(phase, reason): &(Phase, String)| *phase == status.phase && *reason == status.reason;
        if !said.status.as_ref().is_some_and(same) {
            systemd::status(&format!("{}: {}", status.phase.name(), status.reason));
            said.status = Some((status.phase, status.reason.clone()));
        }
        drop(status);
        if life.notices().contains(&Notice::Shutdown) {
            let left = life.deadline().map_or(Duration::ZERO, |deadline| deadline.since(self.clock.now()));
            systemd::stopping(life, left.min(Duration::from_mins(1)) + HOOK_GRACE);
        }
    }
}
