//! What is said while no daemon answers.

use super::*;
use crate::clock::Moment;
use crate::lifecycle::{Event, Hook, Lifecycle, Notice, Policy, Settled};

#[tokio::test]
async fn a_drain_that_a_dead_agent_left_is_told_with_its_deadline() {
    let root = tempfile::tempdir().expect("a folder for the state");
    let began = Clock::system().now().before(Duration::from_secs(20));
    let mut life = Lifecycle::new(Policy { drain_max: Duration::from_mins(5), ..Policy::default() }, began);
    life.handle(Event::Bootstrapped { ok: true }, began);
    life.handle(Event::Healthy, began);
    life.handle(Event::HookSettled { hook: Hook::Launch, settled: Settled::Completed }, began);
    life.handle(Event::Notice { notice: Notice::Group, deadline: None }, began);
    State::new(root.path()).write(&life).expect("the folder is ours");
    report(root.path(), r#""ok","reason":null,"instance_id":"i-0abc""#);

    let text = left_behind(root.path(), &silence(), plain());
    for part in [
        "agent  does not answer\n           why  failed to connect to 127.0.0.1:9180: Connection refused\n",
        "phase  draining since ",
        ": the drain is over by then\n",
        "instance  i-0abc,",
        "launch hook  completed",
        "terminate hook  watching for Terminating:Wait",
        "bootstrap  succeeded in 2100 ms at 2026-11-22T03:00:00Z",
        "remedy  systemctl status kiln-agent; journalctl -u kiln-agent -e",
        "systemctl start kiln-agent: goes on with this drain",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(text.lines().count() <= report::SCREEN, "{text}");
}

#[tokio::test]
async fn a_life_that_served_is_not_called_ready() {
    let root = tempfile::tempdir().expect("a folder for the state");
    let mut life = Lifecycle::new(Policy::default(), Moment::default());
    life.handle(Event::Bootstrapped { ok: true }, Moment::default());
    life.handle(Event::Healthy, Moment::default());
    State::new(root.path()).write(&life).expect("the folder is ours");
    let text = left_behind(root.path(), &silence(), plain());
    assert!(text.contains("ready  no: unknown: nobody asks the checks"), "{text}");
    assert!(!text.contains("until"), "{text}");
}

#[tokio::test]
async fn no_file_a_broken_one_and_a_failed_bootstrap_are_told_apart() {
    let root = tempfile::tempdir().expect("a folder for the state");
    let text = left_behind(root.path(), &silence(), plain());
    assert!(text.contains("last known  nothing: no agent has run since this boot"), "{text}");
    assert!(text.contains("bootstrap  has not begun in this boot"), "{text}");

    report(root.path(), r#""failed","reason":"user data ended with exit code 3","instance_id":null"#);
    let state = root.path().join(crate::state::PATH);
    std::fs::create_dir_all(state.parent().expect("it has a folder")).expect("the folder is ours");
    std::fs::write(state, "{\"boot_id\":").expect("the folder is ours");
    let text = left_behind(root.path(), &silence(), plain());
    assert!(text.contains("last known  the state file cannot be read: "), "{text}");
    assert!(text.contains("bootstrap  failed at 2026-11-22T03:00:00Z: user data ended with exit"), "{text}");
}

fn silence() -> Error {
    Error::Connect("127.0.0.1:9180".to_owned(), "Connection refused".to_owned())
}

fn plain() -> Look {
    Look { now: SystemTime::now(), colour: false }
}

fn report(root: &Path, outcome: &str) {
    let path = root.join(crate::bootstrap::PATH);
    std::fs::create_dir_all(path.parent().expect("it has a folder")).expect("the folder is ours");
    let rest = r#""ran":true,"exit_code":null,"started":"2026-11-22T03:00:00Z","elapsed_ms":2100"#;
    std::fs::write(path, format!("{{\"outcome\":{outcome},{rest}}}")).expect("the folder is ours");
}
