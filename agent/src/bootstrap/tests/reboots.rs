//! The machine goes down in the middle: by the script's own hand, or by another's.

use super::*;

const BOTH: &str = "[[run]]\nname = 'first'\ncommand = 'echo first >> $ROOT/log'\n\
                    [[run]]\nname = 'second'\ncommand = 'echo second >> $ROOT/log'\n";

#[tokio::test]
async fn a_script_that_asks_for_a_reboot_and_ends_is_done_and_the_rest_follows_it() {
    let machine = Machine::new();
    let document = machine.kiln(BOTH);
    machine.systemd_says("stopping");
    let report = machine.boot("i-0abc", &document).await;
    // Neither done nor failed: the group must not hear of it.
    assert_eq!(report.outcome, Outcome::Running);
    assert_eq!(steps(&report), [("first", Step::Done), ("second", Step::Waiting)]);
    machine.reboot("i-0abc");
    machine.systemd_says("starting");
    let report = machine.boot("i-0abc", &document).await;
    assert_eq!(report.outcome, Outcome::Ok);
    assert_eq!(steps(&report), [("first", Step::Earlier), ("second", Step::Done)]);
    assert_eq!(machine.log(), "first\nsecond\n");
}

#[tokio::test]
async fn a_reboot_asked_for_at_the_very_end_is_waited_for_before_the_instance_serves() {
    let machine = Machine::new();
    let script = machine.script("echo ran >> $ROOT/log");
    machine.systemd_says("stopping");
    assert_eq!(machine.boot("i-0abc", &script).await.outcome, Outcome::Running);
    machine.systemd_says("starting");
    let report = machine.boot("i-0abc", &script).await;
    assert_eq!((report.outcome, report.ran), (Outcome::Ok, false));
}

#[tokio::test]
async fn a_part_that_fails_while_the_machine_goes_down_has_not_failed() {
    let machine = Machine::new();
    let script = machine.script("echo ran >> $ROOT/log; [ -e $ROOT/second ]");
    machine.systemd_says("stopping");
    let report = machine.boot("i-0abc", &script).await;
    assert_eq!(report.outcome, Outcome::Running);
    assert!(
        reason(&report).starts_with("cut off by the end of this boot: user data script goes on"),
        "{report:?}"
    );
    machine.systemd_says("degraded");
    machine.write("second", "");
    assert_eq!(machine.boot("i-0abc", &script).await.outcome, Outcome::Ok);
    assert_eq!(machine.log(), "ran\nran\n");
}

#[tokio::test]
async fn systemd_that_does_not_answer_holds_nothing_up() {
    let machine = Machine::new();
    std::fs::create_dir_all(machine.path("run/systemd/system")).expect("a fresh folder");
    let report = machine.boot("i-0abc", &machine.script("true")).await;
    assert_eq!(report.outcome, Outcome::Ok, "no systemctl at all");
}

#[tokio::test]
async fn a_part_that_is_told_to_end_may_end_by_itself_and_the_next_does_not_begin() {
    let machine = Machine::new();
    let document = machine.kiln(
        "[[run]]\nname = 'first'\ncommand = 'touch $ROOT/up; while [ -e $ROOT/up ]; do sleep 0.02; done'\n\
         [[run]]\nname = 'second'\ncommand = 'echo second >> $ROOT/log'\n",
    );
    let stop = async {
        while !machine.path("up").exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        machine.halt.send(true).expect("bootstrap listens");
        std::fs::remove_file(machine.path("up")).expect("it is there");
    };
    let (report, ()) = tokio::join!(machine.boot("i-0abc", &document), stop);
    assert_eq!(report.outcome, Outcome::Running);
    assert_eq!(steps(&report), [("first", Step::Done), ("second", Step::Waiting)]);
    assert_eq!(machine.log(), "");
}

#[tokio::test]
async fn a_machine_that_goes_down_does_not_wait_for_metadata() {
    let machine = Machine::new();
    machine.halt.send_replace(true);
    let report = machine.run("http://127.0.0.1:1").await;
    assert_eq!((report.outcome, report.ran), (Outcome::Running, false));
    assert!(reason(&report).contains("instance-id goes on"), "{report:?}");
}
