//! What a refused completion or heartbeat may mean, each case by name: "No active Lifecycle Action found" has six
//! meanings, and only the state and the list of hooks tell them apart.

use super::tests::Asg;
use super::*;
use crate::lifecycle::Phase;

const NOT_ACTIVE: (u16, &str) = (400, "ValidationError");
const TAKEN: (u16, &str) = (200, "");
const COMPLETE: &str = "CompleteLifecycleAction";
const BEAT: &str = "RecordLifecycleActionHeartbeat";

#[tokio::test]
async fn not_yet_waiting_is_not_asked_at_all() {
    let asg = Asg::start(&["Terminating", "Terminating", "Terminating:Wait"], &["only"], &[TAKEN]).await;
    assert_eq!(asg.complete(Hook::Terminate, Verdict::Continue).await, Settled::Completed);
    assert_eq!(asg.calls(COMPLETE).len(), 1);
}

#[tokio::test]
async fn refused_because_the_change_is_under_way_is_asked_again() {
    let asg = Asg::start(&["Terminating:Wait"], &["only"], &[NOT_ACTIVE, NOT_ACTIVE, TAKEN]).await;
    assert_eq!(asg.complete(Hook::Terminate, Verdict::Continue).await, Settled::Completed);
    assert_eq!(asg.calls(COMPLETE).len(), 3);
}

#[tokio::test]
async fn refused_because_it_was_done_before_is_done() {
    let asg = Asg::start(&["Terminating:Wait", "Terminating:Proceed"], &["only"], &[NOT_ACTIVE]).await;
    assert_eq!(asg.complete(Hook::Terminate, Verdict::Continue).await, Settled::Completed);
    assert_eq!(asg.calls(COMPLETE).len(), 1);
}

#[tokio::test]
async fn refused_because_the_hook_timed_out_is_over() {
    for (hook, states) in [
        (Hook::Terminate, &["Terminating:Wait", "Terminated"][..]),
        (Hook::Launch, &["Pending:Wait", "Terminating"]),
        (Hook::Launch, &["Pending:Wait", "InService"]),
        (Hook::Terminate, &["Terminating:Wait", "Terminating:Retained"]),
    ] {
        let asg = Asg::start(states, &["only"], &[NOT_ACTIVE]).await;
        asg.complete(hook, Verdict::Continue).await;
        assert_eq!(asg.calls(COMPLETE).len(), 1, "{states:?}");
    }
}

#[tokio::test]
async fn an_abandon_that_was_refused_was_not_taken_where_the_launch_goes_on() {
    // Let in by the hook's own default while a stale read still said Wait.
    for past in ["Warmed:Pending:Proceed", "Warmed:Hibernated", "InService"] {
        let states: &'static [&'static str] = Box::leak(Box::new(["Warmed:Pending:Wait", past]));
        let asg = Asg::start(states, &["only"], &[NOT_ACTIVE]).await;
        assert_eq!(asg.complete(Hook::Launch, Verdict::Abandon).await, Settled::NothingOwed, "{past}");
    }
    // Called meanwhile: what waits now is the action into service.
    let asg = Asg::start(&["Warmed:Pending:Wait", "Pending:Wait"], &["only"], &[NOT_ACTIVE]).await;
    asg.hooks.board.lock().launch_for = Some(Place::Pool);
    assert_eq!(asg.complete(Hook::Launch, Verdict::Abandon).await, Settled::NothingOwed);
    let asg = Asg::start(&["Pending:Wait", "Terminating"], &["only"], &[NOT_ACTIVE]).await;
    assert_eq!(asg.complete(Hook::Launch, Verdict::Abandon).await, Settled::Completed);
}

#[tokio::test]
async fn the_termination_of_what_was_on_its_way_to_the_pool_is_not_answered_as_its_return() {
    let asg = Asg::start(&["Warmed:Terminating:Wait"], &["only"], &[TAKEN]).await;
    asg.hooks.board.lock().terminate_for = Some(Notice::Pool);
    assert_eq!(asg.complete(Hook::Terminate, Verdict::Continue).await, Settled::Superseded);
    assert!(asg.calls(COMPLETE).is_empty());
    asg.hooks.board.lock().terminate_for = Some(Notice::Group);
    assert_eq!(asg.complete(Hook::Terminate, Verdict::Continue).await, Settled::Completed);
}

#[tokio::test]
async fn refused_because_no_hook_has_the_configured_name_is_given_up_with_the_names_there_are() {
    let mut asg = Asg::start(&["Terminating:Wait"], &["a", "b"], &[NOT_ACTIVE]).await;
    asg.hooks.terminate = Selector::Named("mine".to_owned());
    assert_eq!(asg.complete(Hook::Terminate, Verdict::Continue).await, Settled::GaveUp);
    assert_eq!(asg.calls(COMPLETE).len(), 1);
    let said = asg.hooks.board.snapshot().errors.remove("terminate hook").expect("it is said");
    assert_eq!(said, "lifecycle.terminate_hook 'mine' is not among the group's terminate hooks (a, b)");
}

#[tokio::test]
async fn refused_because_the_hook_was_deleted_is_over() {
    let mut asg = Asg::start(&["Terminating:Wait"], &[], &[NOT_ACTIVE]).await;
    asg.hooks.terminate = Selector::Named("mine".to_owned());
    asg.complete(Hook::Terminate, Verdict::Continue).await;
    assert_eq!(asg.calls(COMPLETE).len(), 1);
}

#[tokio::test]
async fn refused_because_another_hook_still_holds_the_instance_ends_after_a_minute_of_refusals() {
    // Ours was answered before a kill; the state stays as it is for the other's sake.
    let asg = Asg::start(&["Terminating:Wait"], &["mine", "theirs>arn:aws:sqs:1"], &[NOT_ACTIVE]).await;
    assert_eq!(asg.complete(Hook::Terminate, Verdict::Continue).await, Settled::Completed);
    assert_eq!(asg.calls(COMPLETE).len(), REFUSALS as usize);
    assert!(asg.calls(COMPLETE).iter().all(|body| body.contains("LifecycleHookName=mine")));
}

#[tokio::test]
async fn throttling_and_failures_end_no_completion() {
    const TROUBLE: &[(u16, &str)] =
        &[(400, "ThrottlingException"), (400, "RequestLimitExceeded"), (503, "ServiceUnavailable"), TAKEN];
    let asg = Asg::start(&["Pending:Wait"], &["only"], TROUBLE).await;
    assert_eq!(asg.complete(Hook::Launch, Verdict::Continue).await, Settled::Completed);
    assert_eq!(asg.calls(COMPLETE).len(), 4);
}

#[tokio::test]
async fn a_refused_heartbeat_reads_the_state_and_ends_when_the_wait_is_over() {
    let over = Asg::beating(&["Terminating:Proceed"], &["only"], &[], &[NOT_ACTIVE]).await;
    over.drains();
    over.hooks.beat_while_draining(&tokio::sync::mpsc::channel(4).0).await;
    assert_eq!(over.calls(BEAT).len(), 1);

    // While it still waits, the refusal is a change under way: the next third brings another beat.
    let waits = Asg::beating(&["Terminating:Wait"], &["only"], &[], &[NOT_ACTIVE, TAKEN]).await;
    waits.drains();
    let info = HookInfo {
        heartbeat_timeout: Duration::from_millis(60),
        ..HookInfo::guessed("only", Hook::Terminate)
    };
    let beats = tokio::spawn({
        let hooks = waits.hooks.clone();
        async move { hooks.beat_for(&info).await }
    });
    while waits.calls(BEAT).len() < 2 {
        waits.hooks.board.lock().advanced = Some(Instant::now());
        tokio::task::yield_now().await;
    }
    waits.hooks.board.lock().phase = Phase::Drained;
    beats.await.expect("heartbeats end with the drain");
}
