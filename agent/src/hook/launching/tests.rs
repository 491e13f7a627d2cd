//! The launch hook's heartbeats, by the real SDK against a small Auto Scaling on loopback.

use super::*;
use crate::config::Selector;
use crate::fake::{self, Fake, action, member, metadata, refusal, result};
use crate::lifecycle::Failure;
use tokio::task::JoinHandle;

const BEAT: &str = "RecordLifecycleActionHeartbeat";
/// The hook's, as short as the wire can say.
const TIMEOUT: Duration = Duration::from_secs(1);
/// So old a machine that the first heartbeat is due at once.
const OLD: Duration = Duration::from_mins(1);

#[tokio::test]
async fn a_launch_that_advances_gets_a_beat_each_third_of_the_timeout() {
    let mut story = Story::start("Pending:Wait", &[""]).await;
    story.advances();
    let task = story.beat(OLD);
    let first = story.held().await;
    let mut last = first;
    for _ in 0..3 {
        story.advances();
        let held = story.held().await;
        // A fifth less by jitter, and what the first answer of the two took longer.
        assert!(held - last >= TIMEOUT / 3 / 2, "{:?}", held - last);
        last = held;
    }
    assert!(last - first >= (TIMEOUT / 3).mul_f64(3.0 * 0.8 * 0.9), "{:?}", last - first);
    let calls = story.calls();
    for part in ["LifecycleHookName=only", "InstanceId=i-0abc", "AutoScalingGroupName=web"] {
        assert!(calls[0].contains(part), "{part} is missing in {}", calls[0]);
    }
    story.hooks.board.lock().phase = Phase::Serving;
    ends(task).await;
}

#[tokio::test]
async fn a_launch_in_which_nothing_moves_gets_none_until_something_does() {
    let mut story = Story::start("Pending:Wait", &[""]).await;
    story.hooks.board.lock().advanced = Instant::now().checked_sub(TIMEOUT);
    let task = story.beat(OLD);
    let withheld =
        || story.hooks.board.snapshot().timeline.iter().any(|entry| entry.what.contains("withheld"));
    while !withheld() {
        tokio::task::yield_now().await;
    }
    assert!(story.calls().is_empty() && story.heard.is_empty());
    story.advances();
    // Were the machine so slow that this is old by the next beat, it would be withheld again.
    while story.heard.is_empty() {
        story.advances();
        tokio::task::yield_now().await;
    }
    story.held().await;
    story.hooks.board.lock().phase = Phase::Warmed;
    ends(task).await;
}

#[tokio::test]
async fn a_launch_that_is_answered_or_has_failed_gets_none() {
    for (phase, failure) in
        [(Phase::Serving, None), (Phase::Draining, None), (Phase::Warming, Some(Failure::Readiness))]
    {
        let story = Story::start("Pending:Wait", &[""]).await;
        {
            let mut status = story.hooks.board.lock();
            (status.phase, status.failure) = (phase, failure);
        }
        ends(story.beat(OLD)).await;
        assert!(story.fake.asked().is_empty(), "{phase:?} {failure:?}");
    }
    // Somebody else has answered: only the state tells.
    let story = Story::start("InService", &["ValidationError"]).await;
    ends(story.beat(OLD)).await;
    assert!(story.calls().len() == 1 && story.heard.is_empty());
}

#[tokio::test]
async fn throttled_or_early_a_beat_is_tried_again() {
    let answers = &["ThrottlingException", "ValidationError", "ServiceUnavailable", ""];
    let mut story = Story::start("Pending", answers).await;
    let task = story.beat(OLD);
    story.held().await;
    assert_eq!(story.calls().len(), 4, "each was one call");
    assert_eq!(story.hooks.board.snapshot().errors.get("launch"), None, "and the error is over");
    story.hooks.board.lock().phase = Phase::Serving;
    ends(task).await;
}

#[tokio::test(start_paused = true)]
async fn a_launch_that_takes_less_than_the_shortest_third_costs_no_call() {
    let story = Story::start("Pending:Wait", &[""]).await;
    let (began, task) = (Instant::now(), story.beat(Duration::from_secs(2)));
    story.hooks.board.lock().phase = Phase::Serving;
    ends(task).await;
    assert!(began.elapsed() >= Duration::from_secs(8), "{:?}", began.elapsed());
    assert!(story.fake.asked().is_empty());
}

/// An Auto Scaling that answers heartbeats in turn (the last for good): an error's code, or nothing for success.
struct Story {
    fake: Fake,
    hooks: Hooks,
    events: mpsc::Sender<Event>,
    heard: mpsc::Receiver<Event>,
}

impl Story {
    async fn start(state: &'static str, answers: &'static [&'static str]) -> Self {
        let beaten = std::sync::atomic::AtomicUsize::new(0);
        let fake = Fake::start(move |asked, _| match action(&asked.body) {
            "DescribeAutoScalingInstances" => (200, member(state)),
            "DescribeLifecycleHooks" => (200, hook()),
            BEAT => {
                let number = beaten.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                match answers[number.min(answers.len() - 1)] {
                    "" => (200, result(BEAT, "")),
                    code => (400, refusal(code)),
                }
            }
            _ => metadata(asked, &[("meta-data/instance-id", "i-0abc")]),
        })
        .await;
        let board = fake::board();
        let hooks = Hooks::new(fake::group(&fake, &board), Selector::Auto, Selector::Auto, board);
        let (events, heard) = mpsc::channel(8);
        let hooks = Hooks { poll: Duration::from_millis(5), ..hooks };
        Self { fake, hooks, events, heard }
    }

    fn beat(&self, since_boot: Duration) -> JoinHandle<()> {
        let (hooks, events) = (self.hooks.clone(), self.events.clone());
        tokio::spawn(async move { hooks.beat_while_launching(since_boot, &events).await })
    }

    fn advances(&self) {
        self.hooks.board.lock().advanced = Some(Instant::now());
    }

    /// When the lifecycle has heard of the next heartbeat.
    async fn held(&mut self) -> Instant {
        assert_eq!(self.heard.recv().await, Some(Event::LaunchHeld { timeout: TIMEOUT }));
        Instant::now()
    }

    fn calls(&self) -> Vec<String> {
        self.fake.asked().into_iter().map(|asked| asked.body).filter(|body| action(body) == BEAT).collect()
    }
}

async fn ends(task: JoinHandle<()>) {
    tokio::time::timeout(Duration::from_mins(1), task).await.expect("it ends by itself").expect("no panic");
}

fn hook() -> String {
    let hook = "<LifecycleHooks><member><LifecycleHookName>only</LifecycleHookName>\
                <LifecycleTransition>autoscaling:EC2_INSTANCE_LAUNCHING</LifecycleTransition>\
                <HeartbeatTimeout>1</HeartbeatTimeout><GlobalTimeout>100</GlobalTimeout></member></LifecycleHooks>";
    result("DescribeLifecycleHooks", hook)
}
