//! A disk is published to a strict stand-in for AWS, read back and compared; and what happens when AWS says no.

mod support;

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use kiln_ami::{Error, Kind, Progress, Source, publish};
use kiln_tests::emulator::Emulator;
use serde_json::json;
use support::disk::{BLOCK, DIGEST, Disk, journal, quietly, read_back};
use support::emulator::clients;

const NAME: &str = "shop-9f86d081884c7d659a2feaa0c55ad015";

#[tokio::test]
async fn a_disk_becomes_an_image_and_reads_back_the_same() {
    let aws = Emulator::start();
    let clients = clients(&aws).await;
    let disk = Disk::new();
    let mut spec = disk.spec();
    spec.tags.insert("team".to_owned(), "web".to_owned());
    let seen = Mutex::new(Vec::new());

    let folder = tempfile::tempdir().expect("a folder");
    let watch = |progress: Progress| seen.lock().expect("one thread").push(progress);
    let published = publish(&clients, &spec, &mut journal(&folder, &spec), &watch, std::future::pending())
        .await
        .expect("it publishes");

    assert_eq!(published.image_name, NAME);
    assert_eq!((published.blocks_sent, published.bytes_sent), (6, 6 * BLOCK));
    assert!(!published.adopted && published.checksum.is_some());
    assert_eq!(read_back(&clients, &published.snapshot_id).await, disk.bytes());

    let seen = seen.into_inner().expect("one thread");
    assert_eq!(seen[0], Progress::Scanned { blocks: 6, of: 81, volume_gib: 1 });
    let all = |seen: &Progress| matches!(seen, Progress::Sent { blocks: 6, of: 6, bytes, .. } if *bytes == 6 * BLOCK);
    assert!(seen.iter().any(all), "{seen:?}");
    let percent = |progress: &Progress| matches!(progress, Progress::Waiting { what: "snapshot", percent: Some(percent), .. } if percent == "99%");
    assert!(seen.iter().any(percent), "{seen:?}");

    let started = &aws.calls("StartSnapshot")[0]["params"];
    assert_eq!(started["VolumeSize"], 1);
    assert!(started["ClientToken"].is_string(), "{started}");
    let tags = started["Tags"].as_array().expect("the snapshot is tagged at its creation");
    for (key, value) in [("Name", NAME), ("kiln:digest", DIGEST), ("kiln:image", "shop"), ("team", "web")] {
        assert!(tags.contains(&json!({"Key": key, "Value": value})), "{tags:?}");
    }
    let registered = &aws.calls("RegisterImage")[0]["params"];
    for (parameter, value) in [
        ("Name", NAME),
        ("Architecture", "x86_64"),
        ("VirtualizationType", "hvm"),
        ("EnaSupport", "true"),
        ("SriovNetSupport", "simple"),
        ("BootMode", "uefi-preferred"),
        ("ImdsSupport", "v2.0"),
        ("RootDeviceName", "/dev/xvda"),
        ("BlockDeviceMapping.1.DeviceName", "/dev/xvda"),
        ("BlockDeviceMapping.1.Ebs.VolumeType", "gp3"),
        ("BlockDeviceMapping.1.Ebs.VolumeSize", "1"),
        ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true"),
        ("BlockDeviceMapping.1.Ebs.SnapshotId", &published.snapshot_id),
        ("TagSpecification.1.ResourceType", "image"),
    ] {
        assert_eq!(registered[parameter], value, "{parameter} in {registered}");
    }

    // Every later publication of the digest finds it, whatever became of the disk.
    let put = aws.calls("PutSnapshotBlock").len();
    spec.source = Source::Disk(PathBuf::from("/nonexistent"));
    let again = quietly(&clients, &spec).await.expect("it is there");
    assert!(again.adopted);
    assert_eq!((again.image_id, again.snapshot_id), (published.image_id, published.snapshot_id));
    assert_eq!((again.blocks_sent, aws.calls("PutSnapshotBlock").len()), (0, put));
    assert_eq!((aws.calls("StartSnapshot").len(), aws.calls("RegisterImage").len()), (1, 1));

    // The same 128 bits of digest in the name, another content: an image is never taken for what it is not.
    spec.digest = format!("{}0000", &DIGEST[..60]);
    let refused = quietly(&clients, &spec).await.expect_err("the name is taken");
    assert!(matches!(refused.cause, Error::NameTaken { .. }), "{refused}");
    assert!(refused.to_string().contains(DIGEST), "{refused}");
    assert_eq!(aws.calls("StartSnapshot").len(), 1);
}

#[tokio::test]
async fn what_passes_is_retried() {
    let aws = Emulator::start();
    let clients = clients(&aws).await;
    let disk = Disk::new();
    aws.fail(&json!([
        // The snapshot is not known everywhere yet.
        {"operation": "PutSnapshotBlock", "code": "ResourceNotFoundException", "status": 404,
         "reason": "SNAPSHOT_NOT_FOUND", "times": 2},
        {"operation": "PutSnapshotBlock", "code": "RequestThrottledException", "times": 3},
        // A block was damaged on the way.
        {"operation": "PutSnapshotBlock", "code": "ValidationException", "reason": "INVALID_BLOCK"},
        {"operation": "PutSnapshotBlock", "code": "InternalServerException", "status": 500},
        // The replies are lost, the work is done.
        {"operation": "StartSnapshot", "code": "InternalServerException", "status": 500, "after": true},
        {"operation": "RegisterImage", "code": "InternalError", "status": 500, "after": true},
        {"operation": "DescribeSnapshots", "code": "InvalidSnapshot.NotFound"},
    ]));

    let published = quietly(&clients, &disk.spec()).await.expect("it publishes in the end");

    assert!(!published.adopted);
    assert_eq!(read_back(&clients, &published.snapshot_id).await, disk.bytes());
    assert_eq!(aws.calls("PutSnapshotBlock").len(), 6 + 2 + 3 + 1 + 1);
    let tokens: Vec<_> =
        aws.calls("StartSnapshot").iter().map(|call| call["params"]["ClientToken"].clone()).collect();
    assert!(tokens.len() == 2 && tokens[0] == tokens[1], "{tokens:?}");
    assert_eq!(aws.snapshots().as_object().map(serde_json::Map::len), Some(1));
    let images = clients.ec2.describe_images().owners("self").send().await.expect("images");
    assert_eq!(images.images().len(), 1);
}

#[tokio::test]
async fn a_denied_call_stops_at_once_and_leaves_nothing() {
    let aws = Emulator::start();
    let clients = clients(&aws).await;
    let disk = Disk::new();
    for (operation, action, skip) in
        [("PutSnapshotBlock", "ebs:PutSnapshotBlock", 2), ("RegisterImage", "ec2:RegisterImage", 0)]
    {
        let before = aws.calls(operation).len();
        let code = if skip > 0 { "AccessDeniedException" } else { "UnauthorizedOperation" };
        aws.fail(&json!([{"operation": operation, "code": code, "status": 403, "skip": skip}]));

        let mut spec = disk.spec();
        spec.workers = std::num::NonZeroUsize::MIN;
        let failure = quietly(&clients, &spec).await.expect_err("it may not");

        let Error::Call(call) = &failure.cause else { panic!("{failure}") };
        assert_eq!((call.kind, call.action), (Kind::Denied, action));
        assert!(!failure.cause.is_temporary());
        assert_eq!(aws.calls(operation).len() - before, skip + 1, "no second try");
        assert_eq!((failure.removed.len(), failure.left.len()), (1, 0), "{failure}");
        assert_eq!(aws.snapshots(), json!({}));
    }
}

#[tokio::test]
async fn an_image_that_fails_says_why_and_is_taken_back_whole() {
    let aws = Emulator::start();
    let clients = clients(&aws).await;
    let disk = Disk::new();
    aws.set(&json!({"image_end": "failed"}));

    let failure = quietly(&clients, &disk.spec()).await.expect_err("the image fails");

    assert!(matches!(failure.cause, Error::Ended { what: "image", .. }), "{failure}");
    assert!(failure.to_string().contains("ended as 'failed': the disk has no boot sector"), "{failure}");
    assert_eq!((failure.removed.len(), failure.left.len()), (2, 0), "{failure}");
    assert_eq!(aws.snapshots(), json!({}));
}

#[tokio::test]
async fn an_image_that_takes_too_long_is_left_for_the_next_run() {
    let aws = Emulator::start();
    let clients = clients(&aws).await;
    let disk = Disk::new();
    aws.set(&json!({"image_looks": 1_000_000}));
    let mut spec = disk.spec();
    spec.waits.image = Duration::from_millis(100);

    let failure = quietly(&clients, &spec).await.expect_err("it takes too long");

    assert!(failure.cause.is_temporary(), "{failure}");
    assert_eq!((failure.removed.len(), failure.left.len()), (0, 2), "{failure}");
    spec.waits.image = Duration::from_mins(1);
    let interrupt = tokio::time::sleep(Duration::from_millis(500));
    let folder = tempfile::tempdir().expect("a folder");
    let mut another = journal(&folder, &spec);
    let found = publish(&clients, &spec, &mut another, &|_| (), interrupt).await.expect_err("still pending");
    assert!(matches!(found.cause, Error::Interrupted) && found.removed.is_empty(), "{found}");
    assert_eq!(aws.calls("StartSnapshot").len(), 1);
}

#[tokio::test]
async fn an_interrupt_takes_back_what_was_sent() {
    let aws = Emulator::start();
    let clients = clients(&aws).await;
    let disk = Disk::new();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let watch = |progress: Progress| {
        if matches!(progress, Progress::Sent { blocks: 2, .. }) {
            stop.send_replace(true);
        }
    };
    let interrupted = async move {
        let mut stopped = stopped;
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };

    let (folder, spec) = (tempfile::tempdir().expect("a folder"), disk.spec());
    let mut journal = journal(&folder, &spec);
    let publishing = publish(&clients, &spec, &mut journal, &watch, interrupted);
    let failure = publishing.await.expect_err("it is interrupted");

    assert!(matches!(failure.cause, Error::Interrupted), "{failure}");
    assert!(failure.to_string().starts_with("interrupted; removed snapshot snap-"), "{failure}");
    assert_eq!(aws.snapshots(), json!({}));
    assert!(aws.calls("RegisterImage").is_empty());
}
