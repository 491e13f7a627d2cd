//! User data that fails: the instance never serves, the group is told once, and the status says why.

use kiln_tests::rehearsal::{parameter, rehearse};
use kiln_tests::starter::{Baked, baked};

#[test]
fn a_script_that_exits_3_abandons_the_launch_once() {
    let kept = baked();
    let folder = tempfile::tempdir().expect("make a temporary folder");
    // A folder of its own: the report of the shared image stays that of its good life.
    let image = folder.path().join("image");
    std::fs::create_dir(&image).expect("make the folder");
    for name in ["root.tar", "receipt.json"] {
        std::os::unix::fs::symlink(kept.image.join(name), image.join(name)).expect("link the image");
    }
    let baked = Baked { image, ..kept };
    let script = folder.path().join("user-data");
    std::fs::write(&script, "#!/bin/sh\necho the migration failed >&2\nexit 3\n").expect("write the script");

    let life = rehearse(&baked, Some(&script));
    assert_eq!(life.ended.code, Some(1), "{}", life.story());
    assert_eq!(life.report["verdict"], "broken");
    let completions = life.completions("Pending:Wait");
    assert_eq!(completions.len(), 1, "{}", life.story());
    assert_eq!(completions[0].1, "ABANDON");
    // The terminate hook's answer may have come by then: the group takes an abandoned instance out at once.
    let calls = life.requests("CompleteLifecycleAction").into_iter();
    let launch = calls.filter(|call| parameter(call, "LifecycleHookName") == "kiln-launch");
    assert_eq!(launch.count(), 1, "{}", life.story());

    let failed = life.snapshot("failed");
    assert_eq!(failed["readyz"], 503, "{failed:#}");
    assert_eq!(failed["healthz"], 503, "{failed:#}");
    let status = failed["status"].to_string();
    assert!(status.contains("bootstrap") && status.contains('3'), "the status does not say why: {status}");
    assert!(life.ended.stderr.contains("the migration failed"), "no journal in {}", life.ended.stderr);
}
