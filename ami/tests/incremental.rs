//! Over a parent only what differs is sent, blocks that became zero among it; encrypted snapshots are sent whole.

mod support;
#[path = "support/snapshot.rs"]
mod theirs;

use std::fs::File;
use std::os::unix::fs::FileExt;

use kiln_ami::{BLOCK_SIZE, Blocks, Clients, PublishSpec, Published};
use kiln_tests::emulator::Emulator;
use serde_json::json;
use support::disk::{BLOCK, Disk, quietly, read_back};
use support::emulator::clients;
use theirs::uploaded;

const KEY: &str = "arn:aws:kms:us-east-1:123456789012:key/ours";
const NEXT: &str = "1000000000000000000000000000000000000000000000000000000000000000";

#[tokio::test]
async fn what_differs_is_sent_and_what_became_zero() {
    let aws = Emulator::start();
    let clients = clients(&aws).await;
    let disk = Disk::new();
    let first = sent(&clients, &disk.spec()).await;
    change(&disk);

    let mut spec = PublishSpec { digest: NEXT.to_owned(), ..disk.spec() };
    spec.parent.clone_from(&first.blocks);
    let second = sent(&clients, &spec).await;
    assert_eq!(aws.calls("StartSnapshot")[1]["params"]["ParentSnapshotId"], *first.snapshot_id);
    assert_eq!((first.blocks_sent, second.blocks_sent), (6, 2), "one that changed, one that became zero");
    assert_eq!(read_back(&clients, &second.snapshot_id).await, disk.bytes());

    // Hashes that nobody kept are read back, and say the same.
    let read = Blocks::read(&clients, &second.snapshot_id).await.expect("it reads");
    let mut spec = PublishSpec { digest: NEXT.replace('1', "2"), ..disk.spec() };
    spec.parent = Some(read);
    assert_eq!(sent(&clients, &spec).await.blocks_sent, 1, "no snapshot of nothing");

    // A parent that is gone is no parent.
    clients.ec2.deregister_image().image_id(&second.image_id).send().await.expect("it goes");
    clients.ec2.delete_snapshot().snapshot_id(&second.snapshot_id).send().await.expect("it goes");
    let mut spec = PublishSpec { digest: NEXT.replace('1', "3"), ..disk.spec() };
    spec.parent.clone_from(&second.blocks);
    let whole = sent(&clients, &spec).await;
    assert_eq!(whole.blocks_sent, 5);
    assert_eq!(read_back(&clients, &whole.snapshot_id).await, disk.bytes());
}

#[tokio::test]
async fn a_parent_that_ec2_does_not_call_completed_yet_is_waited_for() {
    let aws = Emulator::start();
    let clients = clients(&aws).await;
    aws.set(&json!({"snapshot_looks": 5}));
    let parent = uploaded(&clients, None, &[(0, 1), (3, 2)]).await;
    let disk = Disk::new();
    let read = Blocks::read(&clients, &parent).await.expect("EBS lets it be read");
    let spec = PublishSpec { parent: Some(read), ..disk.spec() };
    sent(&clients, &spec).await;
    assert_eq!(aws.calls("StartSnapshot")[1]["params"]["ParentSnapshotId"], *parent);
}

#[tokio::test]
async fn an_encrypted_snapshot_has_every_block_whatever_fails_and_its_child_what_differs() {
    let aws = Emulator::start();
    let clients = clients(&aws).await;
    let disk = Disk::new();
    aws.set(&json!({"encrypted": true}));
    aws.fail(&json!([
        {"operation": "PutSnapshotBlock", "code": "RequestThrottledException", "skip": 100, "times": 60},
        {"operation": "PutSnapshotBlock", "kind": "reset", "times": 3},
    ]));
    let first = sent(&clients, &disk.spec()).await;
    assert_eq!(first.blocks_sent, 2048, "the account encrypts by default: what is not sent is noise");
    assert_eq!(aws.calls("PutSnapshotBlock").len(), 2048 + 60 + 3, "each failure is tried once more");
    change(&disk);
    let mut spec = PublishSpec { digest: NEXT.to_owned(), ..disk.spec() };
    spec.parent.clone_from(&first.blocks);
    spec.kms_key = Some(KEY.to_owned());
    let second = sent(&clients, &spec).await;
    assert_eq!(second.blocks_sent, 2, "the parent decides about the key");
    assert_eq!(read_back(&clients, &second.snapshot_id).await, disk.bytes());
}

#[tokio::test]
async fn a_key_that_is_asked_for_encrypts() {
    let aws = Emulator::start();
    let clients = clients(&aws).await;
    let disk = Disk::new();
    let spec = PublishSpec { kms_key: Some(KEY.to_owned()), ..disk.spec() };
    aws.fail(&json!([{"operation": "PutSnapshotBlock", "code": "AccessDeniedException", "status": 403}]));
    quietly(&clients, &spec).await.expect_err("the first block is denied");
    let asked = &aws.calls("StartSnapshot")[0]["params"];
    assert_eq!((&asked["KmsKeyArn"], &asked["Encrypted"]), (&json!(KEY), &json!(true)));
}

#[tokio::test]
async fn a_lost_reply_to_the_last_word_is_no_failure() {
    let aws = Emulator::start();
    let clients = clients(&aws).await;
    let disk = Disk::new();
    aws.fail(&json!([{"operation": "CompleteSnapshot", "kind": "reset", "after": true}]));
    let published = sent(&clients, &disk.spec()).await;
    assert_eq!(aws.calls("CompleteSnapshot").len(), 2);
    assert_eq!(read_back(&clients, &published.snapshot_id).await, disk.bytes());
}

/// Changes a block and empties another.
fn change(disk: &Disk) {
    let file = File::options().write(true).open(disk.path()).expect("the disk");
    file.write_all_at(&[7], 50 * BLOCK).expect("it can be written");
    file.write_all_at(&vec![0; BLOCK_SIZE], 0).expect("it can be written");
}

async fn sent(clients: &Clients, spec: &PublishSpec) -> Published {
    quietly(clients, spec).await.expect("it publishes")
}
