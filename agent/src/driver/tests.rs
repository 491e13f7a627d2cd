//! The loop with a world that only takes notes, on a paused clock.

use super::*;
use crate::clock::Moment;
use crate::lifecycle::{Ended, Notice, Policy, Settled};
use std::sync::{Arc, Mutex};

#[tokio::test(start_paused = true)]
async fn a_whole_life_in_order() {
    let story = Story::start();
    story.say(Event::Bootstrapped { ok: true }).await;
    story.say(Event::Healthy).await;
    story.until("CompleteHook(Launch, Continue)").await;
    story.say(Event::Notice { notice: Notice::Group, deadline: None }).await;
    story.until("CompleteHook(Terminate, Continue)").await;
    story.say(Event::Notice { notice: Notice::Shutdown, deadline: None }).await;
    story.end().await;
    story.check(|log| {
        let at = |what: &str| log.iter().position(|line| line.starts_with(what)).expect(what);
        assert!(
            at("recorded serving") < at("CompleteHook(Launch"),
            "readyz is 200 before the hook is asked: {log:?}"
        );
        assert!(at("recorded draining") < at("StartDrain"), "state is written before the effect: {log:?}");
        assert!(at("recorded drained") < at("CompleteHook(Terminate"), "{log:?}");
    });
}

#[tokio::test(start_paused = true)]
async fn a_boot_that_never_ends_is_abandoned_by_the_clock_alone() {
    let story = Story::start();
    story.until("CompleteHook(Launch, Abandon)").await;
}

/// Notes of what was recorded and performed, in order.
#[derive(Clone, Default)]
struct Recorder {
    log: Arc<Mutex<Vec<String>>>,
    grown: Arc<tokio::sync::Notify>,
}

impl Recorder {
    fn note(&self, line: String) {
        self.log.lock().expect("no test panics with the log held").push(line);
        self.grown.notify_one();
    }
}

impl World for Recorder {
    fn perform(&self, effect: Effect) -> impl Future<Output = Option<Event>> + Send + 'static {
        self.note(format!("{effect:?}"));
        async move {
            match effect {
                Effect::CompleteHook(hook, _) => {
                    Some(Event::HookSettled { hook, settled: Settled::Completed })
                }
                Effect::StartDrain { .. } => Some(Event::DrainEnded(Ended::Quiet)),
                Effect::Rejoin => Some(Event::Rejoined),
                Effect::WatchTerminate => Some(Event::TerminateWaitSeen),
                Effect::WatchLaunch => None,
                Effect::ShortenDrain { .. } | Effect::FlushMetrics | Effect::Exit => None,
            }
        }
    }

    fn record(&self, life: &Lifecycle) {
        self.note(format!("recorded {}", life.phase().name()));
    }

    fn turn(&self, _: &Lifecycle) {}
}

struct Story {
    recorder: Recorder,
    events: mpsc::Sender<Event>,
    driver: tokio::sync::Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Story {
    fn start() -> Self {
        let policy = Policy {
            bootstrap_deadline: Duration::from_mins(10),
            ready_deadline: Duration::from_mins(1),
            drain_max: Duration::from_mins(5),
            ..Policy::default()
        };
        let (events, heard) = mpsc::channel(8);
        let recorder = Recorder::default();
        let world = recorder.clone();
        let driver = tokio::spawn(async move {
            let clock = Clock::anchored(Moment::default());
            run(Lifecycle::new(policy, clock.now()), vec![], &world, clock, heard, std::future::pending())
                .await;
        });
        Self { recorder, events, driver: tokio::sync::Mutex::new(Some(driver)) }
    }

    async fn say(&self, event: Event) {
        self.events.send(event).await.expect("the loop listens");
    }

    async fn until(&self, line: &str) {
        while !self
            .recorder
            .log
            .lock()
            .expect("no test panics with the log held")
            .iter()
            .any(|seen| seen == line)
        {
            self.recorder.grown.notified().await;
        }
    }

    async fn end(&self) {
        let driver = self.driver.lock().await.take().expect("a story ends once");
        driver.await.expect("the loop does not panic");
    }

    fn check(&self, judge: impl FnOnce(&[String])) {
        judge(&self.recorder.log.lock().expect("no test panics with the log held"));
    }
}
