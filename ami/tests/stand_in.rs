//! The stand-in for AWS is strict where AWS is, and fails as it is told to: what the other tests stand on.

#[path = "support/emulator.rs"]
mod stand;
#[path = "support/snapshot.rs"]
mod theirs;

use std::time::{Duration, Instant};

use aws_sdk_ebs::error::ProvideErrorMetadata;
use aws_sdk_ec2::types::{
    BlockDeviceMapping, EbsBlockDevice, HttpTokensState, ImageState, InstanceMetadataOptionsRequest,
    SnapshotState,
};
use kiln_ami::Clients;
use kiln_tests::emulator::Emulator;
use serde_json::json;
use stand::clients;
use theirs::uploaded;

#[tokio::test]
async fn a_child_has_its_parents_blocks_and_counts_its_own() {
    let aws = Emulator::start();
    let clients = clients(&aws).await;
    let parent = snapshot(&clients, None, &[(0, 1), (3, 2)]).await;
    let child = snapshot(&clients, Some(&parent), &[(3, 9), (5, 9)]).await;

    assert_eq!(listed(&clients, &child).await, [0, 3, 5]);
    let changed = clients.ebs.list_changed_blocks().first_snapshot_id(&parent).second_snapshot_id(&child);
    let changed = changed.send().await.expect("one lineage");
    let changed: Vec<_> =
        changed.changed_blocks().iter().filter_map(aws_sdk_ebs::types::ChangedBlock::block_index).collect();
    assert_eq!(changed, [3, 5]);

    let other = snapshot(&clients, None, &[(0, 1)]).await;
    let unrelated = clients.ebs.list_changed_blocks().first_snapshot_id(&other).second_snapshot_id(&child);
    let refused = unrelated.send().await.expect_err("two lineages");
    assert!(refused.into_service_error().is_validation_exception());
    let encrypted = clients.ebs.start_snapshot().volume_size(1).parent_snapshot_id(&parent).encrypted(true);
    assert!(
        encrypted.send().await.expect_err("a parent decides").into_service_error().is_validation_exception()
    );
}

#[tokio::test]
async fn a_copy_is_an_image_of_its_own_and_references_are_found() {
    let aws = Emulator::start();
    let clients = clients(&aws).await;
    let image = image(&clients, "shop-1", &snapshot(&clients, None, &[(0, 1)]).await).await;
    let copied = async |token: &str, name: &str| {
        let copy = clients.ec2.copy_image().source_image_id(&image).source_region("us-east-1").name(name);
        copy.client_token(token).send().await.map(|copy| copy.image_id.expect("an id"))
    };
    let copy = copied("a", "shop-2").await.expect("it is copied");
    assert_eq!(copied("a", "shop-2").await.expect("asked again"), copy);
    assert!(copied("b", "shop-2").await.is_err(), "the name is taken");
    available(&clients, &copy).await;

    let metadata = InstanceMetadataOptionsRequest::builder().http_tokens(HttpTokensState::Required).build();
    let run = clients.ec2.run_instances().image_id(&copy).min_count(1).max_count(1);
    run.metadata_options(metadata).send().await.expect("an instance");
    let references = clients.ec2.describe_image_references().image_ids(&copy).image_ids(&image);
    let references = references.include_all_resource_types(true).send().await.expect("references");
    let who: Vec<_> = references.image_references().iter().filter_map(|found| found.image_id()).collect();
    assert_eq!(who, [&copy]);

    clients
        .ec2
        .deregister_image()
        .image_id(&copy)
        .delete_associated_snapshots(true)
        .send()
        .await
        .expect("gone");
    let left = aws.holdings();
    assert_eq!(
        (left["images"][0]["id"].as_str(), left["images"].as_array().map(Vec::len)),
        (Some(&*image), Some(1))
    );
    assert_eq!(
        left["snapshots"].as_array().map(Vec::len),
        Some(1),
        "the copy's snapshot goes with it: {left}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_hit_by_name_and_by_number_before_the_work_or_after_it() {
    let aws = Emulator::start();
    let clients = clients(&aws).await;
    let start =
        async |token: &str| clients.ebs.start_snapshot().volume_size(1).client_token(token).send().await;
    aws.fail(&json!([
        {"operation": "StartSnapshot", "kind": "reset", "after": true},
        {"operation": "StartSnapshot", "kind": "delay", "seconds": 0.3},
        {"at": 3, "code": "ThrottlingException"},
        {"at": 4, "code": "AccessDeniedException", "status": 403},
    ]));
    let began = Instant::now();
    let started = start("one").await.expect("tried again after the reset");
    assert!(began.elapsed() > Duration::from_millis(300), "the second try is late");
    assert_eq!(aws.calls("StartSnapshot").len(), 2);
    assert_eq!(
        aws.snapshots().as_object().map(serde_json::Map::len),
        Some(1),
        "the lost reply was of this one"
    );
    assert!(started.snapshot_id().is_some());
    let denied = start("two").await.expect_err("throttled, then denied");
    assert_eq!(denied.code(), Some("AccessDeniedException"));

    aws.fail(&json!([{"kind": "hold", "operation": "DescribeSnapshots"}]));
    let asking = tokio::spawn(clients.ec2.describe_snapshots().send());
    let held = tokio::task::block_in_place(|| aws.held());
    assert_eq!(held["operation"], "DescribeSnapshots");
    asking.abort();
    aws.release();
}

async fn snapshot(clients: &Clients, parent: Option<&str>, blocks: &[(i32, u8)]) -> String {
    let id = uploaded(clients, parent, blocks).await;
    loop {
        let seen = clients.ec2.describe_snapshots().snapshot_ids(&id).send().await.expect("it is there");
        if seen.snapshots()[0].state() == Some(&SnapshotState::Completed) {
            return id;
        }
    }
}

async fn listed(clients: &Clients, id: &str) -> Vec<i32> {
    let blocks = clients.ebs.list_snapshot_blocks().snapshot_id(id).send().await.expect("blocks");
    blocks.blocks().iter().filter_map(aws_sdk_ebs::types::Block::block_index).collect()
}

async fn image(clients: &Clients, name: &str, snapshot: &str) -> String {
    let root = BlockDeviceMapping::builder()
        .device_name("/dev/xvda")
        .ebs(EbsBlockDevice::builder().snapshot_id(snapshot).build())
        .build();
    let register = clients.ec2.register_image().name(name).root_device_name("/dev/xvda");
    let image = register.block_device_mappings(root).send().await.expect("it registers");
    let id = image.image_id.expect("an id");
    available(clients, &id).await;
    id
}

async fn available(clients: &Clients, id: &str) {
    loop {
        let seen = clients.ec2.describe_images().image_ids(id).send().await.expect("it is there");
        if seen.images()[0].state() == Some(&ImageState::Available) {
            return;
        }
    }
}
