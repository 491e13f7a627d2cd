//! Two bakes of one digest at once: one builds, the other waits for it by name and takes what it built.

use kiln_tests::programs::{kiln_command, run};
use kiln_tests::starter::fresh;
use serde_json::Value;
use std::thread;

#[test]
fn of_two_bakes_of_one_digest_one_builds_and_the_other_takes_what_it_built() {
    let folder = fresh();
    let app = folder.path().join("app");
    let ended: Vec<_> = thread::scope(|scope| {
        let bake = || run(kiln_command(["--json", "bake"]).current_dir(&app)).expect_code(0);
        let both = [scope.spawn(bake), scope.spawn(bake)];
        both.map(|one| one.join().expect("a bake ends")).into()
    });
    let receipts: Vec<Value> = ended
        .iter()
        .map(|ended| serde_json::from_str(&ended.stdout).expect("stdout carries the receipt"))
        .collect();
    assert_eq!(receipts[0], receipts[1], "one image, one receipt");
    let waited =
        |text: &str| text.contains("waiting for kiln (process ") && text.contains("is built already");
    let waits = ended.iter().filter(|ended| waited(&ended.stderr)).count();
    assert_eq!(waits, 1, "one waits, by name:\n{}\n--\n{}", ended[0].stderr, ended[1].stderr);
    let images = std::fs::read_dir(app.join(".kiln/images")).expect("the images").count();
    assert_eq!(images, 1, "nothing half-built is left");
}
