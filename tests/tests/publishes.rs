//! The baked disk becomes an AMI: on the stand-in for EBS direct and EC2, read back and compared.

use kiln_tests::emulator::Emulator;
use kiln_tests::programs::{Ended, kiln_command, run};
use kiln_tests::starter::{Baked, baked};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

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
