//! PLAYS one seed: the agent's steps in their order, killed where chance has it and started again, to the end.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kiln_stage::lifecycle::{Event, State};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::cloud::{Cloud, Ended, LAUNCH, TERMINATE};
use crate::board::Board;
use crate::config::Selector;
use crate::fake::{self, in_memory, known_group};
use crate::hook::Hooks;
use crate::lifecycle::{Hook, Phase, Verdict};
use crate::targets::Targets;

/// Longer than any way in and out: the storms end after minutes.
const LONGEST: Duration = Duration::from_hours(3);
/// `drain.max`, and longer than any storm: a drain that ends by it has hung.
const DRAIN_MAX: Duration = Duration::from_mins(10);
/// Longer than a call can take effect late: an agent cannot know of that.
const SETTLED: Duration = Duration::from_secs(12);
const TICK: Duration = Duration::from_millis(500);

/// How far the agent has come; what its state file would say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Launch,
    Serve,
    Leave,
    Out,
    Rejoin,
    Back,
    Go,
    Answer,
    Over,
}

#[derive(Debug, Clone, Copy)]
struct Plan {
    /// An operator takes it out and brings it back.
    operator: bool,
    serve: Duration,
    /// In flight once the targets have been told.
    work: Duration,
    named: bool,
}

/// Plays `seed` on a clock of its own.
pub(super) fn play(seed: u64) -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing");
    let root = tempfile::tempdir().expect("a folder for the list of what was taken out");
    // The agent's own pauses.
    fastrand::seed(seed);
    runtime.block_on(played(seed, root.path()))
}

async fn played(seed: u64, root: &Path) -> Ended {
    let cloud = Cloud::new(seed);
    let (plan, mut kills, deletion) = {
        let rng = &mut cloud.lock().rng;
        let plan = Plan {
            operator: rng.bool(),
            serve: Duration::from_secs(rng.u64(1..30)),
            work: Duration::from_secs(rng.u64(0..100)),
            named: rng.bool(),
        };
        let mut kills: Vec<_> = (0..rng.usize(0..4)).map(|_| rng.u64(0..200_000)).collect();
        kills.sort_unstable();
        let deletion = (rng.f64() < 0.2).then(|| Duration::from_millis(rng.u64(0..150_000)));
        (plan, kills.into_iter().map(Duration::from_millis).collect::<Vec<_>>(), deletion)
    };
    let calm = kills.is_empty() && cloud.lock().is_calm();
    if let Some(at) = deletion {
        let cloud = cloud.clone();
        tokio::spawn(async move {
            sleep(at).await;
            cloud.lock().delete_a_group();
        });
    }
    let step = Arc::new(Mutex::new(Step::Launch));
    let mut process = start(&cloud, &step, root, plan);
    while get(&step) != Step::Over && cloud.now() < LONGEST {
        let next = kills.first().copied().unwrap_or(LONGEST).saturating_sub(cloud.now());
        match timeout(next, &mut process).await {
            Ok(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) if !kills.is_empty() => {}
            _ => break,
        }
        kills.remove(0);
        process.abort();
        let down = {
            let mut inner = cloud.lock();
            inner.see("killed", &format!("{:?}", get(&step)));
            Duration::from_millis(inner.rng.u64(100..8000))
        };
        sleep(down).await;
        process = start(&cloud, &step, root, plan);
    }
    process.abort();
    judge(&cloud, get(&step), calm)
}

fn judge(cloud: &Cloud, step: Step, calm: bool) -> Ended {
    let now = cloud.now();
    let mut inner = cloud.lock();
    if step != Step::Over {
        inner.broke(format!("the way ends at {step:?}"));
    }
    if inner.apply(&Event::Heartbeat(TERMINATE.to_owned()), now) {
        inner.broke("the terminate hook is left waiting");
    }
    let seen =
        |inner: &super::cloud::Inner, what: &str| inner.ended.seen.get(what).copied().unwrap_or_default();
    for what in ["the launch hook was completed", "the terminate hook was completed"] {
        let times = seen(&inner, what);
        if times > 1 || (calm && times != 1) {
            inner.broke(format!("{what} {times} times"));
        }
    }
    if calm && seen(&inner, "timed out") > 0 {
        inner.broke("a hook timed out, and nothing went wrong");
    }
    let (calls, most) = (inner.calls, 60 + now.as_secs() * 3 / 2);
    if calls > most {
        inner.broke(format!("{calls} calls in {} s", now.as_secs()));
    }
    std::mem::take(&mut inner.ended)
}

fn get(step: &Mutex<Step>) -> Step {
    *step.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start(cloud: &Cloud, step: &Arc<Mutex<Step>>, root: &Path, plan: Plan) -> JoinHandle<()> {
    let board = fake::board();
    let config = in_memory({
        let cloud = cloud.clone();
        move |body| cloud.clone().answer(body)
    });
    let group = known_group(config, &board);
    let name = |name: &str| if plan.named { Selector::Named(name.to_owned()) } else { Selector::Auto };
    let agent = Agent {
        hooks: Hooks::new(group.clone(), name(LAUNCH), name(TERMINATE), board.clone()),
        targets: Targets::new(group, None, board.clone(), root),
        board,
        cloud: cloud.clone(),
        plan,
    };
    let step = step.clone();
    tokio::spawn(async move {
        while get(&step) != Step::Over {
            let next = Box::pin(agent.perform(get(&step))).await;
            *step.lock().unwrap_or_else(PoisonError::into_inner) = next;
        }
    })
}

struct Agent {
    hooks: Hooks,
    targets: Targets,
    board: Board,
    cloud: Cloud,
    plan: Plan,
}

impl Agent {
    /// One step to its end, and what comes after it.
    async fn perform(&self, step: Step) -> Step {
        self.cloud.lock().tell(&format!("step: {step:?}"));
        match step {
            Step::Launch => {
                self.enter(Phase::Warming);
                let settled = self.hooks.complete(Hook::Launch, Verdict::Continue).await;
                self.cloud.lock().tell(&format!("launch: {settled:?}"));
                Step::Serve
            }
            Step::Serve => {
                self.enter(Phase::Serving);
                sleep(self.plan.serve).await;
                let serves = self.cloud.lock().lifecycle.state() == State::InService;
                if self.plan.operator && serves { Step::Leave } else { Step::Go }
            }
            Step::Leave => {
                self.enter(Phase::Draining);
                self.leave().await;
                Step::Out
            }
            Step::Out => {
                sleep(SETTLED).await;
                Step::Rejoin
            }
            Step::Rejoin => {
                self.enter(Phase::Warming);
                if self.targets.rejoin().await {
                    self.is_back();
                } else {
                    self.cloud.lock().broke("the way back was given up");
                }
                Step::Back
            }
            Step::Back => {
                self.enter(Phase::Serving);
                sleep(self.plan.serve).await;
                Step::Go
            }
            Step::Go => {
                let now = self.cloud.now();
                self.cloud.lock().apply(&Event::ScaledIn, now);
                self.board.lock().target_state = Some("Terminated".to_owned());
                self.enter(Phase::Draining);
                let way = async {
                    self.leave().await;
                    sleep(self.plan.work).await;
                    self.enter(Phase::Drained);
                };
                let watch = async {
                    let waits = self.hooks.await_terminate().await;
                    if waits {
                        self.hooks.beat_while_draining(&mpsc::channel(4).0).await;
                    }
                    waits
                };
                let ((), waits) = tokio::join!(self.advancing(way), watch);
                if waits { Step::Answer } else { Step::Over }
            }
            Step::Answer => {
                self.enter(Phase::Drained);
                self.board.lock().target_state = Some("Terminated".to_owned());
                let settled = self.hooks.complete(Hook::Terminate, Verdict::Continue).await;
                self.cloud.lock().tell(&format!("terminate: {settled:?}"));
                Step::Over
            }
            Step::Over => Step::Over,
        }
    }

    fn enter(&self, phase: Phase) {
        let mut status = self.board.lock();
        (status.phase, status.advanced) = (phase, Some(Instant::now()));
    }

    async fn leave(&self) {
        if timeout(DRAIN_MAX, self.targets.leave()).await.is_err() {
            self.cloud.lock().broke("a drain came to its deadline, and the targets were not told");
        }
        let mut inner = self.cloud.lock();
        let staying = inner.staying();
        if !staying.is_empty() {
            inner.broke(format!("not told to leave: {staying:?}"));
        }
    }

    /// What was taken out is back, wherever that can be.
    fn is_back(&self) {
        let mut inner = self.cloud.lock();
        if inner.lifecycle.state() != State::InService {
            return;
        }
        let staying = inner.staying();
        let reachable = |arn: &String| !inner.deleted.contains(arn) && !inner.denied.contains(arn);
        let missing: Vec<_> = inner
            .taken_out
            .iter()
            .filter(|(arn, ..)| reachable(arn))
            .filter(|row| !staying.contains(row))
            .cloned()
            .collect();
        if !missing.is_empty() {
            inner.broke(format!("not registered again: {missing:?}"));
        }
    }

    /// As a drain does: it advances while it goes on.
    async fn advancing(&self, way: impl Future<Output = ()>) {
        let ticks = async {
            loop {
                sleep(TICK).await;
                self.board.lock().advanced = Some(Instant::now());
            }
        };
        tokio::select! {
            biased;
            () = way => {}
            () = ticks => {}
        }
    }
}
