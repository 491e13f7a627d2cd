//! SIGKILL at several points of a bake and of a rehearsal leaves no mount, loop device, namespace or process.

use kiln_tests::leftovers::{MARK, Story};
use kiln_tests::programs::kiln_command;
use kiln_tests::starter::{baked, fresh};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// The kernel needs moments to end a process namespace and its mounts; this only ends a test that failed.
const TEARDOWN: Duration = Duration::from_secs(20);

/// Starts `kiln` and kills it as soon as a line of its progress contains `point`; then looks until nothing is left.
fn kill_at(arguments: &[&str], folder: &Path, point: &str) {
    let mark = format!("{}-{}-{}", arguments[0], point.replace(':', "-"), std::process::id());
    let story = Story::begin(&mark, folder);
    let mut child = kiln_command(["--json", "--verbose"])
        .args(arguments)
        .current_dir(folder)
        .env(MARK, &mark)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kiln starts");
    let progress = BufReader::new(child.stderr.take().expect("a pipe"));
    let reached = progress.lines().map_while(Result::ok).any(|line| line.contains(point));
    let seen = story.look();
    child.kill().expect("kill kiln");
    child.wait().expect("reap kiln");
    assert!(reached, "never came to `{point}`");
    // Else the look would find nothing afterwards either, whatever was there.
    assert!(!seen.is_empty(), "a running kiln went unseen at `{point}`");
    story.wait_until_clean(TEARDOWN).unwrap_or_else(|left| panic!("killed at `{point}`:\n{left}"));
}

#[test]
fn a_killed_bake_leaves_nothing_behind() {
    let folder = fresh();
    let app = folder.path().join("app");
    // A frontend that no cache knows: the second kill comes when the build tool has started.
    let css = app.join("frontend/src/index.css");
    let rules = std::fs::read_to_string(&css).expect("the starter's style sheet");
    std::fs::write(&css, format!("{rules}\n/* {} */\n", std::process::id())).expect("change the style sheet");
    for point in ["frontend", "vite build", "provision", "root.tar", "disk"] {
        kill_at(&["bake"], &app, point);
    }
    // And the next bake is not hindered by the dead ones.
    kiln_tests::starter::bake(&app);
}

#[test]
fn a_killed_rehearsal_leaves_nothing_behind() {
    let baked = baked();
    let image = baked.image.to_str().expect("a UTF-8 path");
    for point in ["Pending:Wait", "InService", "Terminating"] {
        kill_at(&["rehearse", image], &baked.app, point);
    }
}
