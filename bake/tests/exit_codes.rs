//! The program's own exit codes, as a pipeline sees them.

use std::process::{Command, Output};

fn kiln(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kiln"))
        .args(arguments)
        .env("KILN_CACHE", "/nonexistent")
        .output()
        .expect("kiln runs")
}

#[test]
fn each_kind_of_failure_has_its_code_and_leaves_stdout_empty() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let app = path("shop");
    assert_eq!(kiln(&["init", &app]).status.code(), Some(0));
    std::fs::create_dir(path("broken")).expect("a folder is made");
    std::fs::write(path("broken/kiln.toml"), "[image\n").expect("a manifest is written");
    let table: [(&[&str], i32); 7] = [
        (&["-C", &app, "check"], 0),
        (&["--nonsense"], 2),
        (&["init", &app], 2),
        (&["-C", &app, "rehearse", "abcdef"], 2),
        (&["-C", &app, "plan", "--agent", "/nonexistent"], 69),
        (&["-C", &path("broken"), "check"], 78),
        (&["-C", &path("nowhere"), "check"], 78),
    ];
    for (arguments, expected) in table {
        let output = kiln(arguments);
        assert_eq!(
            output.status.code(),
            Some(expected),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(output.stdout.is_empty(), expected != 0, "{arguments:?}");
    }
}

#[test]
fn json_puts_one_object_on_stdout_and_events_on_stderr() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let app = dir.path().join("shop").display().to_string();
    let output = kiln(&["--json", "init", &app]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("stdout is JSON");
    assert_eq!(answer["name"], "shop");
    let output = kiln(&["--json", "-C", &app, "plan", "--agent", "/nonexistent"]);
    let event: serde_json::Value = serde_json::from_slice(&output.stderr).expect("stderr is one JSON line");
    assert_eq!((&event["event"], &event["code"]), (&"error".into(), &69.into()));
}

#[test]
fn completions_name_the_commands() {
    let output = kiln(&["completions", "bash"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("rehearse"));
}
