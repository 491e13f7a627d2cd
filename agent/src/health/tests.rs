//! Thresholds, the whole, and the four probes.

use super::*;
use crate::config::Probe;
use crate::fake::Fake;

#[test]
fn a_check_turns_after_enough_answers_in_a_row() {
    let (pass, fail) = (true, false);
    let story = [
        (pass, None),
        (pass, Some(true)),
        (fail, Some(true)),
        (fail, Some(true)),
        (pass, Some(true)),
        (fail, Some(true)),
        (fail, Some(true)),
        (fail, Some(false)),
        (pass, Some(false)),
        (pass, Some(true)),
    ];
    let mut threshold = Threshold::new(2, 3);
    for (at, (answer, expected)) in story.into_iter().enumerate() {
        assert_eq!(threshold.count(answer), expected, "answer {at}");
    }
}

#[test]
fn the_whole_is_as_good_as_its_worst_part() {
    assert_eq!(whole([]), Some(true));
    assert_eq!(whole([Some(true), Some(true)]), Some(true));
    assert_eq!(whole([Some(true), None]), None);
    assert_eq!(whole([None, Some(false), Some(true)]), Some(false));
}

#[tokio::test]
async fn each_probe_tells_good_from_bad() {
    let fake = Fake::start(|asked, _| match asked.path.as_str() {
        "/good" => (204, String::new()),
        "/moved" => (302, String::new()),
        _ => (503, String::new()),
    })
    .await;
    let folder = tempfile::tempdir().expect("a folder for a socket");
    let socket = folder.path().join("app.sock");
    let _listener = tokio::net::UnixListener::bind(&socket).expect("a fresh path");
    let address = fake.url.trim_start_matches("http://").to_owned();
    let command = |argv: &[&str]| Probe::Command(argv.iter().map(|word| (*word).to_owned()).collect());
    let cases = [
        (Probe::Http(format!("{}/good", fake.url)), ""),
        (Probe::Http(format!("{}/moved", fake.url)), ""),
        (Probe::Http(format!("{}/bad", fake.url)), "answered 503 Service Unavailable"),
        (Probe::Unix(socket), ""),
        (Probe::Unix(folder.path().join("none.sock")), "failed to connect to"),
        (Probe::Tcp(address), ""),
        (Probe::Tcp("127.0.0.1:1".to_owned()), "failed to connect to 127.0.0.1:1"),
        (command(&["true"]), ""),
        (command(&["false"]), "false ended with exit status: 1"),
        (command(&["/nonexistent"]), "failed to run /nonexistent"),
        (command(&["sleep", "60"]), "no answer within 500ms"),
    ];
    for (probe, expected) in cases {
        let answer = probe::ask(&probe, Duration::from_millis(500)).await;
        match answer {
            Ok(()) => assert_eq!(expected, "", "{probe:?}"),
            Err(error) => assert!(!expected.is_empty() && error.contains(expected), "{probe:?}: {error}"),
        }
    }
}

#[tokio::test]
async fn a_command_that_hangs_is_killed_with_all_it_started() {
    let folder = tempfile::tempdir().expect("a folder for the ids");
    let ids = folder.path().join("ids");
    // The shell, a child of it, and a grandchild that has let go of its parent.
    let script =
        format!("echo $$ >{0}; sleep 61 & echo $! >>{0}; (sleep 62 & echo $! >>{0}); wait", ids.display());
    let probe = Probe::Command(["sh", "-c", &script].map(str::to_owned).to_vec());
    let answer = probe::ask(&probe, Duration::from_secs(1)).await;
    assert_eq!(answer, Err("no answer within 1s".to_owned()));
    let ids = std::fs::read_to_string(&ids).expect("the script has begun");
    assert_eq!(ids.lines().count(), 3, "{ids}");
    for id in ids.lines() {
        // Dead, and maybe not yet buried: an orphan's new parent takes its time.
        while std::fs::read_to_string(format!("/proc/{id}/stat"))
            .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
        {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_command_is_taken_before_the_agent_when_memory_runs_out() {
    let folder = tempfile::tempdir().expect("a folder for the score");
    let score = folder.path().join("score");
    let script =
        format!("until [ \"$(cat /proc/self/oom_score_adj)\" = 0 ]; do :; done; echo 0 >{}", score.display());
    let probe = Probe::Command(["sh", "-c", &script].map(str::to_owned).to_vec());
    assert_eq!(probe::ask(&probe, Duration::from_secs(10)).await, Ok(()));
    assert_eq!(std::fs::read_to_string(&score).expect("the script ended"), "0\n");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_hangs_is_unhealthy_in_time_and_heard_of_once() {
    // It accepts, and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let address = silent.local_addr().expect("it is bound");
    let text = format!(
        "[health]\nunready_after = 3\n[[health.check]]\nname = \"app\"\nhttp = \"http://{address}/\"\ntimeout = \"2s\"\n"
    );
    let (mut heard, board) = watched(&text);
    let before = Instant::now();
    assert_eq!(heard.recv().await, Some(Event::Unhealthy));
    // Three answers that do not come, and two eager pauses with their jitter.
    assert!((6.9..=7.2).contains(&before.elapsed().as_secs_f64()), "{:?}", before.elapsed());
    let error = board.snapshot().checks[0].error.clone();
    assert!(error.is_some_and(|error| error.contains("no answer from") && error.contains("within 2s")));
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert!(heard.try_recv().is_err(), "nothing has turned since");
}

#[tokio::test]
async fn a_service_that_flaps_is_neither_taken_in_nor_thrown_out() {
    for (ready_after, expected) in [(2, None), (1, Some(Event::Healthy))] {
        let fake = Fake::start(|_, number| (if number % 2 == 0 { 200 } else { 500 }, String::new())).await;
        let (mut heard, board) = watched(&format!(
            "[health]\nready_after = {ready_after}\nunready_after = 2\n[[health.check]]\nname = \"app\"\nhttp = \"{}/\"\nevery = \"2ms\"\n",
            fake.url
        ));
        while fake.asked().len() < 40 {
            tokio::task::yield_now().await;
        }
        // Never two failures in a row, and at most one turn: the first pass, where one is enough.
        assert_eq!(heard.try_recv().ok(), expected);
        assert!(heard.try_recv().is_err());
        assert_eq!(board.snapshot().checks[0].healthy, expected.map(|_| true));
    }
}

#[tokio::test(start_paused = true)]
async fn checks_of_one_period_are_not_asked_in_step() {
    let fake = Fake::start(|_, _| (200, String::new())).await;
    let check = |name: &str| {
        format!("[[health.check]]\nname = \"{name}\"\nhttp = \"{}/{name}\"\nevery = \"10s\"\n", fake.url)
    };
    let (mut heard, _) = watched(&format!("{}{}", check("a"), check("b")));
    assert_eq!(heard.recv().await, Some(Event::Healthy));
    let before = Instant::now();
    let mut times = std::collections::BTreeMap::<String, Vec<u128>>::new();
    let mut seen = fake.asked().len();
    while times.values().map(Vec::len).sum::<usize>() < 20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        for asked in fake.asked().into_iter().skip(seen) {
            times.entry(asked.path).or_default().push(before.elapsed().as_millis());
            seen += 1;
        }
    }
    let (a, b) = (&times["/a"], &times["/b"]);
    assert!(a.iter().zip(b).any(|(a, b)| a.abs_diff(*b) > 50), "{a:?} {b:?}");
    let pauses = a.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(
        pauses.clone().all(|pause| (8_900..=11_100).contains(&pause)),
        "{:?}",
        pauses.collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn the_lifecycle_hears_of_the_turns_only() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    let good = Arc::new(AtomicBool::new(true));
    let served = good.clone();
    let fake =
        Fake::start(move |_, _| (if served.load(Ordering::Relaxed) { 200 } else { 500 }, String::new()))
            .await;
    let text = format!(
        "[health]\nunready_after = 2\n[[health.check]]\nname = \"app\"\nhttp = \"{}/\"\nevery = \"5ms\"\n",
        fake.url
    );
    let (mut heard, _) = watched(&text);
    assert_eq!(heard.recv().await, Some(Event::Healthy));
    good.store(false, Ordering::Relaxed);
    assert_eq!(heard.recv().await, Some(Event::Unhealthy));
    good.store(true, Ordering::Relaxed);
    assert_eq!(heard.recv().await, Some(Event::Healthy));
}

/// Watches the checks of a configuration: what the lifecycle hears, and the board.
fn watched(text: &str) -> (mpsc::Receiver<Event>, Board) {
    let config = Config::parse(text, "test").expect("a valid configuration");
    let (board, (events, heard)) = (crate::fake::board(), mpsc::channel(8));
    tokio::spawn(watch(config, board.clone(), events));
    (heard, board)
}
