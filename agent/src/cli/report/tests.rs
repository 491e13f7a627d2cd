//! The screen in five stories, and on the worst day.

use super::*;
use crate::board::{Cpu, Entry, MetricsRow};
use crate::lifecycle::{Notice, Verdict};

#[test]
fn an_instance_that_serves() {
    let status = serving();
    assert_screen(
        &status,
        "
         phase  serving since 01:12:05 UTC, for 2h
         ready  yes: serving
      instance  i-0abc of web, wanted in InService
   launch hook  completed
         check  shop passes in 4 ms
       metrics  CPU 12 %, 1440 datums sent, 6 waiting
      01:11:50  bootstrap succeeded
      01:12:05  phase is serving
      01:12:06  launch hook completed with CONTINUE
",
    );
}

#[test]
fn an_instance_that_warms_with_a_failing_check() {
    let mut status = serving();
    (status.phase, status.phase_seconds, status.ready) = (Phase::Warming, 48, false);
    status.deadline_seconds = Some(252);
    status.target_state = None;
    "waiting for checks: shop: answered 502 Bad Gateway".clone_into(&mut status.reason);
    status.hooks.insert("launch".to_owned(), HookStep::Idle);
    status.checks = vec![row("admin", Some(true), None), row("shop", None, Some("answered 502 Bad Gateway"))];
    status.timeline.truncate(1);
    assert_screen(
        &status,
        "
         phase  warming since 03:11:17 UTC, for 48s
         until  03:16:17 UTC, in 4m 12s: then the launch has failed
         ready  no: waiting for checks: shop: answered 502 Bad Gateway
   waiting for  1 of 2 checks
      instance  i-0abc of web, no target lifecycle state
         check  shop fails: answered 502 Bad Gateway
         check  admin passes in 4 ms
       metrics  CPU 12 %, 1440 datums sent, 6 waiting
      01:11:50  bootstrap succeeded
",
    );
}

#[test]
fn an_instance_that_drains_with_three_targets() {
    let status = draining();
    assert_screen(
        &status,
        "
         phase  draining since 03:10:50 UTC, for 1m 15s
         until  03:15:50 UTC, in 3m 45s: the drain is over by then
         ready  no: draining: notice from group
   waiting for  3 connections with work in flight, unchanged for 40s
      instance  i-0abc of web, wanted in Terminated
   launch hook  completed
terminate hook  watching for Terminating:Wait
       notices  group
        target  i-0abc:80 in web is draining (Target.DeregistrationInProgress)
        target  i-0abc:8443 in web is unhealthy (Target.FailedHealthChecks)
        target  10.0.0.7:80 in by-address is unused
         check  shop passes in 4 ms
       metrics  CPU 12 %, 1440 datums sent, 6 waiting
         error  targets: failed to call DeregisterTargets: Throttling: Rate exc…
      01:11:50  bootstrap succeeded
      01:12:05  phase is serving
      01:12:06  launch hook completed with CONTINUE
",
    );
}

#[test]
fn an_instance_that_is_drained_and_waits_for_the_hook() {
    let mut status = draining();
    (status.phase, status.phase_seconds, status.deadline_seconds) = (Phase::Drained, 31, None);
    (status.waiting_for, status.connections, status.advanced_seconds) = (None, Some(0), None);
    "drained: notice from group".clone_into(&mut status.reason);
    status.targets.truncate(1);
    status.errors.clear();
    status.hooks.insert("terminate".to_owned(), HookStep::Watched);
    assert_screen(
        &status,
        "
         phase  drained since 03:11:34 UTC, for 31s
         ready  no: drained: notice from group
   waiting for  the group, which drains its targets before its hook
      instance  i-0abc of web, wanted in Terminated
   launch hook  completed
terminate hook  watching for Terminating:Wait
       notices  group
        target  i-0abc:80 in web is draining (Target.DeregistrationInProgress)
         check  shop passes in 4 ms
       metrics  CPU 12 %, 1440 datums sent, 6 waiting
      01:11:50  bootstrap succeeded
      01:12:05  phase is serving
      01:12:06  launch hook completed with CONTINUE
",
    );
}

#[test]
fn an_operators_drain_says_how_it_ended_and_who_brings_it_back() {
    let mut status = draining();
    (status.phase, status.notices) = (Phase::Drained, vec![Notice::Operator]);
    status.drain_ended = Some(Ended::Overdue);
    status.hooks.insert("terminate".to_owned(), HookStep::Idle);
    let screen = text(&status, look());
    assert!(screen.contains("waiting for  a person: kiln-agent ready brings it back\n"), "{screen}");
    assert!(screen.contains("drain ended  at its deadline: "), "{screen}");
    let mut status = serving();
    status.rejoining = true;
    assert!(text(&status, look()).contains("waiting for  AWS, to take the targets back\n"));
}

#[test]
fn an_instance_whose_bootstrap_failed() {
    let mut status = serving();
    (status.phase, status.phase_seconds, status.ready) = (Phase::Bootstrapping, 90_000, false);
    (status.failure, status.deadline_seconds) = (Some(Failure::Bootstrap), Some(0));
    "bootstrap failed: user data ended with exit code 3".clone_into(&mut status.reason);
    status.hooks.insert("launch".to_owned(), HookStep::Asked(Verdict::Abandon));
    status.checks.clear();
    status.timeline.truncate(0);
    assert_screen(
        &status,
        "
         phase  bootstrapping since 2026-11-21 02:12:05 UTC, for 1day 1h
         ready  no: bootstrap failed: user data ended with exit code 3
   waiting for  a person, or the group: see journalctl -u kiln-bootstrap
      instance  i-0abc of web, wanted in InService
   launch hook  being completed with ABANDON
       metrics  CPU 12 %, 1440 datums sent, 6 waiting
",
    );
}

#[test]
fn the_worst_day_fits_one_screen() {
    let mut status = draining();
    let long = format!("line\nbreak \x1b[2J{}", "ü".repeat(500));
    for n in 0..40 {
        let target =
            TargetRow { group: long.clone(), reason: Some(long.clone()), ..status.targets[0].clone() };
        status.targets.push(target);
        status.checks.push(row(&format!("c{n}"), Some(false), Some(&long)));
        status.errors.insert(format!("part{n}"), long.clone());
        status.timeline.push_back(entry("03:00:00", &long));
    }
    for text in [&mut status.reason, status.instance_id.get_or_insert_default()] {
        text.clone_from(&long);
    }
    let text = text(&status, look());
    assert_eq!(text.lines().count(), SCREEN, "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
    assert!(!text.contains('\x1b'), "nothing from elsewhere moves the cursor");
    assert!(text.matches("\n      03:00:00  ").count() >= 3, "some of the timeline is left: {text}");
}

#[test]
fn colours_change_no_words_and_no_widths() {
    let status = draining();
    let coloured = text(&status, Look { colour: true, ..look() });
    assert!(coloured.contains("\x1b[31mtargets: failed"), "{coloured}");
    let mut plain = coloured;
    for code in ["\x1b[0m", "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m"] {
        plain = plain.replace(code, "");
    }
    assert_eq!(plain, text(&status, look()));
}

#[test]
fn long_times_are_cut_to_what_matters() {
    let cases = [
        (0, "0s"),
        (59, "59s"),
        (3599, "59m 59s"),
        (3661, "1h 1m"),
        (90_061, "1day 1h"),
        (864_000, "10days"),
    ];
    for (seconds, expected) in cases {
        assert_eq!(span(seconds), expected);
    }
}

fn assert_screen(status: &Status, expected: &str) {
    let text = text(status, look());
    assert_eq!(text, expected.trim_start_matches('\n'), "\n{text}");
    assert!(text.lines().count() <= SCREEN && text.lines().all(|line| line.chars().count() <= WIDTH));
}

fn look() -> Look {
    let now = humantime::parse_rfc3339("2026-11-22T03:12:05Z").expect("a time");
    Look { now, colour: false }
}

fn serving() -> Status {
    let mut status = crate::fake::board().snapshot();
    (status.phase, status.phase_seconds, status.ready) = (Phase::Serving, 7_200, true);
    "serving".clone_into(&mut status.reason);
    (status.instance_id, status.group) = (Some("i-0abc".to_owned()), Some("web".to_owned()));
    status.deadline_seconds = None;
    status.target_state = Some("InService".to_owned());
    status.hooks.insert("launch".to_owned(), HookStep::Settled(Settled::Completed));
    status.checks = vec![row("shop", Some(true), None)];
    let cpu = Cpu { utilization: 12.4, ..Cpu::default() };
    status.metrics = MetricsRow { cpu, backlog: 6, sent: 1440, ..MetricsRow::default() };
    status.timeline = [
        entry("01:11:50", "bootstrap succeeded"),
        entry("01:12:05", "phase is serving"),
        entry("01:12:06", "launch hook completed with CONTINUE"),
    ]
    .into();
    status
}

fn draining() -> Status {
    let mut status = serving();
    (status.phase, status.phase_seconds, status.ready) = (Phase::Draining, 75, false);
    status.deadline_seconds = Some(225);
    (status.waiting_for, status.connections) = (Some("connections".to_owned()), Some(3));
    status.advanced_seconds = Some(40);
    status.notices = vec![Notice::Group];
    "draining: notice from group".clone_into(&mut status.reason);
    status.target_state = Some("Terminated".to_owned());
    status.hooks.insert("terminate".to_owned(), HookStep::Watched);
    let arn = |name: &str| format!("arn:aws:elasticloadbalancing:eu-central-1:1:targetgroup/{name}/6d0ec");
    let target = |group: &str, id: &str, port, state: &str, reason: Option<&str>| TargetRow {
        group: arn(group),
        id: id.to_owned(),
        port: Some(port),
        zone: None,
        state: state.to_owned(),
        reason: reason.map(str::to_owned),
    };
    status.targets = vec![
        target("web", "i-0abc", 80, "draining", Some("Target.DeregistrationInProgress")),
        target("web", "i-0abc", 8443, "unhealthy", Some("Target.FailedHealthChecks")),
        target("by-address", "10.0.0.7", 80, "unused", None),
    ];
    let throttled = "failed to call DeregisterTargets: Throttling: Rate exceeded for this account";
    status.errors.insert("targets".to_owned(), throttled.to_owned());
    status
}

fn row(name: &str, healthy: Option<bool>, error: Option<&str>) -> CheckRow {
    CheckRow { name: name.to_owned(), healthy, error: error.map(str::to_owned), elapsed_ms: 4 }
}

fn entry(time: &str, what: &str) -> Entry {
    Entry { at: format!("2026-11-22T{time}Z"), what: what.to_owned() }
}
