//! Departures from a sound group, one at a time, and the one finding that each must make.

use super::*;
use crate::group::HookInfo;
use crate::lifecycle::Hook;

/// What is changed, and the check that must say so.
type Case = (&'static str, fn(&mut Cloud), &'static str, Result);

#[test]
fn each_departure_of_a_group_or_hook_is_found_under_its_name() {
    assert_found(&[
        (
            "in no group",
            |c| (c.name, c.member) = (Err("none".to_owned()), Ok(None)),
            "group.member",
            Result::Warn,
        ),
        (
            "another group is meant",
            |c| c.name = Ok(("api".to_owned(), "by tag")),
            "group.member",
            Result::Fail,
        ),
        (
            "the group is not listed",
            |c| (c.unlisted, c.group) = (true, Err("not listed".to_owned())),
            "group.member",
            Result::Fail,
        ),
        ("not listed", |c| c.member = Ok(None), "group.member", Result::Warn),
        (
            "suspended",
            |c| group(c).suspended = vec!["AddToLoadBalancer".to_owned()],
            "group.processes",
            Result::Fail,
        ),
        ("no launches", |c| group(c).suspended = vec!["Launch".to_owned()], "group.processes", Result::Warn),
        ("no launch hook", |c| drop(hooks_of(c).remove(0)), "hook.launch", Result::Warn),
        ("two launch hooks", |c| again(c, 0), "hook.launch", Result::Fail),
        (
            "somebody else's launch hook",
            |c| hooks_of(c)[0].notifies = Some("arn:aws:sqs:::theirs".to_owned()),
            "hook.launch",
            Result::Fail,
        ),
        (
            "launch goes on by itself",
            |c| "CONTINUE".clone_into(&mut hooks_of(c)[0].default_result),
            "hook.launch",
            Result::Warn,
        ),
        (
            "short launch hook",
            |c| {
                hooks_of(c)[0].heartbeat_timeout = seconds(60);
                c.trials.clear();
            },
            "hook.launch-time",
            Result::Warn,
        ),
        (
            "launch ends too early",
            |c| hooks_of(c)[0].global_timeout = seconds(600),
            "hook.launch-time",
            Result::Fail,
        ),
        ("no terminate hook", |c| drop(hooks_of(c).remove(1)), "hook.terminate", Result::Warn),
        ("two terminate hooks", |c| again(c, 1), "hook.terminate", Result::Fail),
        (
            "abandon is kept",
            |c| (group(c).retains, hooks_of(c)[1].default_result) = (true, "ABANDON".to_owned()),
            "hook.terminate",
            Result::Warn,
        ),
        (
            "short, heartbeats denied",
            |c| {
                hooks_of(c)[1].heartbeat_timeout = seconds(60);
                c.trials = vec![beat(Outcome::Denied("no".to_owned()))];
            },
            "hook.terminate-time",
            Result::Fail,
        ),
        (
            "short, heartbeats unknown",
            |c| {
                hooks_of(c)[1].heartbeat_timeout = seconds(60);
                c.trials.clear();
            },
            "hook.terminate-time",
            Result::Warn,
        ),
        (
            "global end too early",
            |c| hooks_of(c)[1].global_timeout = seconds(200),
            "hook.terminate-time",
            Result::Fail,
        ),
    ]);
}

#[test]
fn each_departure_of_a_target_group_is_found_under_its_name() {
    assert_found(&[
        ("no target groups", |c| c.target_groups = Ok(Vec::new()), "targets.attached", Result::Warn),
        ("no listener", |c| settings(c).balancers = 0, "targets.listener", Result::Fail),
        ("another path", |c| settings(c).path = Some("/".to_owned()), "targets.health-check", Result::Warn),
        ("by TCP", |c| "TCP".clone_into(&mut settings(c).protocol), "targets.health-check", Result::Warn),
        ("by network", |c| settings(c).network = true, "targets.quiet", Result::Warn),
        ("slow to get out", |c| settings(c).unhealthy = 10, "targets.health-time", Result::Warn),
        (
            "delay far above drain.max",
            |c| target(c).attributes = Ok(Attributes { delay: 3600, slow_start: 0 }),
            "targets.delay",
            Result::Warn,
        ),
        (
            "delay below drain.max",
            |c| target(c).attributes = Ok(Attributes { delay: 15, slow_start: 0 }),
            "targets.delay",
            Result::Warn,
        ),
        ("not in use", |c| state(c, "unused", Some("Target.NotInUse")), "targets.health", Result::Fail),
        (
            "unhealthy",
            |c| state(c, "unhealthy", Some("Target.ResponseCodeMismatch")),
            "targets.health",
            Result::Fail,
        ),
        ("draining in service", |c| state(c, "draining", None), "targets.health", Result::Warn),
        (
            "in service and not registered",
            |c| target(c).rows = Ok(Vec::new()),
            "targets.health",
            Result::Fail,
        ),
    ]);
    assert!(
        judged(&sound(), "").iter().all(|finding| finding.result == Result::Ok),
        "{:?}",
        judged(&sound(), "")
    );
}

fn assert_found(cases: &[Case]) {
    for (case, change, check, expected) in cases {
        let mut cloud = sound();
        change(&mut cloud);
        let findings = judged(&cloud, "");
        let worst = findings.iter().find(|finding| !matches!(finding.result, Result::Ok | Result::Skipped));
        let worst = worst.unwrap_or_else(|| panic!("{case}: nothing found"));
        assert_eq!((worst.check, worst.result), (*check, *expected), "{case}: {worst:?}");
        assert!(worst.remedy.is_some(), "{case}");
    }
}

#[test]
fn a_named_hook_is_looked_for_and_several_do_not_matter_then() {
    let mut cloud = sound();
    again(&mut cloud, 1);
    let named = judged(&cloud, "[lifecycle]\nterminate_hook = \"to-the-end\"");
    assert!(named.iter().all(|finding| finding.result == Result::Ok), "{named:?}");
    let missing = judged(&cloud, "[lifecycle]\nterminate_hook = \"gone\"");
    let worst = missing.iter().find(|finding| finding.result == Result::Fail).expect("it is not there");
    assert!(worst.found.contains("to-the-end"), "{worst:?}");
}

#[test]
fn a_hook_that_notifies_somebody_else_does_not_make_ours_ambiguous() {
    let mut cloud = sound();
    again(&mut cloud, 1);
    hooks_of(&mut cloud)[2].notifies = Some("arn:aws:sqs:::theirs".to_owned());
    let findings = judged(&cloud, "");
    assert!(findings.iter().all(|finding| finding.result == Result::Ok), "{findings:?}");
}

#[test]
fn heartbeats_carry_a_short_hook_and_a_port_of_its_own_is_told() {
    let mut cloud = sound();
    hooks_of(&mut cloud)[1].heartbeat_timeout = seconds(60);
    let findings = judged(&cloud, "");
    let time = findings.iter().find(|finding| finding.check == "hook.terminate-time").expect("it is listed");
    assert!(time.result == Result::Ok && time.found.contains("heartbeats every 20s"), "{time:?}");
    if let Ok(rows) = &mut target(&mut cloud).rows {
        rows[0].port = Some(8443);
    }
    let findings = judged(&cloud, "");
    let row = findings.iter().find(|finding| finding.check == "targets.health").expect("it is listed");
    assert_eq!(row.of.as_deref(), Some("web i-0abc:8443"));
    assert!(row.found.contains("a port of its own"), "{row:?}");
}

#[test]
fn what_is_not_known_is_skipped_and_what_leaves_may_drain() {
    let mut cloud = sound();
    let why = || "failed to call: AccessDenied".to_owned();
    (cloud.hooks, cloud.group, cloud.target_groups) = (Err(why()), Err(why()), Err(why()));
    let findings = judged(&cloud, "");
    assert!(
        findings.iter().all(|finding| matches!(finding.result, Result::Ok | Result::Skipped)),
        "{findings:?}"
    );
    let mut cloud = sound();
    cloud.member = Ok(Some(Member { group: "web".to_owned(), state: "Terminating:Wait".to_owned() }));
    state(&mut cloud, "draining", None);
    assert!(judged(&cloud, "").iter().all(|finding| finding.result == Result::Ok));
}

#[test]
fn money_is_said_in_cents_and_a_dear_period_is_warned_of() {
    let cases = [
        ("", "$0.74", Result::Ok),
        ("metrics.period = \"10s\"", "$2.93", Result::Warn),
        ("metrics.publish = [\"cpu\", \"memory\", \"disk\"]", "$1.34", Result::Warn),
    ];
    for (text, part, expected) in cases {
        let config = Config::parse(text, "test").expect("it is valid");
        let findings = metrics::judge(&config, None);
        let found = findings.iter().find(|finding| finding.found.contains(part)).expect("it is said");
        assert_eq!(found.result, expected, "{found:?}");
    }
    let mut status = crate::fake::board().snapshot();
    let config = Config::parse("", "test").expect("it is valid");
    assert_eq!(metrics::judge(&config, Some(&status))[1].result, Result::Ok);
    status.metrics.dropped = 1;
    assert_eq!(metrics::judge(&config, Some(&status))[1].result, Result::Warn);
}

fn judged(cloud: &Cloud, config: &str) -> Vec<Finding> {
    let config = Config::parse(config, "test").expect("it is valid");
    [hooks::judge(cloud, &config), balancing::judge(cloud, &config)].concat()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn sound() -> Cloud {
    let hook = |name: &str, hook: Hook, default: &str| HookInfo {
        heartbeat_timeout: seconds(1_200),
        global_timeout: seconds(120_000),
        default_result: default.to_owned(),
        ..HookInfo::guessed(name, hook)
    };
    let row = TargetRow {
        group: ARN.to_owned(),
        id: "i-0abc".to_owned(),
        port: Some(80),
        zone: None,
        state: "healthy".to_owned(),
        reason: None,
    };
    let settings = Settings {
        network: false,
        enabled: true,
        protocol: "HTTP".to_owned(),
        path: Some("/healthz".to_owned()),
        port: Some(80),
        interval: 10,
        timeout: 5,
        healthy: 2,
        unhealthy: 2,
        balancers: 1,
    };
    Cloud {
        member: Ok(Some(Member { group: "web".to_owned(), state: "InService".to_owned() })),
        name: Ok(("web".to_owned(), "by asking")),
        group: Ok(GroupFacts::default()),
        unlisted: false,
        hooks: Ok(vec![
            hook("to-service", Hook::Launch, "ABANDON"),
            hook("to-the-end", Hook::Terminate, "CONTINUE"),
        ]),
        target_groups: Ok(vec![TargetGroup {
            arn: ARN.to_owned(),
            settings: Ok(settings),
            attributes: Ok(Attributes { delay: 300, slow_start: 0 }),
            rows: Ok(vec![row]),
        }]),
        trials: vec![beat(Outcome::Allowed("answered"))],
    }
}

fn beat(outcome: Outcome) -> Trial {
    Trial { action: "autoscaling:RecordLifecycleActionHeartbeat", of: None, outcome }
}

fn group(cloud: &mut Cloud) -> &mut GroupFacts {
    cloud.group.as_mut().expect("a sound cloud has one")
}

fn hooks_of(cloud: &mut Cloud) -> &mut Vec<HookInfo> {
    cloud.hooks.as_mut().expect("a sound cloud has some")
}

fn again(cloud: &mut Cloud, at: usize) {
    let mut twin = hooks_of(cloud)[at].clone();
    twin.name += "-too";
    hooks_of(cloud).push(twin);
}

fn target(cloud: &mut Cloud) -> &mut TargetGroup {
    &mut cloud.target_groups.as_mut().expect("a sound cloud has some")[0]
}

fn settings(cloud: &mut Cloud) -> &mut Settings {
    target(cloud).settings.as_mut().expect("a sound cloud has them")
}

fn state(cloud: &mut Cloud, state: &str, reason: Option<&str>) {
    let rows = target(cloud).rows.as_mut().expect("a sound cloud has one");
    (rows[0].state, rows[0].reason) = (state.to_owned(), reason.map(str::to_owned));
}
