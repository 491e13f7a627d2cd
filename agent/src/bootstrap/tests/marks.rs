//! Once per instance and per content, whatever happens in between.

use super::*;
use std::os::unix::fs::PermissionsExt;

#[tokio::test]
async fn a_script_runs_once_per_instance() {
    let machine = Machine::new();
    let script = machine.script("echo ran >> $ROOT/log");
    for (expected, step) in [(true, Step::Done), (false, Step::Earlier)] {
        let report = machine.boot("i-0abc", &script).await;
        assert_eq!((report.outcome, report.ran), (Outcome::Ok, expected));
        assert_eq!(steps(&report), [("script", step)]);
        machine.reboot("i-0abc");
    }
    assert_eq!(machine.log(), "ran\n");
}

#[tokio::test]
async fn marks_of_another_instance_mean_nothing() {
    let machine = Machine::new();
    let script = machine.script("echo ran >> $ROOT/log");
    assert!(machine.boot("i-0abc", &script).await.ran);
    assert!(machine.boot("i-0def", &script).await.ran, "the folder of an image's first life");
    // Even where they lie in this instance's folder.
    let mark = &machine.marks("i-0def")[0];
    let text = std::fs::read_to_string(mark).expect("a mark").replace("i-0def", "i-0abc");
    std::fs::write(mark, text).expect("it is ours");
    assert!(machine.boot("i-0def", &script).await.ran);
    assert_eq!(machine.log(), "ran\n".repeat(3));
}

#[tokio::test]
async fn a_mark_names_instance_boot_and_content() {
    let machine = Machine::new();
    machine.boot("i-0abc", &machine.script("true")).await;
    let text = std::fs::read_to_string(&machine.marks("i-0abc")[0]).expect("a mark");
    let mark: mark::Mark = serde_json::from_str(&text).expect("a mark is JSON");
    assert_eq!((mark.instance_id.as_str(), mark.state), ("i-0abc", mark::State::Ok));
    assert_eq!((mark.boot_id, mark.hash.len()), (crate::clock::boot_id(), 64));
}

#[tokio::test]
async fn new_content_runs_and_old_content_does_not() {
    let machine = Machine::new();
    let first = machine.kiln("[[run]]\nname = 'a'\ncommand = 'echo a >> $ROOT/log'\n");
    let both = format!("{first}{}", machine.kiln("[[run]]\nname = 'b'\ncommand = 'echo b >> $ROOT/log'\n"));
    machine.boot("i-0abc", &first).await;
    let report = machine.boot("i-0abc", &both).await;
    assert_eq!(steps(&report), [("a", Step::Earlier), ("b", Step::Done)]);
    // A bound is not content.
    let longer = both.replace("name = 'a'", "name = 'a'\ntimeout = '1m'");
    assert_eq!(steps(&machine.boot("i-0abc", &longer).await), [("a", Step::Earlier), ("b", Step::Earlier)]);
    let other = both.replace("echo a", "echo c");
    assert_eq!(steps(&machine.boot("i-0abc", &other).await), [("a", Step::Done), ("b", Step::Earlier)]);
    assert_eq!(machine.log(), "a\nb\nc\n");
}

#[tokio::test]
async fn a_part_whose_result_is_unknown_has_not_been_done() {
    let machine = Machine::new();
    let script = machine.script("echo ran >> $ROOT/log");
    machine.boot("i-0abc", &script).await;
    let mark = machine.marks("i-0abc").remove(0);
    let ok = std::fs::read_to_string(&mark).expect("a mark");
    // A power cut while it ran, a mark that makes no sense, no mark at all.
    for text in [ok.replace("\"ok\"", "\"begun\""), "{\"sta".to_owned(), String::new()] {
        std::fs::write(&mark, text).expect("it is ours");
        let report = machine.boot("i-0abc", &script).await;
        assert_eq!((report.outcome, report.ran), (Outcome::Ok, true));
    }
    std::fs::remove_file(&mark).expect("it is there");
    assert!(machine.boot("i-0abc", &script).await.ran);
    assert_eq!(machine.log(), "ran\n".repeat(5));
}

#[tokio::test]
async fn what_must_not_be_repeated_is_not_and_stays_failed() {
    let machine = Machine::new();
    let document = machine.kiln(
        "[[run]]\nname = 'seed'\ncommand = 'echo ran >> $ROOT/log; exit 3'\nrepeat = false\n\
         [[run]]\nname = 'after'\ncommand = 'true'\n",
    );
    let report = machine.boot("i-0abc", &document).await;
    assert_eq!((report.exit_code, reason(&report)), (Some(3), "run 'seed' exited with 3"));
    let mark = machine.marks("i-0abc").remove(0);
    let failed = std::fs::read_to_string(&mark).expect("a mark");
    let unknown = failed.replace("\"failed\"", "\"begun\"");
    let cases = [
        (
            failed,
            "has failed before and must not be repeated (repeat = false): run 'seed' exited with 3; remove",
        ),
        (unknown, "nobody knows how it ended, and it must not be repeated (repeat = false); remove"),
        ("damaged".to_owned(), "nobody knows how it ended"),
    ];
    for (text, expected) in cases {
        std::fs::write(&mark, text).expect("it is ours");
        let report = machine.boot("i-0abc", &document).await;
        assert!(report.outcome == Outcome::Failed && reason(&report).contains(expected), "{report:?}");
        assert_eq!(steps(&report), [("seed", Step::Failed), ("after", Step::Waiting)]);
    }
    assert_eq!(machine.log(), "ran\n");
}

#[tokio::test]
async fn a_failed_part_stays_failed_until_it_has_succeeded() {
    let machine = Machine::new();
    let script = machine.script("echo ran >> $ROOT/log; [ -e $ROOT/cure ]");
    for _ in 0..2 {
        let report = machine.boot("i-0abc", &script).await;
        assert_eq!(report.outcome, Outcome::Failed);
        assert_eq!(reason(&report), "user data script exited with 1");
        machine.reboot("i-0abc");
    }
    machine.write("cure", "");
    assert_eq!(machine.boot("i-0abc", &script).await.outcome, Outcome::Ok);
    assert!(!machine.boot("i-0abc", &script).await.ran);
    assert_eq!(machine.log(), "ran\n".repeat(3));
}

#[tokio::test]
async fn work_of_each_boot_is_done_once_on_each() {
    let machine = Machine::new();
    let document = machine.kiln(
        "[[run]]\nname = 'warm'\nevery = 'boot'\ncommand = 'echo warm >> $ROOT/log'\n\
         [[run]]\nname = 'once'\ncommand = 'echo once >> $ROOT/log'\n",
    );
    machine.boot("i-0abc", &document).await;
    // The unit was started again: it is the same boot, as it is after a hibernation.
    assert!(!machine.boot("i-0abc", &document).await.ran);
    assert_eq!(machine.log(), "warm\nonce\n");
    machine.reboot("i-0abc");
    let report = machine.boot("i-0abc", &document).await;
    assert_eq!(steps(&report), [("warm", Step::Done), ("once", Step::Earlier)]);
    assert_eq!(machine.log(), "warm\nonce\nwarm\n");
}

#[tokio::test]
async fn a_part_that_takes_the_machine_down_each_time_is_given_up() {
    let machine = Machine::new();
    let script = machine.script("echo ran >> $ROOT/log; exit 1");
    machine.systemd_says("stopping");
    for _ in 0..10 {
        let report = machine.boot("i-0abc", &script).await;
        assert_eq!(report.outcome, Outcome::Running, "{report:?}");
        machine.reboot("i-0abc");
    }
    let report = machine.boot("i-0abc", &script).await;
    assert_eq!(report.outcome, Outcome::Failed);
    assert!(reason(&report).contains("was begun 10 times and never came to an end"), "{report:?}");
    assert_eq!(machine.log(), "ran\n".repeat(10));
}

#[tokio::test]
async fn what_is_kept_is_kept_from_other_users() {
    let machine = Machine::new();
    machine.boot("i-0abc", &machine.script("echo hello")).await;
    let folder = machine.path("var/lib/kiln/instances/i-0abc");
    for (file, expected) in [("parts/script", 0o700), ("output/script.log", 0o600)] {
        let mode = std::fs::metadata(folder.join(file)).expect("it was written").permissions().mode();
        assert_eq!(mode & 0o777, expected, "{file}");
    }
    let mode = std::fs::metadata(&machine.marks("i-0abc")[0]).expect("it was written").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn the_work_is_on_the_disk_before_its_mark_says_so() {
    let machine = Machine::new();
    MARKS.set(machine.path("var/lib/kiln/instances/i-0abc/marks"));
    let document = machine.kiln(
        "[[run]]\nname = 'warm'\nevery = 'boot'\ncommand = 'true'\n[[run]]\nname = 'once'\ncommand = 'true'\n",
    );
    machine.boot("i-0abc", &document).await;
    // What runs on each boot anyway needs no such wait.
    let seen = AT_SYNC.take();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(seen[0].contains("\"begun\"") && seen[0].matches("\"ok\"").count() == 1, "{seen:?}");
}
