//! `[agent]`: the same keys as agent.toml, over all of them.

use super::*;
use std::os::unix::fs::PermissionsExt;

fn source(machine: &Machine) -> Source {
    Source::new(&machine.path("etc/kiln/agent.toml"), true, machine.root.path())
}

#[tokio::test]
async fn user_data_has_the_last_word_on_the_settings() {
    let machine = Machine::new();
    machine.write("etc/kiln/agent.toml", "[drain]\nmax = '1m'\nquiet = '2s'\n");
    machine.write("etc/kiln/agent.d/50.toml", "[drain]\nmax = '2m'\n");
    let document =
        "#kiln\n[agent]\ndrain.max = '90s'\n[[agent.health.check]]\nname = 'app'\ntcp = '127.0.0.1:80'\n";
    assert_eq!(machine.boot("i-0abc", document).await.outcome, Outcome::Ok);
    let config = source(&machine).load().expect("it is valid");
    assert_eq!((config.drain_max.as_secs(), config.quiet.as_secs(), config.checks.len()), (90, 2, 1));
    let left = std::fs::metadata(machine.path("run/kiln/agent.d/user-data-01.toml")).expect("it was written");
    assert_eq!(left.permissions().mode() & 0o777, 0o644, "the agent is not root");
    // Without the table it is as if it had never been.
    assert_eq!(machine.boot("i-0abc", "#kiln\n").await.outcome, Outcome::Ok);
    assert_eq!(source(&machine).load().expect("it is valid").drain_max.as_secs(), 120);
}

#[tokio::test]
async fn the_bound_of_scripts_may_come_with_them() {
    let machine = Machine::new();
    let message = format!(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\n\n{}\n--b\n\n#kiln\n[agent]\nbootstrap.timeout = '600ms'\n--b--\n",
        machine.script("sleep 1000")
    );
    let report = machine.boot("i-0abc", &message).await;
    assert_eq!((report.outcome, report.bound_ms), (Outcome::Failed, Some(600)), "{report:?}");
}

#[tokio::test]
async fn settings_that_are_not_valid_fail_with_their_place_and_leave_nothing() {
    let machine = Machine::new();
    let cases = [
        ("[agent]\ndrain.max = 5\n", "user-data:3:13: invalid type: integer"),
        ("[agent]\n[agent.drian]\n", "user-data:3:8: unknown field `drian`"),
        ("[agent]\ndrain.quiet = '1h'\n", "drain.quiet must be shorter than drain.max"),
    ];
    for (text, expected) in cases {
        let report = machine.boot("i-0abc", &machine.kiln(text)).await;
        assert!(report.outcome == Outcome::Failed && reason(&report).starts_with(expected), "{report:?}");
        assert!(!machine.path("run/kiln/agent.d").exists());
    }
}

#[tokio::test]
async fn a_script_that_breaks_the_settings_has_failed() {
    let machine = Machine::new();
    let script =
        machine.script("mkdir $ROOT/etc/kiln/agent.d; echo '[drian]' > $ROOT/etc/kiln/agent.d/50.toml");
    let report = machine.boot("i-0abc", &script).await;
    assert!(
        report.outcome == Outcome::Failed && reason(&report).contains("50.toml:1:2: unknown field"),
        "{report:?}"
    );
}

#[tokio::test]
async fn who_watches_asks_for_settings_once_the_parts_are_known_and_at_the_end() {
    let machine = Machine::new();
    let (events, mut heard) = tokio::sync::mpsc::channel(8);
    let root = machine.root.path().to_owned();
    machine.boot("i-0abc", "#kiln\n[agent]\ndrain.max = '90s'\n").await;
    let config = source(&machine).load().expect("it is valid");
    // The one that runs goes by other settings: it is replaced before its lifecycle hears of the end.
    watch(&root, crate::fake::board(), events.clone(), |_| config.drain_max.as_secs() == 90).await;
    assert!(heard.try_recv().is_err());
    // The next one goes by them.
    let next = tokio::spawn(async move { watch(&root, crate::fake::board(), events, |_| false).await });
    assert_eq!(heard.recv().await, Some(crate::lifecycle::Event::Bootstrapped { ok: true }));
    next.abort();
}

#[tokio::test]
async fn commands_see_the_variables_that_every_service_sees() {
    let machine = Machine::new();
    machine.write("etc/kiln/image.json", r#"{"services":[{"name":"shop"}]}"#);
    let document = machine.kiln(
        "[env]\nLOG_LEVEL = 'debug'\nPATH = '/tmp'\n[service.shop.env]\nONLY = 'here'\n\
         [[run]]\nname = 'a'\ncommand = 'echo $LOG_LEVEL $PATH $ONLY > $ROOT/log'\n",
    );
    let report = machine.boot("i-0abc", &document).await;
    assert_eq!(report.outcome, Outcome::Ok, "{report:?}");
    // What a command needs to be found is not the document's to change.
    assert_eq!(machine.log(), "debug /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n");
    assert!(
        machine.read("run/kiln/env/shop.env").contains("ONLY"),
        "{}",
        machine.read("run/kiln/env/shop.env")
    );
    // On each boot, since it lies in memory.
    machine.reboot("i-0abc");
    assert!(!machine.boot("i-0abc", &document).await.ran);
    assert!(machine.path("run/kiln/env/shop.env").exists());
}
