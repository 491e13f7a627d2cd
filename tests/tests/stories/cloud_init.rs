//! User data beside the real cloud-init of Debian 12: taken over by the agent, or waited for; first boots and later ones.

use kiln_stage::{Launch, Prop, Scene};
use kiln_tests::starter::{Baked, beside_cloud_init};
use kiln_tests::story::{BOOT, Plan, agent, inside, served, serving};
use kiln_tests::told::{completed_once, no_request_failed, of};
use serde_json::Value;
use std::time::Duration;

/// Where nspawn is not EC2: it has no DMI tables, and cloud-init reads none in a container. Without their "Amazon EC2"
/// it asks by `IMDSv1`, which the stage does not answer.
const SEES_EC2: &str = r##"[Service]
ExecStartPre=/bin/sed -i -e 's#^DMI_SYS_PATH = .*#DMI_SYS_PATH = "/opt/dmi"#' -e 's#if is_container():#if False:#' /usr/lib/python3/dist-packages/cloudinit/dmi.py
"##;
/// What vendors' AMIs say, besides keys of the host, which take seconds to make.
const CONFIG: &str = "datasource_list: [ Ec2 ]\ndatasource: {Ec2: {strict_id: false}}\nssh_deletekeys: false\nssh_genkeytypes: []\n";
/// The stage has no name servers, and cloud-init asks them.
const NAMES: &str = "passwd: files\ngroup: files\nshadow: files\nhosts: files\n";

const SCRIPT: &str = "#!/bin/sh\necho script >>/var/order\nchmod 666 /var/order\n";
const KILN: &str = "#kiln\n[[run]]\nname = \"ours\"\ncommand = \"id -un >>/var/order\"\nuser = \"till\"\n\
                    [[run]]\nname = \"each-boot\"\ncommand = \"echo ours >>/var/boots\"\nevery = \"boot\"\n";
/// A user is none of the agent's to make, but cloud-init's.
const USERS: &str = "#cloud-config\nusers:\n  - name: till\n    shell: /bin/sh\nruncmd:\n  - echo runcmd >>/var/order\n\
                     bootcmd:\n  - echo bootcmd >>/var/boots\n";
const SUBSET: &str = "#cloud-config\nwrite_files:\n  - path: /etc/till.conf\n    content: open\nruncmd:\n  \
                      - useradd --system till\n  - echo runcmd >>/var/order\nbootcmd:\n  - echo bootcmd >>/var/boots\n";

fn plan(image: fn() -> Baked) -> Plan {
    let mut plan = Plan { image, ..Plan::default() };
    let dmi = [
        ("sys_vendor", "Amazon EC2"),
        ("chassis_asset_tag", "Amazon EC2"),
        ("product_name", "t3.small"),
        ("product_uuid", "ec20bec4-0bec-4bec-8bec-0bec4bec4bec"),
        ("product_serial", "ec20bec4-0bec-4bec-8bec-0bec4bec4bec"),
    ];
    plan.props.extend(dmi.map(|(name, text)| Prop::file(format!("/opt/dmi/{name}"), format!("{text}\n"))));
    plan.props.extend([
        Prop::file("/etc/nsswitch.conf", NAMES),
        Prop::file("/etc/cloud/cloud.cfg.d/95-stage.cfg", CONFIG),
        Prop::file("/etc/systemd/system/cloud-init-local.service.d/stage.conf", SEES_EC2),
    ]);
    plan
}

fn take_over() -> Baked {
    beside_cloud_init("take-over")
}

fn wait() -> Baked {
    beside_cloud_init("wait")
}

fn launch(parts: &[&str]) -> Launch {
    let body = parts.join("\n--b\n\n");
    let text =
        format!("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\n{body}\n--b--\n");
    Launch { user_data: Some(text.into()), ..Launch::default() }
}

#[test]
fn what_is_taken_over_the_agent_does_alone_and_once() {
    plan(take_over).play(async |scene| {
        let id = serving(scene, launch(&[SCRIPT, SUBSET, KILN]), &[]).await;
        for boot in 1..=2 {
            let ended = ended(scene, &id).await;
            assert!(found_ec2(&ended) && ended["errors"] == Value::from(Vec::<u8>::new()), "{ended:#}");
            let theirs = "ls -A /var/lib/cloud/instance/scripts /var/lib/cloud/instance/cloud-config.txt";
            let theirs =
                said(scene, &id, &format!("{theirs}; cat /var/lib/cloud/instance/cloud-config.txt")).await;
            assert!(!theirs.contains("part-") && !theirs.contains("runcmd"), "cloud-init saw it: {theirs}");
            assert_eq!(said(scene, &id, "cat /var/order").await, "script\nruncmd\ntill\n", "boot {boot}");
            let boots = "bootcmd\nours\n".repeat(boot);
            assert_eq!(said(scene, &id, "cat /var/boots /etc/till.conf").await, format!("{boots}open"));
            assert_eq!(report(scene, &id).await["outcome"], "ok");
            if boot == 1 {
                reboot(scene, &id).await;
                served(scene, &id).await;
            }
        }
        completed_once(scene, &id, "kiln-launch", "Pending:Wait");
        no_request_failed(scene).await;
    });
}

#[test]
fn cloud_init_is_waited_for_and_what_it_ran_is_not_run_twice() {
    plan(wait).play(async |scene| {
        let id = serving(scene, launch(&[SCRIPT, USERS, KILN]), &[]).await;
        for boot in 1..=2 {
            let ended = ended(scene, &id).await;
            assert!(found_ec2(&ended), "{ended:#}");
            // The last line is by a user that cloud-init has made: the agent came after it.
            assert_eq!(said(scene, &id, "cat /var/order").await, "script\nruncmd\ntill\n", "boot {boot}");
            let boots = "bootcmd\nours\n".repeat(boot);
            assert_eq!(said(scene, &id, "cat /var/boots").await, boots, "boot {boot}");
            let report = report(scene, &id).await;
            assert_eq!(report["outcome"], "ok", "{report:#}");
            let names: Vec<_> =
                report["parts"].as_array().into_iter().flatten().map(|part| &part["name"]).collect();
            assert_eq!(names, ["ours", "each-boot"], "scripts and #cloud-config are not the agent's");
            if boot == 1 {
                reboot(scene, &id).await;
                served(scene, &id).await;
            }
        }
        completed_once(scene, &id, "kiln-launch", "Pending:Wait");
        no_request_failed(scene).await;
    });
}

#[test]
fn what_failed_in_cloud_init_has_failed_on_later_boots_too() {
    const FAILS: &str = "#cloud-config\nruncmd:\n  - echo tried >>/var/order\n  - exit 3\n";
    let mut plan = plan(wait);
    // Two boots are looked at before the group replaces it.
    plan.props.push(agent("failure", "[lifecycle]\non_failure = \"wait\"\n"));
    plan.set.hooks[0].heartbeat = Duration::from_mins(20);
    plan.play(async |scene| {
        let id = scene.launch(launch(&[FAILS, KILN]), &[]).await.expect("an instance boots");
        for boot in 1..=2 {
            let report = scene.until_async(BOOT, async || {
                let report = report(scene, &id).await;
                (report["outcome"] == "failed").then_some(report)
            });
            let report = report.await.expect("a bootstrap that failed");
            let reason = report["reason"].as_str().unwrap_or_default();
            assert!(reason.contains("cloud-init ended with 1 error(s)"), "{reason}");
            assert!(reason.contains("scripts_user") || reason.contains("scripts-user"), "{reason}");
            assert_eq!(reason.contains("on an earlier boot"), boot == 2, "{reason}");
            assert_eq!(
                said(scene, &id, "cat /var/order").await,
                "tried\n",
                "neither twice, nor ours after it"
            );
            let status = scene.until_async(BOOT, async || scene.status(&id).await.ok()).await;
            let status = status.expect("the agent answers");
            assert_ne!(status["phase"], "serving", "{status:#}");
            let ended = ended(scene, &id).await;
            let errors = ended["errors"].as_array().map_or(0, Vec::len);
            // What makes the mark necessary: cloud-init itself says so once.
            assert_eq!(errors, usize::from(boot == 1), "{ended:#}");
            if boot == 1 {
                reboot(scene, &id).await;
            }
        }
        assert!(of(scene, &id, "CompleteLifecycleAction").is_empty(), "the launch was answered");
    });
}

#[test]
fn what_cloud_init_passes_over_and_calls_done_has_failed() {
    // Without this header it takes a multipart for text of no kind.
    let text = format!("Content-Type: multipart/mixed; boundary=b\n\n--b\n\n{SCRIPT}\n--b--\n");
    plan(wait).play(async |scene| {
        let how = Launch { user_data: Some(text.into()), ..Launch::default() };
        let id = scene.launch(how, &[]).await.expect("an instance boots");
        let answer =
            scene.asked(&id, "CompleteLifecycleAction", 0.0, BOOT).await.expect("the launch is answered");
        assert_eq!(answer.parameter("LifecycleActionResult"), Some("ABANDON"), "{answer:?}");
        let ended = ended(scene, &id).await;
        assert!(found_ec2(&ended) && ended["errors"] == Value::from(Vec::<u8>::new()), "{ended:#}");
        let reason = report(scene, &id).await["reason"].to_string();
        assert!(reason.contains("cloud-init passed over part 1"), "{reason}");
    });
}

/// What the cloud-init of this boot said at its end.
async fn ended(scene: &Scene, id: &str) -> Value {
    let text = scene.until_async(BOOT, async || {
        let output = scene.exec(id, &["cat", "/run/cloud-init/result.json"]).await.ok()?;
        output.status.success().then_some(output.stdout)
    });
    let text = text.await.expect("cloud-init ends");
    let mut result: Value = serde_json::from_slice(&text).expect("its result is JSON");
    result["v1"].take()
}

fn found_ec2(ended: &Value) -> bool {
    ended["datasource"].as_str().is_some_and(|name| name.starts_with("DataSourceEc2"))
}

async fn report(scene: &Scene, id: &str) -> Value {
    serde_json::from_str(&said(scene, id, "cat /run/kiln/bootstrap.json").await).unwrap_or_default()
}

async fn said(scene: &Scene, id: &str, line: &str) -> String {
    inside(scene, id, &["sh", "-c", line]).await
}

async fn reboot(scene: &Scene, id: &str) {
    inside(scene, id, &["systemctl", "reboot"]).await;
    scene.reboots(id, BOOT).await.expect("it reboots");
}
