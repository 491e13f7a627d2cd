//! What a person at a terminal sees of a bake: the steps at work, with numbers, and in the end a line of each.

use kiln_tests::programs;
use kiln_tests::starter::{baked, fresh};
use std::num::NonZero;

const ROWS: NonZero<u16> = NonZero::new(50).unwrap();
const COLUMNS: NonZero<u16> = NonZero::new(120).unwrap();
/// Bytes between two looks at the screen.
const LOOK_EVERY: usize = 64;

#[test]
fn a_step_is_live_with_numbers_and_leaves_one_line() {
    // Whose base it takes, and whose steps it has.
    let steps = baked().receipt["steps"].as_array().cloned().expect("the receipt lists the steps");
    assert!(!steps.is_empty());
    let folder = fresh();
    let app = folder.path().join("app");

    let line = format!("stty rows {ROWS} cols {COLUMNS}; exec {} bake", programs::kiln().display());
    let mut script = programs::unconfigured("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]).current_dir(&app);
    let shown = script.env("TERM", "xterm").output().expect("a terminal");
    let mut terminal = vt100::Parser::new(ROWS, COLUMNS, 0);
    let screens: Vec<Vec<String>> = shown
        .stdout
        .chunks(LOOK_EVERY)
        .map(|bytes| {
            terminal.process(bytes);
            let lines = terminal.screen().rows(0, COLUMNS.get()).map(|line| line.trim_end().to_owned());
            lines.filter(|line| !line.is_empty()).collect()
        })
        .collect();
    let last = screens.last().expect("it says something");
    assert!(shown.status.success(), "{}", last.join("\n"));

    assert!(
        screens.iter().any(|screen| works(screen, "disk.raw", " of 2.00 GiB")),
        "no bytes of the disk: {}",
        last.join("\n")
    );
    let both = |screen: &Vec<String>| works(screen, "root.tar", " of ") && works(screen, "disk.raw", "");
    assert!(screens.iter().any(both), "not side by side: {}", last.join("\n"));

    for step in &steps {
        let step = step["step"].as_str().expect("its name");
        let lines: Vec<_> = last
            .iter()
            .filter(|line| line.starts_with('[') && line.contains(&format!("] {step} ")))
            .collect();
        assert!(matches!(lines[..], [line] if line.contains(" in ")), "{step}: {}", last.join("\n"));
    }
    let whole = last.last().expect("it says something");
    assert!(whole.starts_with("baked     in "), "{whole}");
}

/// Whether a screen shows a step at work, with these words.
fn works(screen: &[String], step: &str, words: &str) -> bool {
    screen.iter().any(|line| line.contains(step) && line.contains(words) && !line.contains("done"))
}
