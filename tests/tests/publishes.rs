//! The baked disk becomes an AMI: on the stand-in for EBS direct and EC2, read back and compared.

use kiln_tests::emulator::Emulator;
use kiln_tests::programs::{Ended, kiln_command, run};
use kiln_tests::publication::{DIGEST, Publication};
use kiln_tests::starter::{Baked, baked};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

/// EBS direct API reference, `BlockSize`.
const BLOCK: usize = 524_288;

fn publish(aws: &Emulator, baked: &Baked) -> Ended {
    let mut command = kiln_command(["--json", "publish"]);
    command.arg(&baked.image).current_dir(&baked.app);
    command.env("AWS_ENDPOINT_URL", aws.url()).env("AWS_REGION", "us-east-1");
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
    run(&mut command).expect_code(0)
}

/// The disk's blocks that are not all zeros, by index.
fn blocks(disk: &Path) -> BTreeMap<u64, Vec<u8>> {
    let mut disk = BufReader::with_capacity(BLOCK, File::open(disk).expect("the disk opens"));
    let mut found = BTreeMap::new();
    for index in 0.. {
        let mut block = Vec::with_capacity(BLOCK);
        if disk.by_ref().take(BLOCK as u64).read_to_end(&mut block).expect("the disk reads") == 0 {
            break;
        }
        if block.iter().any(|byte| *byte != 0) {
            found.insert(index, block);
        }
    }
    found
}

#[test]
fn exactly_those_blocks_once_and_everything_explicit() {
    let aws = Emulator::start();
    let baked = baked();
    let receipt: Value =
        serde_json::from_str(&publish(&aws, &baked).stdout).expect("stdout carries the receipt");
    let image = receipt["image_id"].as_str().expect("an image id");
    assert!(image.starts_with("ami-"), "{receipt:#}");

    let snapshot = receipt["snapshot_id"].as_str().expect("a snapshot id");
    let stored: BTreeMap<u64, Vec<u8>> = aws.blocks(snapshot).into_iter().collect();
    let wanted = blocks(&baked.disk());
    assert!(
        wanted.keys().eq(stored.keys()),
        "other blocks than the disk's: {} and {}",
        wanted.len(),
        stored.len()
    );
    for (index, block) in &wanted {
        assert!(stored[index] == *block, "block {index} differs");
    }

    let registered = aws.calls("RegisterImage");
    assert_eq!(registered.len(), 1);
    let asked = registered[0]["params"].to_string();
    for attribute in ["x86_64", "hvm", "uefi-preferred", "v2.0", "gp3", snapshot, &*digest(&baked)] {
        assert!(asked.contains(attribute), "no {attribute} in {asked}");
    }

    let again: Value = serde_json::from_str(&publish(&aws, &baked).stdout).expect("a receipt");
    assert_eq!(again["image_id"], image);
    assert_eq!(again["adopted"], true);
    assert_eq!(aws.calls("RegisterImage").len(), 1, "registered twice");
    assert_eq!(aws.calls("StartSnapshot").len(), 1, "uploaded twice");
}

fn digest(baked: &Baked) -> String {
    baked.receipt["digest"].as_str().expect("the receipt names the digest").to_owned()
}

/// A profile's file, as tools that sign people in write it.
fn sign_in(path: &Path, key: &str) {
    std::fs::write(path, format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = test\n"))
        .expect("the credentials can be written");
}

fn keys_from(shop: &Publication, aws: &Emulator, file: &Path) -> Command {
    let mut command = shop.kiln(aws, &["publish"]);
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    command.env("AWS_SHARED_CREDENTIALS_FILE", file).env("AWS_CONFIG_FILE", "/dev/null");
    // Nothing here may look for an instance's role.
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

#[test]
fn credentials_that_expire_under_the_work_are_read_again() {
    for (operation, code) in
        [("PutSnapshotBlock", "ExpiredTokenException"), ("RegisterImage", "RequestExpired")]
    {
        let (shop, aws, folder) =
            (Publication::new(), Emulator::start(), tempfile::tempdir().expect("a folder"));
        let file = folder.path().join("credentials");
        sign_in(&file, "morning");
        aws.fail(&json!([{"operation": operation, "key": "morning", "times": 1000, "code": code}]));
        let mut command = keys_from(&shop, &aws, &file);
        let publishing = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kiln starts");
        while aws.all_calls().is_empty() {}
        sign_in(&file, "evening");
        let ended = publishing.wait_with_output().expect("it ends");
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        let calls = aws.calls(operation);
        let by = |key: &str| calls.iter().filter(|call| call["key"] == key).count();
        assert!(by("morning") > 0 && by("evening") > 0, "{calls:#?}");
        assert_eq!(aws.all_calls().last().expect("calls")["key"], "evening");
    }
}

#[test]
fn credentials_that_expired_before_are_told_at_once_and_missing_ones_in_a_line() {
    let (shop, aws, folder) = (Publication::new(), Emulator::start(), tempfile::tempdir().expect("a folder"));
    let file = folder.path().join("credentials");
    sign_in(&file, "yesterday");
    aws.fail(&json!([{"key": "yesterday", "times": 1000, "code": "RequestExpired"}]));
    let ended = run(&mut keys_from(&shop, &aws, &file)).expect_code(1);
    assert!(ended.stderr.contains("have expired: sign in again"), "{}", ended.stderr);
    assert_eq!(aws.all_calls().len(), 1, "nothing had begun that was worth another try");

    std::fs::write(&file, "").expect("nobody is signed in");
    let ended = run(&mut keys_from(&shop, &aws, &file)).expect_code(1);
    assert!(ended.stderr.contains("no AWS credentials were found"), "{}", ended.stderr);
    assert!(ended.stderr.len() < 600, "{}", ended.stderr);
    assert_eq!(aws.all_calls().len(), 1);
}

#[test]
fn an_ami_is_compared_as_the_image_that_it_was_published_from() {
    let (shop, aws) = (Publication::new(), Emulator::start());
    let newer = "1".repeat(64);
    shop.image(&newer, &[(0, 1), (3, 9)]);
    for (digest, port) in [(DIGEST, "80"), (&newer, "8080")] {
        root(&shop.image_dir(digest).join("root.tar"), port);
    }
    let publish = run(&mut shop.kiln(&aws, &["publish", DIGEST])).expect_code(0);
    let published: Value = serde_json::from_str(&publish.stdout).expect("a receipt");
    let ami = published["image_id"].as_str().expect("an AMI");

    let diff = run(&mut shop.kiln(&aws, &["diff", ami, &newer[..8]])).expect_code(0);
    let found: Value = serde_json::from_str(&diff.stdout).expect("a comparison");
    assert!(found["ports"].to_string().contains("8080"), "{found:#}");
    assert_eq!(found["blocks"]["changed"], 3);

    let elsewhere = shop.elsewhere(false);
    let absent = run(&mut elsewhere.kiln(&aws, &["diff", ami, ami])).expect_code(2);
    assert!(absent.stderr.contains(DIGEST) && absent.stderr.contains("kiln bake"), "{}", absent.stderr);
    aws.furnish();
    let foreign = run(&mut shop.kiln(&aws, &["diff", "ami-0ba5e0ba5e0ba5e01", ami])).expect_code(2);
    assert!(foreign.stderr.contains("kiln:digest"), "{}", foreign.stderr);
    let unknown = run(&mut shop.kiln(&aws, &["diff", "ami-00000000000000000", ami])).expect_code(1);
    assert!(unknown.stderr.contains("ami-00000000000000000"), "{}", unknown.stderr);
}

/// A root whose nginx listens on `port`.
fn root(tar: &Path, port: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let nginx = folder.path().join("etc/nginx");
    std::fs::create_dir_all(&nginx).expect("make the folder");
    std::fs::write(nginx.join("nginx.conf"), format!("listen {port};\n")).expect("write the configuration");
    run(Command::new("tar").arg("-cf").arg(tar).arg("-C").arg(folder.path()).arg(".")).expect_code(0);
}
