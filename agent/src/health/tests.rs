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
    let config = Config::parse(&text, "test").expect("a valid configuration");
    let life = crate::lifecycle::Lifecycle::new(config.policy(), crate::clock::Moment::default());
    let (events, mut heard) = mpsc::channel(8);
    tokio::spawn(watch(config, Board::new(&life), events));
    assert_eq!(heard.recv().await, Some(Event::Healthy));
    good.store(false, Ordering::Relaxed);
    assert_eq!(heard.recv().await, Some(Event::Unhealthy));
    good.store(true, Ordering::Relaxed);
    assert_eq!(heard.recv().await, Some(Event::Healthy));
}
