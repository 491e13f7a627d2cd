//! SIGKILL in the middle of a story leaves no process, mount or namespace: whoever stops the tests has nothing to clean up.

use kiln_stage::Launch;
use kiln_stage::lifecycle::State;
use kiln_tests::leftovers::{MARK, Story};
use kiln_tests::story::{BOOT, Plan, played};
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

/// The kernel needs moments to end a process namespace and its mounts; this only ends a test that failed.
const TEARDOWN: Duration = Duration::from_secs(20);

#[test]
#[ignore = "played by the test that kills it"]
fn a_story_that_is_killed() {
    Plan::default().play(async |scene| {
        let id = scene.launch(Launch::default(), &[]).await.expect("an instance boots");
        scene.reaches(&id, State::Terminated, BOOT).await.expect("killed before that");
    });
}

#[test]
fn a_killed_story_leaves_nothing_behind() {
    for point in ["Pending:Wait", "sends requests to"] {
        let scratch = tempfile::Builder::new().prefix("kiln-").tempdir().expect("make a scratch folder");
        let mark = format!("story-{}-{}", point.replace([':', ' '], "-"), std::process::id());
        let story = Story::begin(&mark, scratch.path());
        let mut child = played("a_story_that_is_killed", scratch.path())
            .env(MARK, &mark)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the story starts");
        let told = BufReader::new(child.stderr.take().expect("a pipe"));
        let reached = told.lines().map_while(Result::ok).any(|line| line.contains(point));
        let seen = story.look();
        child.kill().expect("kill the story");
        child.wait().expect("reap the story");
        assert!(reached, "never came to `{point}`");
        // Else the look would find nothing afterwards either, whatever was there.
        assert!(seen.len() > 10, "a running instance went unseen: {seen:#?}");
        story.wait_until_clean(TEARDOWN).unwrap_or_else(|left| panic!("killed at `{point}`:\n{left}"));
    }
}
