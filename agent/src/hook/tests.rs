//! The real SDK against a small Auto Scaling on loopback.

use super::*;
use crate::fake::{self, Asked, Fake, action, member, metadata, refusal, result};
use crate::group::HookInfo;
use crate::lifecycle::Phase;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;

#[tokio::test]
async fn a_hook_is_completed_once_in_its_wait_state() {
    let asg = Asg::start(&["Pending", "Pending:Wait"], &["first"], &[(200, "")]).await;
    assert_eq!(asg.complete(Hook::Launch, Verdict::Continue).await, Settled::Completed);
    let calls = asg.calls("CompleteLifecycleAction");
    assert_eq!(calls.len(), 1);
    for part in [
        "LifecycleHookName=first",
        "InstanceId=i-0abc",
        "AutoScalingGroupName=web",
        "LifecycleActionResult=CONTINUE",
    ] {
        assert!(calls[0].contains(part), "{part} is missing in {}", calls[0]);
    }
}

#[tokio::test]
async fn nothing_is_called_where_nothing_waits() {
    for (states, hooks) in [(&["InService"][..], &["only"][..]), (&["Pending:Wait"], &[])] {
        let asg = Asg::start(states, hooks, &[]).await;
        assert_eq!(asg.complete(Hook::Launch, Verdict::Abandon).await, Settled::NothingOwed, "{states:?}");
        assert!(asg.calls("CompleteLifecycleAction").is_empty());
    }
}

#[tokio::test]
async fn a_detached_instance_owes_no_launch_a_new_root_owes_one_and_an_unknown_state_decides_nothing() {
    for state in [&["Detaching"][..], &["Detached"]] {
        let asg = Asg::start(state, &["only"], &[]).await;
        assert_eq!(asg.complete(Hook::Launch, Verdict::Continue).await, Settled::NothingOwed, "{state:?}");
        assert!(asg.calls("CompleteLifecycleAction").is_empty());
    }
    let replaced = &["ReplacingRootVolume:Proceed", "RootVolumeReplaced", "Pending", "Pending:Wait"];
    let asg = Asg::start(replaced, &["only"], &[(200, "")]).await;
    assert_eq!(asg.complete(Hook::Launch, Verdict::Continue).await, Settled::Completed);
    let asg = Asg::start(&["SomethingNew", "Pending:Wait"], &["only"], &[(200, "")]).await;
    assert_eq!(asg.complete(Hook::Launch, Verdict::Continue).await, Settled::Completed);
    let asg = Asg::start(&["Terminating", "SomethingNew", "Terminating:Wait"], &["only"], &[(200, "")]).await;
    assert!(asg.hooks.await_terminate().await);
    assert_eq!(asg.complete(Hook::Terminate, Verdict::Continue).await, Settled::Completed);
    let told = asg.hooks.board.snapshot().timeline;
    assert_eq!(told.iter().filter(|entry| entry.what.contains("SomethingNew is not known")).count(), 1);
}

#[tokio::test]
async fn a_launch_answer_that_a_notice_stops_counts_as_taken_only_where_it_was() {
    // An ABANDON may have been heeded, and there is no way back from it.
    for (verdict, expected) in
        [(Verdict::Continue, Settled::NothingOwed), (Verdict::Abandon, Settled::Completed)]
    {
        let asg = Asg::start(&["Pending:Wait"], &["only"], &[(400, "ValidationError")]).await;
        let notice = async {
            asg.until_called("CompleteLifecycleAction", 1).await;
            asg.drains();
        };
        let (settled, ()) = tokio::join!(asg.complete(Hook::Launch, verdict), notice);
        assert_eq!(settled, expected, "{verdict:?}");
    }
}

#[tokio::test]
async fn several_hooks_are_not_guessed_between() {
    let asg = Asg::start(&["Pending:Wait"], &["mine", "theirs"], &[]).await;
    assert_eq!(asg.complete(Hook::Launch, Verdict::Continue).await, Settled::GaveUp);
    let errors = asg.hooks.board.snapshot().errors;
    for (part, key) in
        [("launch hook", "lifecycle.launch_hook"), ("terminate hook", "lifecycle.terminate_hook")]
    {
        let said = errors.get(part).expect("it is said at the launch, for both");
        assert!(said.contains(&format!("(mine, theirs): set {key} to yours")), "{said}");
    }
    assert!(asg.calls("CompleteLifecycleAction").is_empty());
}

#[tokio::test]
async fn a_hook_that_notifies_somebody_is_left_to_them() {
    let both = Asg::start(&["Pending:Wait"], &["theirs>arn:aws:sqs:1", "mine"], &[(200, "")]).await;
    assert_eq!(both.complete(Hook::Launch, Verdict::Continue).await, Settled::Completed);
    let calls = both.calls("CompleteLifecycleAction");
    assert!(calls.len() == 1 && calls[0].contains("LifecycleHookName=mine"), "{calls:?}");

    let theirs = Asg::start(&["Pending:Wait"], &["theirs>arn:aws:sqs:1"], &[]).await;
    assert_eq!(theirs.complete(Hook::Launch, Verdict::Continue).await, Settled::NothingOwed);
    assert!(theirs.calls("CompleteLifecycleAction").is_empty());
    assert!(theirs.hooks.board.snapshot().errors["launch hook"].contains("notifies somebody else"));
}

#[tokio::test]
async fn the_hooks_are_read_once_for_a_whole_way_out() {
    let asg = Asg::start(&["Terminating:Wait"], &["only"], &[(200, "")]).await;
    asg.drains();
    let beats = tokio::spawn({
        let hooks = asg.hooks.clone();
        async move { hooks.beat_while_draining(&mpsc::channel(4).0).await }
    });
    asg.until_called(BEAT, 1).await;
    asg.hooks.board.lock().phase = Phase::Drained;
    beats.await.expect("heartbeats end with the drain");
    assert_eq!(asg.complete(Hook::Terminate, Verdict::Continue).await, Settled::Completed);
    assert_eq!(asg.calls("DescribeLifecycleHooks").len(), 1);
}

#[tokio::test]
async fn the_terminate_hook_is_awaited_in_its_order() {
    let waits = Asg::start(&["InService", "Terminating", "Terminating:Wait"], &[], &[]).await;
    assert!(waits.hooks.await_terminate().await);
    let gone = Asg::start(&["Terminating", "Terminating:Proceed"], &[], &[]).await;
    assert!(!gone.hooks.await_terminate().await);
}

#[tokio::test]
async fn heartbeats_come_at_a_third_of_the_timeout_and_survive_a_throttle() {
    let asg = Asg::start(&["Terminating:Wait"], &["only"], &[]).await;
    asg.drains();
    let beats = tokio::spawn({
        let hooks = asg.hooks.clone();
        async move { hooks.beat_for(&info(300)).await }
    });
    // The fake throttles every second one; that is not fatal.
    let started = Instant::now();
    asg.until_called(BEAT, 4).await;
    let elapsed = started.elapsed();
    // The first at once, a throttled one sooner again, and twice a third less its jitter.
    assert!(elapsed >= Duration::from_millis(160) && elapsed < Duration::from_secs(3), "{elapsed:?}");
    let call = &asg.calls(BEAT)[0];
    for part in ["LifecycleHookName=only", "InstanceId=i-0abc", "AutoScalingGroupName=web"] {
        assert!(call.contains(part), "{part} is missing in {call}");
    }
    asg.hooks.board.lock().phase = Phase::Drained;
    beats.await.expect("heartbeats end with the drain");
}

#[tokio::test]
async fn a_drain_that_hangs_is_not_kept_alive() {
    let asg = Asg::start(&["Terminating:Wait"], &["only"], &[]).await;
    asg.drains();
    let beats = tokio::spawn({
        let hooks = asg.hooks.clone();
        async move { hooks.beat_for(&info(150)).await }
    });
    let withheld = || asg.hooks.board.snapshot().timeline.iter().any(|entry| entry.what.contains("withheld"));
    while !withheld() {
        tokio::task::yield_now().await;
    }
    let count = asg.calls(BEAT).len();
    // Three thirds, and two that were throttled.
    assert!(count <= 6, "{count} heartbeats in one timeout");
    asg.hooks.board.lock().advanced = Some(Instant::now());
    asg.until_called(BEAT, count + 1).await;
    asg.hooks.board.lock().phase = Phase::Drained;
    beats.await.expect("heartbeats end with the drain");
}

#[tokio::test]
async fn heartbeats_end_at_the_global_timeout() {
    let asg = Asg::start(&["Terminating:Wait"], &["only"], &[]).await;
    asg.drains();
    // On a loaded machine the first beat may come after all of it.
    let limited = HookInfo { global_timeout: Duration::from_millis(50), ..info(30) };
    asg.hooks.beat_for(&limited).await;
    let beats = asg.calls(BEAT).len();
    assert!(beats <= 7, "{beats} heartbeats, a pause of 8 ms before each, in 50 ms");
}

#[tokio::test]
async fn a_heartbeat_to_come_holds_up_no_exit() {
    let asg = Asg::start(&["Terminating:Wait"], &["only"], &[]).await;
    asg.drains();
    let hour = info(3_600_000);
    let ended = async {
        tokio::task::yield_now().await;
        asg.hooks.board.lock().phase = Phase::Drained;
    };
    let beats = async { tokio::join!(asg.hooks.beat_for(&hour), ended) };
    tokio::time::timeout(Duration::from_secs(2), beats)
        .await
        .expect("it ends with the drain, not at the next beat");
}

#[tokio::test]
async fn both_actions_of_a_warm_pool_are_answered() {
    let pool = Asg::start(&["Warmed:Pending", "Warmed:Pending:Wait"], &["only"], &[(200, "")]).await;
    pool.bound_for("Warmed:Running");
    assert_eq!(pool.complete(Hook::Launch, Verdict::Continue).await, Settled::Completed);
    // The target is read from the metadata service before the state has followed it.
    let service = Asg::start(&["Warmed:Running", "Pending", "Pending:Wait"], &["only"], &[(200, "")]).await;
    service.bound_for("InService");
    assert_eq!(service.complete(Hook::Launch, Verdict::Continue).await, Settled::Completed);
    let back = Asg::start(&["InService", "Warmed:Pending:Wait"], &["only"], &[(200, "")]).await;
    back.bound_for("Warmed:Stopped");
    assert!(back.hooks.await_terminate().await);
    assert_eq!(back.complete(Hook::Terminate, Verdict::Continue).await, Settled::Completed);
}

const BEAT: &str = "RecordLifecycleActionHeartbeat";

fn info(heartbeat_ms: u64) -> HookInfo {
    HookInfo {
        heartbeat_timeout: Duration::from_millis(heartbeat_ms),
        global_timeout: Duration::from_mins(1),
        ..HookInfo::guessed("only", Hook::Terminate)
    }
}

/// A metadata service and an Auto Scaling on loopback, with the hooks that speak to them.
pub(super) struct Asg {
    fake: Fake,
    pub(super) hooks: Hooks,
}

impl Asg {
    /// Lists the instance in each of `states` in turn (the last for good), and answers completions in turn too.
    pub(super) async fn start(
        states: &'static [&'static str],
        hooks: &'static [&'static str],
        completions: &'static [(u16, &'static str)],
    ) -> Self {
        Self::beating(states, hooks, completions, &[(200, ""), (400, "ThrottlingException")]).await
    }

    /// The same, with the answers to heartbeats, over and over.
    pub(super) async fn beating(
        states: &'static [&'static str],
        hooks: &'static [&'static str],
        completions: &'static [(u16, &'static str)],
        beats: &'static [(u16, &'static str)],
    ) -> Self {
        let (reads, completed, beaten) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let next = |counter: &AtomicUsize| counter.fetch_add(1, Ordering::Relaxed);
        let fake = Fake::start(move |asked: &Asked, _| match action(&asked.body) {
            "DescribeAutoScalingInstances" => (200, member(states[next(&reads).min(states.len() - 1)])),
            "DescribeLifecycleHooks" => (200, listed(hooks)),
            "CompleteLifecycleAction" => {
                answered("CompleteLifecycleAction", completions[next(&completed).min(completions.len() - 1)])
            }
            BEAT => answered(BEAT, beats[next(&beaten) % beats.len()]),
            _ => metadata(asked, &[("meta-data/instance-id", "i-0abc")]),
        })
        .await;
        let board = fake::board();
        let group = fake::group(&fake, &board);
        Self {
            fake,
            hooks: Hooks {
                poll: Duration::from_millis(5),
                ..Hooks::new(group, Selector::Auto, Selector::Auto, board)
            },
        }
    }

    pub(super) async fn complete(&self, hook: Hook, verdict: Verdict) -> Settled {
        self.hooks.complete(hook, verdict).await
    }

    pub(super) fn drains(&self) {
        let mut status = self.hooks.board.lock();
        (status.phase, status.advanced) = (Phase::Draining, Some(Instant::now()));
    }

    fn bound_for(&self, target: &str) {
        self.hooks.board.lock().target_state = Some(target.to_owned());
    }

    async fn until_called(&self, wanted: &str, times: usize) {
        while self.calls(wanted).len() < times {
            self.hooks.board.lock().advanced = Some(Instant::now());
            tokio::task::yield_now().await;
        }
    }

    pub(super) fn calls(&self, wanted: &str) -> Vec<String> {
        self.fake.asked().into_iter().map(|asked| asked.body).filter(|body| action(body) == wanted).collect()
    }
}

/// A status and, for a refusal, its code.
fn answered(action: &str, (status, code): (u16, &str)) -> (u16, String) {
    (status, if status == 200 { result(action, "") } else { refusal(code) })
}

/// Hooks on both transitions, each as `name` or `name>who is notified`.
fn listed(names: &[&str]) -> String {
    let transitions = [Hook::Launch, Hook::Terminate].map(Hook::transition);
    let hook = |name: &str, transition: &str| {
        let (name, notified) = name.split_once('>').unwrap_or((name, ""));
        format!(
            "<member><NotificationTargetARN>{notified}</NotificationTargetARN><LifecycleHookName>{name}</LifecycleHookName><LifecycleTransition>{transition}</LifecycleTransition>\
             <HeartbeatTimeout>60</HeartbeatTimeout><GlobalTimeout>6000</GlobalTimeout></member>"
        )
    };
    let all: Vec<_> =
        names.iter().flat_map(|name| transitions.map(|transition| hook(name, transition))).collect();
    result("DescribeLifecycleHooks", &format!("<LifecycleHooks>{}</LifecycleHooks>", all.concat()))
}
