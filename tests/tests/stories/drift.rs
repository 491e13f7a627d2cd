//! A running instance, asked from outside what has drifted since its image was baked.

use kiln_stage::{Launch, Scene};
use kiln_tests::programs::{kiln_command, run};
use kiln_tests::starter::baked;
use kiln_tests::story::{Plan, inside, serving};
use serde_json::Value;
use std::io::{Seek as _, Write as _};

/// What a running instance must have as its image has it; state, logs and what a boot makes differ.
const MUST_NOT: &str = "packages,units,users,privileges,ports";

#[test]
fn what_somebody_did_to_an_instance_is_told_from_what_it_does_itself() {
    Plan::default().play(async |scene| {
        let id = serving(scene, Launch::default(), &[]).await;
        let (code, found) = compared(scene, &id).await;
        assert_eq!(code, Some(0), "an instance in service is still its image: {found:#}");
        assert!(found["files"].to_string().contains("/etc/ssh/ssh_host_"), "its own keys: {found:#}");

        let by_hand = "useradd --uid 0 --non-unique eve
            chmod u+s /usr/bin/find
            systemctl mask nginx.service
            echo 'server { listen 8081; return 204; }' > /etc/nginx/conf.d/back-door.conf
            dpkg --force-all --remove ca-certificates";
        inside(scene, &id, &["sh", "-c", by_hand]).await;
        let (code, found) = compared(scene, &id).await;
        assert_eq!(code, Some(1), "{found:#}");
        for (aspect, what) in [
            ("users", "eve"),
            ("privileges", "/usr/bin/find"),
            ("units", "nginx.service"),
            ("ports", "8081"),
            ("packages", "ca-certificates"),
            ("config", "back-door.conf"),
        ] {
            assert!(found[aspect].to_string().contains(what), "{aspect} without {what}: {found:#}");
        }
    });
}

/// The instance beside the image that it was launched from: the exit code, and what differs.
async fn compared(scene: &Scene, id: &str) -> (Option<i32>, Value) {
    let tar = scene.exec(id, &["tar", "-c", "--one-file-system", "-C", "/", "."]).await.expect("it ends");
    let mut root = tempfile::tempfile().expect("a file");
    root.write_all(&tar.stdout).and_then(|()| root.rewind()).expect("keep the instance's root");
    let image = baked().image;
    let diff = move || {
        let mut diff = kiln_command(["--json", "diff", "--fail-on", MUST_NOT]);
        run(diff.arg(image).arg("-").stdin(root))
    };
    let ended = tokio::task::spawn_blocking(diff).await.expect("it is compared");
    (ended.code, serde_json::from_str(&ended.stdout).expect("JSON on stdout"))
}
