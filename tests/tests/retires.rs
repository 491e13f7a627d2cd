//! `kiln gc` retires what nothing uses, step by step, and finds what even a journal lost. It does nothing unasked.

use kiln_tests::emulator::Emulator;
use kiln_tests::programs::run;
use kiln_tests::publication::{DIGEST, Publication};
use serde_json::{Value, json};

#[test]
fn what_nothing_uses_goes_step_by_step() {
    let shop = Publication::new();
    shop.publishes("regions = [\"eu-west-1\"]\nparameter = \"/shop/ami\"\nkeep = 1\n");
    let aws = Emulator::start();
    aws.set(&json!({"snapshot_looks": 0, "image_looks": 0, "parameter_looks": 0}));
    let mut images = Vec::new();
    for digits in ["aaaa", "bbbb", "cccc", "dddd"] {
        let digest = DIGEST.replacen("9f86", digits, 1);
        shop.image(&digest, &[(0, 1)]);
        let ended = run(&mut shop.kiln(&aws, &["publish", &digest])).expect_code(0);
        let published: Value = serde_json::from_str(&ended.stdout).expect("a receipt");
        images.push(published["image_id"].as_str().expect("an id").to_owned());
        aws.next_second();
    }
    // The first is launched, the second is in a launch template, the fourth is the newest and the parameter's.
    aws.query(
        "ec2",
        &format!("Action=RunInstances&ImageId={}&MinCount=1&MaxCount=1&Version=2016-11-15", images[0]),
    );
    aws.query(
        "ec2",
        &format!("Action=CreateLaunchTemplate&LaunchTemplateName=shop&LaunchTemplateData.ImageId={}&Version=2016-11-15", images[1]),
    );

    let before = aws.holdings();
    let told = gc(&shop, &aws, &["gc", "--grace-days", "0"]);
    assert_eq!(aws.holdings(), before, "a dry run");
    let verdict = |told: &Value, id: &str| -> (String, String) {
        let images = told["images"].as_array().expect("images");
        let image = images.iter().find(|image| image["image_id"] == id).expect("each has a verdict");
        let text = |key: &str| image[key].as_str().expect("a text").to_owned();
        (text("verdict"), text("reason"))
    };
    assert!(verdict(&told, &images[0]).1.contains(":instance/i-"), "{told:#}");
    assert!(verdict(&told, &images[1]).1.contains(":launch-template/lt-"), "{told:#}");
    assert_eq!(verdict(&told, &images[2]).0, "deprecate");
    assert!(verdict(&told, &images[3]).1.contains(":parameter/shop/ami"), "{told:#}");
    assert_eq!(told["images"].as_array().map(Vec::len), Some(8), "copies, too");

    let state = |id: &str| -> Option<Value> {
        let held = aws.holdings();
        held["images"].as_array()?.iter().find(|image| image["id"] == id).cloned()
    };
    let kept = run(&mut shop.kiln(&aws, &["gc", "--apply"])).expect_code(0);
    assert!(kept.stdout.contains("deprecate"), "{}", kept.stdout);
    assert!(
        state(&images[2])
            .is_some_and(|image| image["deprecated"].is_string() && image["state"] == "available")
    );
    // Within the grace nothing more happens.
    assert_eq!(verdict(&gc(&shop, &aws, &["gc", "--apply"]), &images[2]).0, "keep");
    gc(&shop, &aws, &["gc", "--grace-days", "0", "--apply"]);
    assert!(state(&images[2]).is_some_and(|image| image["state"] == "disabled"));
    gc(&shop, &aws, &["gc", "--grace-days", "0", "--apply"]);
    assert_eq!(state(&images[2]), None);

    let held = aws.holdings();
    let count = |what: &str, region: &str| {
        let things = held[what].as_array().expect("a list");
        things.iter().filter(|thing| thing["region"] == region).count()
    };
    assert_eq!((count("images", "us-east-1"), count("snapshots", "us-east-1")), (3, 3), "{held:#}");
    // Nothing uses the older copies: the newest stays.
    assert_eq!((count("images", "eu-west-1"), count("snapshots", "eu-west-1")), (1, 1), "{held:#}");
}

#[test]
fn what_even_the_journal_lost_is_found_by_its_expiry() {
    let shop = Publication::new();
    let aws = Emulator::start();
    shop.killed(&aws, &["publish"], &json!([{"operation": "CreateTags", "kind": "hold"}]));
    shop.forget();

    let fresh = gc(&shop, &aws, &["gc", "--orphans", "--apply"]);
    assert_eq!(fresh["orphans"], json!([]), "its owner may be at work on it");
    let held = aws.holdings();
    for id in [&held["images"][0]["id"], &held["snapshots"][0]["id"]] {
        let id = id.as_str().expect("an id");
        let tag = "Tag.1.Key=kiln:expires&Tag.1.Value=2026-01-01T00:00:00Z&Version=2016-11-15";
        aws.query("ec2", &format!("Action=CreateTags&ResourceId.1={id}&{tag}"));
    }
    let dry = gc(&shop, &aws, &["gc", "--orphans"]);
    assert_eq!(dry["orphans"][0]["found"].as_array().map(Vec::len), Some(2), "{dry:#}");
    assert_eq!(aws.snapshots().as_object().map(serde_json::Map::len), Some(1));
    let done = gc(&shop, &aws, &["gc", "--orphans", "--apply"]);
    assert_eq!(done["orphans"][0]["removed"].as_array().map(Vec::len), Some(2), "{done:#}");
    assert_eq!((aws.snapshots(), aws.holdings()["images"].clone()), (json!({}), json!([])));
}

fn gc(shop: &Publication, aws: &Emulator, arguments: &[&str]) -> Value {
    let ended = run(&mut shop.kiln(aws, arguments)).expect_code(0);
    serde_json::from_str(&ended.stdout).expect("an answer")
}
