//! What the machine shows, gathered from a fake and judged by table.

use super::*;
use crate::doctor::Result;
use crate::fake::Fake;

#[test]
fn memory_is_read_and_noise_is_none() {
    let text = "MemTotal:        2000 kB\nMemFree:           10 kB\nMemAvailable:     500 kB\n";
    assert_eq!(memory(text), Some(Room { free: 512_000, all: 2_048_000 }));
    for noise in [
        "",
        "MemTotal: x kB\nMemAvailable: 1 kB",
        "MemTotal:\nMemAvailable:",
        "MemAvailable: 99999999999999999999",
    ] {
        assert_eq!(memory(noise), None, "{noise}");
    }
}

#[test]
fn room_runs_out_in_two_steps() {
    for (free, expected) in
        [(100, Result::Ok), (10, Result::Ok), (9, Result::Warn), (2, Result::Warn), (1, Result::Fail)]
    {
        assert_eq!(room("disk.room", &Ok(Room { free, all: 100 }), "df").result, expected, "{free}");
    }
    assert_eq!(room("disk.room", &Err("no disk".to_owned()), "df").result, Result::Skipped);
    assert!(disk(Path::new("/")).is_ok_and(|room| room.free <= room.all));
}

#[test]
fn healthz_is_judged_with_what_the_agent_says() {
    let cases = [
        (Ok(200), Some(true), Result::Ok),
        (Ok(503), Some(false), Result::Warn),
        (Ok(503), Some(true), Result::Fail),
        (Ok(503), None, Result::Fail),
        (Ok(404), Some(true), Result::Fail),
        (Err("refused".to_owned()), Some(true), Result::Fail),
    ];
    for (answer, ready, expected) in cases {
        assert_eq!(healthz_of(&answer, ready).result, expected, "{answer:?} {ready:?}");
    }
}

#[test]
fn the_daemon_is_judged_by_its_own_word() {
    let mut status = crate::fake::board().snapshot();
    assert_eq!(daemon(&Ok(status.clone())).result, Result::Ok);
    status.errors.insert("metrics".to_owned(), "denied".to_owned());
    assert_eq!(daemon(&Ok(status.clone())).result, Result::Warn);
    (status.phase, status.ready) = (Phase::Serving, false);
    assert_eq!(daemon(&Ok(status.clone())).result, Result::Fail);
    "0.0.1".clone_into(&mut status.version);
    assert_eq!(daemon(&Ok(status)).result, Result::Warn);
    assert_eq!(daemon(&Err("refused".to_owned())).result, Result::Fail);
}

#[tokio::test]
async fn checks_ports_and_nginx_are_asked_side_by_side() {
    let page = "Active connections: 1 \nReading: 0 Writing: 1 Waiting: 0 \n";
    let fake = Fake::start(move |asked, _| match asked.path.as_str() {
        "/stub_status" => (200, page),
        "/good" | "/healthz" => (200, ""),
        _ => (500, ""),
    })
    .await;
    let text = format!(
        "drain.stub_status = \"{0}/stub_status\"\n[[health.check]]\nname = \"b\"\nhttp = \"{0}/bad\"\n\
         [[health.check]]\nname = \"a\"\nhttp = \"{0}/good\"\n",
        fake.url
    );
    let mut config = Config::parse(&text, "test").expect("it is valid");
    let local = gather(&config, Path::new("/")).await;
    let names: Vec<_> = local.checks.iter().map(|(name, answer)| (name.as_str(), answer.is_ok())).collect();
    assert_eq!(names, [("b", false), ("a", true)], "in the order of the configuration");
    assert_eq!(local.stub, Some(Ok(())));
    let port: u16 = fake.url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("it has a port");
    assert_eq!(ports(&config, &[port, port]).await, [(port, Ok(200))]);
    config.stub_status = Some(format!("{}/nothing", fake.url));
    assert!(gather(&config, Path::new("/")).await.stub.is_some_and(|stub| stub.is_err()));
}
