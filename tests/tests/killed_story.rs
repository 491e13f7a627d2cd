//! SIGKILL in the middle of a story leaves no process, mount or namespace: whoever stops the tests has nothing to clean up.

use kiln_stage::Launch;
use kiln_stage::lifecycle::State;
use kiln_tests::leftovers::kill_at;
use kiln_tests::story::{BOOT, Plan, is_played, played};

#[test]
fn a_killed_story_leaves_nothing_behind() {
    // The story that is killed is this very test, started again in namespaces of its own.
    if is_played() {
        return Plan::default().play(async |scene| {
            let id = scene.launch(Launch::default(), &[]).await.expect("an instance boots");
            scene.reaches(&id, State::Terminated, BOOT).await.expect("killed before that");
        });
    }
    for point in ["Pending:Wait", "sends requests to"] {
        let scratch = tempfile::Builder::new().prefix("kiln-").tempdir().expect("make a scratch folder");
        let story = played("a_killed_story_leaves_nothing_behind", scratch.path());
        // The story, its balancer, and the first process of an instance that boots: a slow machine has no more by then.
        kill_at(story, scratch.path(), point, 3);
    }
}
