//! What is done with an image is one transaction: what fails for good undoes all of it, in the reverse order.

mod support;

use std::time::Duration;

use kiln_ami::{After, Error, PublishSpec};
use kiln_tests::emulator::Emulator;
use serde_json::{Value, json};
use support::disk::{BLOCK, DIGEST, Disk, quietly, read_back};
use support::emulator::clients;

fn spec(disk: &Disk) -> PublishSpec {
    let after = After {
        regions: vec!["eu-west-1".to_owned()],
        deprecate_after: Some(Duration::from_hours(24)),
        accounts: vec!["111122223333".to_owned()],
        parameter: Some("/shop/ami".to_owned()),
    };
    PublishSpec { after, ..disk.spec() }
}

#[tokio::test]
async fn everything_is_there_and_the_parameter_names_the_next_image() {
    let aws = Emulator::start();
    let clients = clients(&aws).await;
    let disk = Disk::new();
    let first = quietly(&clients, &spec(&disk)).await.expect("it publishes");
    assert_eq!(first.bytes_sent, 6 * BLOCK);
    let (copy, snapshot) = &first.copies["eu-west-1"];
    assert_eq!(read_back(&clients.in_region("eu-west-1"), snapshot).await, disk.bytes());
    let held = aws.holdings();
    assert_eq!(named(&held), [json!([first.image_id, 1]), json!([copy, 1])]);

    let next = PublishSpec { digest: DIGEST.replace("9f", "aa"), ..spec(&disk) };
    let second = quietly(&clients, &next).await.expect("it publishes");
    assert_eq!(named(&aws.holdings())[0], json!([second.image_id, 2]));

    // One account more is one change, and nothing else.
    let mut more = next.clone();
    more.after.accounts.push("444455556666".to_owned());
    let again = quietly(&clients, &more).await.expect("it publishes");
    assert!(again.adopted);
    assert_eq!(again.changed.len(), 2, "in each region: {:?}", again.changed);
    assert!(
        again.changed.iter().all(|what| what.starts_with("shared with 444455556666")),
        "{:?}",
        again.changed
    );
}

#[tokio::test]
async fn a_late_failure_undoes_all_of_it() {
    let aws = Emulator::start();
    let clients = clients(&aws).await;
    let disk = Disk::new();
    let first = quietly(&clients, &spec(&disk)).await.expect("it publishes");
    let before = aws.holdings();

    // The parameter of the first region is written, that of the second may not be.
    aws.fail(&json!([{"operation": "PutParameter", "region": "us-east-1", "code": "AccessDeniedException"}]));
    let next = PublishSpec { digest: DIGEST.replace("9f", "aa"), ..spec(&disk) };
    let failure = quietly(&clients, &next).await.expect_err("it may not");
    assert!(failure.to_string().contains("not allowed to call ssm:PutParameter on /shop/ami"), "{failure}");
    assert_eq!(failure.left, [], "{failure}");
    let undone: Vec<_> = failure.removed.iter().filter_map(|what| what.split_whitespace().next()).collect();
    assert_eq!(
        undone,
        ["parameter", "shares", "shares", "image", "snapshot", "image", "snapshot"],
        "{failure}"
    );

    let mut after = aws.holdings();
    // Written and put back: two versions more of the same value.
    assert_eq!(named(&after), [json!([first.image_id, 1]), json!([first.copies["eu-west-1"].0, 3])]);
    after["parameters"] = before["parameters"].clone();
    assert_eq!(after, before);
}

#[tokio::test]
async fn a_parameter_that_is_never_stored_is_a_failure() {
    let aws = Emulator::start();
    let clients = clients(&aws).await;
    let disk = Disk::new();
    aws.set(&json!({"parameter_looks": 1_000_000}));
    let mut spec = spec(&disk);
    spec.waits.parameter = Duration::from_millis(100);
    let failure = quietly(&clients, &spec).await.expect_err("SSM said yes and did nothing");
    assert!(matches!(failure.cause, Error::TimedOut { what: "parameter", .. }), "{failure}");
    assert!(!failure.left.is_empty(), "it may be stored yet: another try goes on");
}

#[tokio::test]
async fn copies_of_an_encrypted_image_need_a_key_of_all_regions() {
    let disk = Disk::new();
    let key = |id: &str| Some(format!("arn:aws:kms:us-east-1:123456789012:key/{id}"));
    let one = PublishSpec { kms_key: key("1234"), ..spec(&disk) };
    assert!(one.check().is_err_and(|error| error.to_string().contains("multi-Region key")));
    assert!(PublishSpec { kms_key: key("mrk-1234"), ..spec(&disk) }.check().is_ok());
}

fn named(held: &Value) -> Vec<Value> {
    let parameters = held["parameters"].as_array().expect("parameters");
    parameters.iter().map(|parameter| json!([parameter["value"], parameter["version"]])).collect()
}
