//! User data in a real boot: every format at once, floods, daemons, and a script that never ends.

use flate2::{Compression, write::GzEncoder};
use kiln_stage::lifecycle::{ActionResult, Event, State, Transition};
use kiln_stage::{Launch, hook};
use kiln_tests::story::{BOOT, Plan, agent, inside, serving};
use kiln_tests::told::{completed_once, no_request_failed, of};
use std::io::Write;
use std::time::Duration;

/// EC2 user guide: user data is at most 16 KiB before it is encoded for the API.
const LIMIT: usize = 16 * 1024;

const KILN: &str = r#"#kiln
[[file]]
path = "/etc/shop/feature.json"
content = '{"beta":true}'
mode = "0640"
[[run]]
name = "sees-the-file"
command = ["sh", "-c", "cp /etc/shop/feature.json /var/seen && id -un >/var/as && umask >>/var/as"]
[[run]]
name = "each-boot"
command = ["sh", "-c", "id -un >/tmp/each-boot"]
every = "boot"
user = "nobody"
[agent]
drain.max = "77s"
"#;

const CLOUD_CONFIG: &str = "#cloud-config
hostname: till-1
write_files:
  - path: /etc/till.conf
    permissions: '0600'
    content: |
      open = true
bootcmd:
  - echo bootcmd >>/var/order
runcmd:
  - echo runcmd >>/var/order
  - [sh, -c, 'test -e /etc/till.conf && echo list >>/var/order']
";

/// As `cloud-init devel make-mime` writes it.
fn multipart(parts: &[(&str, &str)]) -> String {
    let mut text =
        "Content-Type: multipart/mixed; boundary=\"===============1234==\"\nMIME-Version: 1.0\n\n".to_owned();
    for (kind, body) in parts {
        let part = format!(
            "--===============1234==\nContent-Type: text/{kind}; charset=\"utf-8\"\nMIME-Version: 1.0\nContent-Transfer-Encoding: 7bit\n\n{body}\n"
        );
        text.push_str(&part);
    }
    text + "--===============1234==--\n"
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text.as_bytes()).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// A script that, with the other parts, fills 16 KiB of gzip to the last bytes that fit.
fn filled() -> Vec<u8> {
    let script = "#!/bin/sh\necho script >>/var/order\nwc -c <\"$0\" >/var/size\n: <<'FILL'\n";
    let mut fill = String::new();
    let mut state = 1_u64;
    let whole = |fill: &str| {
        let script = format!("{script}{fill}FILL\n");
        let parts = [("x-kiln", KILN), ("cloud-config", CLOUD_CONFIG), ("x-shellscript", script.as_str())];
        gzip(&multipart(&parts))
    };
    let mut last = whole("");
    loop {
        for _ in 0..8 {
            // Knuth's generator: noise that no gzip makes smaller, and the same each time.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let noise = format!("{:016x}\n", state ^ (state >> 29));
            fill.push_str(&noise);
        }
        let next = whole(&fill);
        if next.len() > LIMIT {
            return last;
        }
        last = next;
    }
}

#[test]
fn sixteen_kib_of_every_format_do_their_work() {
    let user_data = filled();
    assert!(user_data.len() > LIMIT - 256 && user_data.len() <= LIMIT, "{} bytes", user_data.len());
    Plan::default().play(async |scene| {
        let id = serving(scene, Launch { user_data: Some(user_data), ..Launch::default() }, &[]).await;
        let inside = async |command: &str| inside(scene, &id, &["sh", "-c", command]).await;
        assert_eq!(inside("cat /etc/shop/feature.json").await, "{\"beta\":true}");
        assert_eq!(
            inside("stat -c '%a %U' /etc/shop/feature.json /etc/till.conf").await,
            "640 root\n600 root\n"
        );
        assert_eq!(inside("cat /var/seen").await, "{\"beta\":true}");
        assert_eq!(inside("cat /var/order").await, "bootcmd\nruncmd\nlist\nscript\n");
        assert_eq!(inside("hostname").await, "till-1\n");
        assert_eq!(inside("cat /var/as /tmp/each-boot").await, "root\n0022\nnobody\n");
        let status = scene.status(&id).await.expect("the agent answers");
        assert_eq!(status["phase"], "serving");
        completed_once(scene, &id, "kiln-launch", "Pending:Wait");
        let report = inside("cat /run/kiln/bootstrap.json").await;
        let report: serde_json::Value = serde_json::from_str(&report).expect("a report");
        assert_eq!((&report["outcome"], &report["ran"]), (&"ok".into(), &true.into()), "{report:#}");
        no_request_failed(scene).await;
    });
}

#[test]
fn fifty_megabytes_of_output_neither_fill_the_disk_nor_hold_the_boot() {
    const FLOOD: &str =
        "#!/bin/sh\necho first\nhead -c 50000000 /dev/zero | tr '\\0' x | fold -w 200\necho\necho last\n";
    Plan::default().play(async |scene| {
        let id = serving(scene, Launch { user_data: Some(FLOOD.into()), ..Launch::default() }, &[]).await;
        let inside = async |command: &str| inside(scene, &id, &["sh", "-c", command]).await;
        let kept = inside("cat /var/lib/kiln/instances/*/output/*.log").await;
        assert!(kept.len() < 80 * 1024, "{} bytes kept", kept.len());
        assert!(
            kept.starts_with("first\n") && kept.ends_with("last\n"),
            "head and tail are kept: {kept:.200}"
        );
        let journal =
            inside("du -sm /var/log/journal /run/log/journal 2>/dev/null | awk '{n += $1} END {print n}'")
                .await;
        assert!(
            journal.trim().parse::<u32>().is_ok_and(|mebibytes| mebibytes < 40),
            "journal: {journal} MiB"
        );
        let report: serde_json::Value =
            serde_json::from_str(&inside("cat /run/kiln/bootstrap.json").await).expect("a report");
        assert!(report["parts"][0]["output_bytes"].as_u64() > Some(50_000_000), "{report:#}");
        no_request_failed(scene).await;
    });
}

#[test]
fn a_daemon_that_keeps_the_pipe_does_not_hold_the_boot() {
    const DAEMON: &str = "#!/bin/sh\necho started\nsetsid sleep 86399 &\n";
    Plan::default().play(async |scene| {
        let id = serving(scene, Launch { user_data: Some(DAEMON.into()), ..Launch::default() }, &[]).await;
        let alive = inside(scene, &id, &["pgrep", "-fc", "sleep 86399"]).await;
        assert_ne!(alive.trim(), "0", "what was started on purpose stays");
        no_request_failed(scene).await;
    });
}

#[test]
fn a_script_that_never_ends_is_ended_and_the_launch_abandoned() {
    const ENDLESS: &str =
        "#!/bin/sh\ntrap '' TERM INT HUP\necho begun >/var/begun\nsleep 86400 &\nwhile :; do wait; done\n";
    let mut plan = Plan::default();
    plan.props.push(agent("bootstrap", "[bootstrap]\ntimeout = \"3s\"\n"));
    // Holds the instance for a look at what is left of the script.
    plan.set.hooks.push(hook("inspection", Transition::Terminating, Duration::from_mins(5)));
    plan.props.push(agent("hooks", "[lifecycle]\nterminate_hook = \"kiln-terminate\"\n"));
    plan.play(async |scene| {
        let how = Launch { user_data: Some(ENDLESS.into()), ..Launch::default() };
        let id = scene.launch(how, &[]).await.expect("an instance boots");
        let abandon =
            scene.asked(&id, "CompleteLifecycleAction", 0.0, BOOT).await.expect("it answers the hook");
        assert_eq!(abandon.parameter("LifecycleActionResult"), Some("ABANDON"), "{abandon:?}");
        assert_eq!(inside(scene, &id, &["pgrep", "-fc", "sleep 86400"]).await.trim(), "0", "killed whole");
        scene.reaches(&id, State::TerminatingWait, BOOT).await.expect("the group lets it go");
        scene.wish(&id, &Event::Completed("inspection".to_owned(), ActionResult::Continue));
        scene.reaches(&id, State::Terminated, BOOT).await.expect("it is replaced");
        let answers = of(scene, &id, "CompleteLifecycleAction");
        let launch = answers.iter().filter(|call| call.parameter("LifecycleHookName") == Some("kiln-launch"));
        assert_eq!(launch.count(), 1, "{answers:#?}");
    });
}
