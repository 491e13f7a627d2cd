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

/// Starts `kiln` and kills it as soon as a line of its progress contains `point`.
///
/// Says whether the point was reached before the program ended.
fn kill_at(arguments: &[&str], folder: &Path, mark: &str, point: &str) -> bool {
    let mut child = kiln_command(["--json"])
        .args(arguments)
        .current_dir(folder)
        .env(MARK, mark)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kiln starts");
    let progress = BufReader::new(child.stderr.take().expect("a pipe"));
    let reached = progress
        .lines()
        .map_while(Result::ok)
        .any(|line| line.contains(point));
    child.kill().expect("kill kiln");
    child.wait().expect("reap kiln");
    reached
}

#[test]
fn a_killed_bake_leaves_nothing_behind() {
    let folder = fresh();
    let app = folder.path().join("app");
    for point in ["frontend", "venv", "provision", "root.tar", "disk"] {
        let mark = format!("bake-{point}-{}", std::process::id());
        let story = Story::begin(&mark, &app);
        assert!(
            kill_at(&["bake"], &app, &mark, point),
            "the bake never came to `{point}`"
        );
        story
            .wait_until_clean(TEARDOWN)
            .unwrap_or_else(|left| panic!("killed at `{point}`:\n{left}"));
    }
    // And the next bake is not hindered by the dead ones.
    kiln_tests::starter::bake(&app);
}

#[test]
fn a_killed_rehearsal_leaves_nothing_behind() {
    let baked = baked();
    for point in ["Pending:Wait", "InService", "Terminating"] {
        let mark = format!("rehearse-{}-{}", point.replace(':', "-"), std::process::id());
        let story = Story::begin(&mark, &baked.app);
        let image = baked.image.to_str().expect("a UTF-8 path");
        assert!(
            kill_at(&["rehearse", image], &baked.app, &mark, point),
            "never came to `{point}`"
        );
        story
            .wait_until_clean(TEARDOWN)
            .unwrap_or_else(|left| panic!("killed at `{point}`:\n{left}"));
    }
}
