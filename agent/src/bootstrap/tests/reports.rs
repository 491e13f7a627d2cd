//! Word of a bootstrap: what it says while it runs, how much it asks, what it says without metadata.

use super::*;

#[tokio::test]
async fn a_report_is_where_the_agent_looks_and_tells_each_part() {
    let machine = Machine::new();
    let document = machine.kiln("[[run]]\nname = 'a'\ncommand = 'echo hello; sleep 0.05'\ntimeout = '1m'\n");
    let report = machine.boot("i-0abc", &document).await;
    assert_eq!(Report::read(machine.root.path()).as_ref(), Some(&report));
    assert_eq!((report.outcome, report.instance_id.as_deref()), (Outcome::Ok, Some("i-0abc")));
    let [part] = report.parts.as_slice() else { panic!("{report:?}") };
    assert_eq!((part.name.as_str(), part.step, part.exit_code), ("a", Step::Done, Some(0)));
    assert_eq!((part.output_bytes, report.bound_ms), (6, Some(60_000)));
    assert!(part.elapsed_ms >= 50 && report.elapsed_ms >= part.elapsed_ms, "{report:?}");
}

#[tokio::test]
async fn a_part_that_runs_is_seen_to_run() {
    let machine = Machine::new();
    let document = machine.kiln(
        "[[run]]\nname = 'a'\ncommand = 'touch $ROOT/up; while [ -e $ROOT/up ]; do sleep 0.02; done'\n",
    );
    let look = async {
        while !machine.path("up").exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let seen = Report::read(machine.root.path()).expect("a report");
        std::fs::remove_file(machine.path("up")).expect("it is there");
        seen
    };
    let (report, seen) = tokio::join!(machine.boot("i-0abc", &document), look);
    assert_eq!((seen.outcome, steps(&seen)), (Outcome::Running, vec![("a", Step::Running)]));
    assert!(report.progress > seen.progress && report.advanced >= seen.advanced);
}

#[tokio::test(start_paused = true)]
async fn printing_is_progress_at_a_bounded_rate() {
    let machine = Machine::new();
    let desk = Desk::new(machine.root.path()).expect("the root is ours");
    let mut seen = Vec::new();
    for _ in 0..9 {
        tokio::time::advance(Duration::from_secs(1)).await;
        desk.printed();
        desk.printed();
        seen.push(Report::read(machine.root.path()).expect("a report").progress);
    }
    assert_eq!(seen, [0, 0, 1, 1, 1, 2, 2, 2, 3]);
}

#[tokio::test]
async fn a_boot_asks_the_metadata_service_five_times_at_most() {
    let machine = Machine::new();
    let script = machine.script("true");
    let paths = |asked: Vec<Asked>| asked.into_iter().map(|asked| asked.path).collect::<Vec<_>>();
    let (_, first) = machine.boot_asked("i-0abc", &script).await;
    let expected = [
        "/latest/api/token",
        "/latest/meta-data/instance-id",
        "/latest/user-data",
        "/latest/meta-data/placement/region",
    ];
    assert_eq!(paths(first), expected);
    // With nothing left to run nobody hears the region.
    let (_, second) = machine.boot_asked("i-0abc", &script).await;
    assert_eq!(paths(second), expected[..3]);
}

#[tokio::test]
async fn an_instance_without_metadata_has_failed_and_not_hung() {
    let machine = Machine::new();
    let report = machine.run("http://127.0.0.1:1").await;
    assert_eq!(report.outcome, Outcome::Failed);
    assert!(reason(&report).contains("failed to ask the metadata service"), "{report:?}");
}

#[tokio::test]
async fn only_a_404_means_that_there_is_no_user_data() {
    for (status, expected) in [(404, Outcome::Ok), (503, Outcome::Failed), (403, Outcome::Failed)] {
        let fake = Fake::start(move |asked, _| match (asked.method.as_str(), asked.path.as_str()) {
            ("PUT", _) => (200, "a-token"),
            (_, "/latest/meta-data/instance-id") => (200, "i-0abc"),
            (_, "/latest/user-data") => (status, ""),
            _ => (404, ""),
        })
        .await;
        let machine = Machine::new();
        let report = machine.run(&fake.url).await;
        assert_eq!((report.outcome, report.ran), (expected, false), "{status}");
    }
}

#[tokio::test]
async fn a_region_that_is_nowhere_is_no_reason_to_fail() {
    let machine = Machine::new();
    let script = machine.script("echo \"${KILN_REGION-none}\" > $ROOT/log");
    let fake = Fake::start(move |asked, _| {
        metadata(asked, &[("meta-data/instance-id", "i-0abc"), ("user-data", &script)])
    })
    .await;
    let report = machine.run(&fake.url).await;
    assert_eq!((report.outcome, machine.log().as_str()), (Outcome::Ok, "none\n"));
}

#[tokio::test]
async fn the_lifecycle_is_told_of_each_end_and_of_no_beginning() {
    let machine = Machine::new();
    let (events, mut heard) = tokio::sync::mpsc::channel(8);
    let board = crate::fake::board();
    let root = machine.root.path().to_owned();
    let shown = board.clone();
    tokio::spawn(async move { watch(&root, shown, events, |_| false).await });
    let next = async |heard: &mut tokio::sync::mpsc::Receiver<crate::lifecycle::Event>| {
        tokio::time::timeout(Duration::from_secs(20), heard.recv())
            .await
            .expect("in time")
            .expect("it watches")
    };
    machine.boot("i-0abc", &machine.script("exit 3")).await;
    assert_eq!(next(&mut heard).await, crate::lifecycle::Event::Bootstrapped { ok: false });
    let failed = board.snapshot();
    assert_eq!(failed.failure_detail.as_deref(), Some("user data script exited with 3"));
    assert_eq!(failed.bootstrap.map(|report| report.exit_code), Some(Some(3)));
    machine.boot("i-0abc", &machine.script("exit 0")).await;
    assert_eq!(next(&mut heard).await, crate::lifecycle::Event::Bootstrapped { ok: true });
}
