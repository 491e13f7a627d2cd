//! `kiln bake --on instance` with a real boot: the instance is a Debian root that runs the very user data that EC2 was
//! given, powers itself off, and is then what `kiln provision` makes of the same root here.

use kiln_stage::{Launch, Prop, Scene};
use kiln_tests::emulator::Emulator;
use kiln_tests::killed::list;
use kiln_tests::programs::{kiln_command, run, target};
use kiln_tests::publication::Publication;
use kiln_tests::starter::{Baked, baked};
use kiln_tests::story::{BOOT, Plan};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The stage's router, where this process is, too.
const HERE: &str = "10.98.0.1";
/// From the launch to the end: a boot, and what `kiln provision` takes on a machine that does much besides.
const PROVISIONED: std::time::Duration = BOOT.saturating_mul(2);

/// What cloud-init does with a script, in a base that has none.
const UNIT: &str = "[Unit]\nAfter=network-online.target systemd-resolved.service\nWants=network-online.target\n\
                    [Service]\nType=oneshot\nExecStart=/opt/user-data/run\n";
const RUN: &str = r#"#!/usr/bin/python3
import os, urllib.request
imds, token = "http://169.254.169.254/latest", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
token = urllib.request.urlopen(urllib.request.Request(f"{imds}/api/token", headers=token, method="PUT")).read().decode()
asked = urllib.request.Request(f"{imds}/user-data", headers={"X-aws-ec2-metadata-token": token})
with open("/run/user-data", "wb") as file:
    file.write(urllib.request.urlopen(asked).read())
os.chmod("/run/user-data", 0o755)
os.execv("/run/user-data", ["user-data"])
"#;

/// What an instance cleans away before it becomes an image, and `kiln provision` alone does not. What it has besides is
/// a folder that its systemd has made, and nothing in it.
const CLEANED: [&str; 7] = [
    "etc/.pwd.lock",
    "etc/group-",
    "etc/gshadow-",
    "etc/passwd-",
    "etc/shadow-",
    "root/.ssh",
    "var/log/README",
];

/// What the vendor's image has besides Debian.
fn vendor() -> Vec<Prop> {
    vec![
        Prop::file("/etc/systemd/system/user-data.service", UNIT),
        Prop::file(
            "/etc/systemd/system/multi-user.target.d/user-data.conf",
            "[Unit]\nWants=user-data.service\n",
        ),
        Prop::program("/opt/user-data/run", RUN),
    ]
}

/// The starter's base root: Debian, with nothing of the app's.
fn base() -> Baked {
    // The stand-in's Python is made while there is a network.
    drop(Emulator::start());
    let baked = baked();
    let key = baked.receipt["base"]["key"].as_str().expect("the receipt names the base").to_owned();
    let folder = target().join("stories/bases").join(&key);
    std::fs::create_dir_all(&folder).expect("make the folder of the base");
    let _absent_is_fine = std::fs::remove_file(folder.join("root.tar"));
    let tar = cache().join("base").join(&key).join("base.tar");
    std::os::unix::fs::symlink(tar, folder.join("root.tar")).expect("link the base");
    Baked { image: folder, ..baked }
}

/// Where the bakes of the tests have their cache.
fn cache() -> PathBuf {
    let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || {
        of("XDG_CACHE_HOME").map(|path| path.join("kiln")).or(of("HOME").map(|path| path.join(".cache/kiln")))
    };
    of("KILN_CACHE").or_else(home).expect("there is a cache")
}

#[test]
fn an_instance_becomes_the_image() {
    let plan = Plan { image: base, props: vendor(), ..Plan::default() };
    plan.play(async |scene| {
        let aws = Emulator::start_on(HERE);
        aws.furnish();
        let shop = Publication::new();
        shop.bakes_on_instance();
        let mut command = shop.kiln(&aws, &["bake", "--on", "instance"]);
        // It waits for a boot.
        command.env("KILN_AWS_POLL_MS", "200");
        let baking = tokio::task::spawn_blocking(move || run(&mut command));

        let launched = scene.until(BOOT, || aws.calls("RunInstances").pop()).await.expect("it is launched");
        let asked = &launched["params"];
        let id = boot(scene, &aws, asked).await;
        let ended = baking.await.expect("kiln runs");
        assert_eq!(ended.code, Some(0), "{}\n--- console\n{}", ended.stderr, console(scene, &id));
        let receipt: Value = serde_json::from_str(&ended.stdout).expect("a receipt");

        assert_eq!((&receipt["adopted"], &receipt["base"]), (&json!(false), &json!("ami-0ba5e0ba5e0ba5e01")));
        launched_safely(asked);
        order(&aws);
        let held = aws.holdings();
        let image = &held["images"][0];
        assert_eq!((&image["id"], &image["state"]), (&receipt["image_id"], &json!("available")), "{held:#}");
        assert_eq!((&image["tags"]["kiln:state"], &image["imds"]), (&json!("published"), &json!("v2.0")));
        assert_eq!(held["snapshots"][0]["encrypted"], true);
        assert_eq!(held["snapshots"][0]["tags"]["kiln:digest"], receipt["digest"]);
        for gone in ["instances", "groups", "volumes", "objects"] {
            assert_eq!(held[gone], json!([]), "{gone} are left");
        }
        let root = scene.root(&id).expect("the instance had a root");
        same_as_here(&shop, &root);
    });
}

/// Boots what EC2 was asked for, and tells EC2 when it is off.
async fn boot(scene: &Scene, aws: &Emulator, asked: &Value) -> String {
    use base64::Engine as _;
    let encoded = asked["UserData"].as_str().expect("user data");
    let user_data = base64::engine::general_purpose::STANDARD.decode(encoded).expect("in base64");
    let how = Launch { user_data: Some(user_data), ..Launch::default() };
    let id = scene.launch(how, &[]).await.expect("an instance boots");
    let off = scene.until(PROVISIONED, || (!scene.is_on(&id)).then_some(())).await;
    off.expect("it powers itself off");
    let held = aws.holdings();
    assert_eq!(
        (&held["instances"][0]["state"], &held["groups"][0]["ingress"]),
        (&json!("running"), &json!(0))
    );
    assert!(aws.calls("CreateImage").is_empty(), "an image of what still runs");
    aws.stopped(held["instances"][0]["id"].as_str().expect("an id"));
    id
}

/// What the instance said as a machine.
fn console(scene: &Scene, id: &str) -> String {
    let log = scene.root(id).and_then(|root| Some(root.parent()?.join("console.log")));
    log.and_then(|log| std::fs::read_to_string(log).ok()).unwrap_or_default()
}

fn launched_safely(asked: &Value) {
    let expected = [
        ("MetadataOptions.HttpTokens", "required"),
        ("BlockDeviceMapping.1.Ebs.Encrypted", "true"),
        ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true"),
        ("InstanceInitiatedShutdownBehavior", "stop"),
        ("SubnetId", "subnet-0123456789abcdef0"),
        ("InstanceType", "t3.small"),
    ];
    for (key, value) in expected {
        assert_eq!(asked[key], value, "{key} in {asked:#}");
    }
    assert!(asked.get("KeyName").is_none(), "a key would open it");
}

/// Instance before volume, and the security group last.
fn order(aws: &Emulator) {
    let wanted = [
        "CreateSecurityGroup",
        "PutObject",
        "RunInstances",
        "CreateImage",
        "TerminateInstances",
        "DeleteObject",
        "DeleteSecurityGroup",
        "CreateTags",
    ];
    let calls = aws.all_calls();
    let first = |name: &str| calls.iter().position(|call| call["operation"] == name);
    let places: Vec<_> =
        wanted.iter().map(|name| first(name).unwrap_or_else(|| panic!("{name} is called"))).collect();
    assert!(places.is_sorted(), "{wanted:?} at {places:?}");
}

/// Provisions the vendor's image on this machine, and compares.
fn same_as_here(shop: &Publication, there: &Path) {
    let lower = PathBuf::from(std::env::var_os("KILN_STORY_ROOT").expect("the base's root"));
    let folder = tempfile::Builder::new().prefix("kiln-here-").tempdir_in(target()).expect("a folder");
    let here = folder.path().join("root");
    run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(&lower).arg(&here)).expect_code(0);
    for prop in vendor() {
        let path = here.join(prop.path.strip_prefix("/").expect("an absolute path"));
        std::fs::create_dir_all(path.parent().expect("in a folder")).expect("make the folder");
        std::fs::write(&path, &prop.content).expect("write the file");
        if prop.executable {
            run(Command::new("chmod").arg("755").arg(&path)).expect_code(0);
        }
    }
    let mut provision = kiln_command(["provision", "--root"]);
    run(provision.arg(&here).current_dir(shop.app())).expect_code(0);
    let compared = run(kiln_command(["--json", "diff"]).arg(&here).arg(there)).expect_code(0);
    let differs: Value = serde_json::from_str(&compared.stdout).expect("a comparison");
    for aspect in ["packages", "units", "users", "privileges", "ports"] {
        assert_eq!(differs[aspect], json!([]), "{aspect}: {differs:#}");
    }
    let (mut gone, mut new) = (Vec::new(), Vec::new());
    for change in differs["files"].as_object().expect("files by owner").values().flat_map(list) {
        let path = change["what"].as_str().expect("a path").trim_start_matches('/').to_owned();
        assert!(change["old"].is_null() || change["new"].is_null(), "not the same: {change}");
        if change["new"].is_null() { gone.push(path) } else { new.push(path) }
    }
    gone.sort();
    assert_eq!(gone, CLEANED, "{differs:#}");
    assert_eq!(new, ["var/lib/systemd/linger"], "{differs:#}");
}
