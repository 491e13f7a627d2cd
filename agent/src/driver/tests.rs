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

#[tokio::test(start_paused = true)]
async fn a_notice_ends_a_registration_under_way() {
    let clock = Clock::anchored(Moment::default());
    // What a boot before has left is to be registered again.
    let (life, _) = Lifecycle::begin(policy(), clock.now(), true);
    let story = Story::of(life, Recorder { registers_for_ever: true, ..Recorder::default() });
    for event in [Event::Groupless, Event::Bootstrapped { ok: true }, Event::Healthy] {
        story.say(event).await;
    }
    story.until("CompleteHook(Launch, Continue)").await;
    // Taken by the group, which registers; then an operator takes it out and back.
    story.say(Event::Notice { notice: Notice::Operator, deadline: None }).await;
    story.until("recorded drained").await;
    for event in [Event::Ready, Event::Healthy] {
        story.say(event).await;
    }
    story.until("Rejoin").await;
    story.check(|log| assert!(!log.iter().any(|line| line == "registration over")));
    story.say(Event::Notice { notice: Notice::Group, deadline: None }).await;
    let over = tokio::time::timeout(Duration::from_mins(1), story.until("registration over"));
    over.await.expect("it ends with the notice");
}

/// Notes of what was recorded and performed, in order.
#[derive(Clone, Default)]
struct Recorder {
    log: Arc<Mutex<Vec<String>>>,
    grown: Arc<tokio::sync::Notify>,
    registers_for_ever: bool,
}

/// Notes its own end, by an abort, too.
struct Registration(Recorder);

impl Drop for Registration {
    fn drop(&mut self) {
        self.0.note("registration over".to_owned());
    }
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
        let recorder = self.clone();
        async move {
            match effect {
                Effect::CompleteHook(hook, _) => {
                    Some(Event::HookSettled { hook, settled: Settled::Completed })
                }
                Effect::StartDrain { .. } => Some(Event::DrainEnded(Ended::Quiet)),
                Effect::Rejoin if recorder.registers_for_ever => {
                    let _registration = Registration(recorder);
                    std::future::pending().await
                }
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
        Self::of(Lifecycle::new(policy(), Moment::default()), Recorder::default())
    }

    fn of(life: Lifecycle, recorder: Recorder) -> Self {
        let (events, heard) = mpsc::channel(8);
        let world = recorder.clone();
        let driver = tokio::spawn(async move {
            let clock = Clock::anchored(Moment::default());
            run(life, vec![], &world, clock, heard, std::future::pending()).await;
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

fn policy() -> Policy {
    Policy {
        bootstrap_deadline: Duration::from_mins(10),
        ready_deadline: Duration::from_mins(1),
        drain_max: Duration::from_mins(5),
        ..Policy::default()
    }
}
