//! `kiln bake --on instance` dies at every call of AWS in turn; then the instance becomes the image, or goes with all that
//! was made for it. The instances play their part without a boot; `stories/builder.rs` has one.

use kiln_tests::emulator::Emulator;
use kiln_tests::killed::{Case, Left, list, ready};
use kiln_tests::programs::run;
use kiln_tests::publication::Publication;
use serde_json::{Value, json};

/// The first call asks for the base, of which the digest is made.
const BAKE: Case = Case { command: &["bake", "--on", "instance"], begins: 2, left };

#[test]
fn killed_at_any_call_it_becomes_the_image_or_is_removed() {
    BAKE.at_every_call(&shop());
}

#[test]
fn another_machine_finds_it_by_its_tags() {
    let (shop, aws) = (shop(), Emulator::start());
    for (operation, after, command, wanted) in [
        ("CreateSecurityGroup", true, "resume", Left::Everything),
        ("RunInstances", true, "resume", Left::Everything),
        ("CreateImage", true, "resume", Left::Everything),
        ("CreateTags", false, "resume", Left::Everything),
        ("CreateSecurityGroup", true, "abort", Left::Nothing),
        ("PutObject", true, "abort", Left::Nothing),
        ("RunInstances", true, "abort", Left::Nothing),
        ("CreateImage", true, "abort", Left::Nothing),
        ("CreateTags", false, "abort", Left::Nothing),
    ] {
        BAKE.killed(&shop, &aws, &json!([{"kind": "hold", "operation": operation, "after": after}]));
        let name = publication(&aws.holdings());
        let other = shop.elsewhere(false);
        let refused = run(&mut other.kiln(&aws, &[command])).expect_code(2);
        assert!(refused.stderr.contains("is open until"), "{operation}: {}", refused.stderr);
        run(&mut other.kiln(&aws, &[command, &name])).expect_code(0);
        assert_eq!(left(&aws), Ok(wanted), "{command} after {operation}");
        assert_eq!(other.journals(), 0);
    }
}

#[test]
fn one_that_fails_says_why_and_leaves_nothing() {
    let (shop, aws) = (shop(), Emulator::start());
    let lines = ["[ 1/4] packages", "error: failed to install jq: E: Unable to locate package jq"];
    for (report, expected) in [
        (json!({"state": "failed", "tail": lines}), "Unable to locate package jq"),
        (json!({"state": "running", "tail": ["[ 3/4] venv"]}), "[ 3/4] venv"),
        (json!({"state": "waiting"}), "without a word, at the latest after 60 minutes"),
    ] {
        ready(&aws);
        aws.set(&json!({"builder_report": report}));
        let ended = run(&mut shop.kiln(&aws, BAKE.command)).expect_code(1);
        assert!(ended.stderr.contains(expected), "{}", ended.stderr);
        assert!(ended.stderr.contains("removed instance i-"), "{}", ended.stderr);
        assert_eq!((left(&aws), shop.journals()), (Ok(Left::Nothing), 0));
    }
}

#[test]
fn lost_replies_and_what_is_not_shown_yet_are_no_failure() {
    let (shop, aws) = (shop(), Emulator::start());
    ready(&aws);
    let lost =
        ["CreateSecurityGroup", "RunInstances", "CreateImage", "TerminateInstances", "DeleteSecurityGroup"];
    let lost = lost.map(|operation| json!({"operation": operation, "kind": "reset", "after": true}));
    let unknown = [
        ("RunInstances", "InvalidGroup.NotFound"),
        ("DescribeInstances", "InvalidInstanceID.NotFound"),
        ("DescribeImages", "InvalidAMIID.NotFound"),
    ];
    // The base and the name are asked for before.
    let unknown = unknown.map(|(operation, code)| {
        json!({"operation": operation, "code": code, "skip": if operation == "DescribeImages" { 4 } else { 0 }})
    });
    aws.fail(&[&lost[..], &unknown[..]].concat().into());
    run(&mut shop.kiln(&aws, BAKE.command)).expect_code(0);
    assert_eq!((left(&aws), shop.journals()), (Ok(Left::Everything), 0));
    assert_eq!(aws.holdings()["images"].as_array().map(Vec::len), Some(1));
}

#[test]
fn what_has_expired_is_collected() {
    let (shop, aws) = (shop(), Emulator::start());
    BAKE.killed(&shop, &aws, &json!([{"kind": "hold", "operation": "CreateImage", "after": true}]));
    let kept = run(&mut shop.kiln(&aws, &["gc", "--orphans", "--apply"])).expect_code(0);
    assert!(kept.stdout.contains("\"orphans\":[]"), "it may be at work still: {}", kept.stdout);
    let held = aws.holdings();
    let things = ["groups", "images", "snapshots", "instances"].map(|kind| list(&held[kind])).concat();
    let ids = things.iter().enumerate().map(|(at, thing)| format!("ResourceId.{}={}", at + 1, id(thing)));
    let tag = "Tag.1.Key=kiln:expires&Tag.1.Value=2026-01-01T00:00:00Z&Version=2016-11-15";
    aws.query("ec2", &format!("Action=CreateTags&{}&{tag}", ids.collect::<Vec<_>>().join("&")));
    let gone = run(&mut shop.kiln(&aws, &["gc", "--orphans", "--apply"])).expect_code(0);
    assert_eq!(left(&aws), Ok(Left::Nothing), "{}", gone.stdout);
}

fn id(thing: &Value) -> &str {
    thing["id"].as_str().expect("a thing has an id")
}

/// The publication that everything of it names.
fn publication(held: &Value) -> String {
    let named = ["groups", "images"].iter().flat_map(|kind| list(&held[*kind]));
    let mut named = named.filter_map(|thing| thing["tags"]["kiln:publication"].as_str().map(str::to_owned));
    named.next().unwrap_or_else(|| panic!("something names its publication: {held:#}"))
}

/// All of it, nothing of it, or what else there is.
fn left(aws: &Emulator) -> Result<Left, String> {
    let held = aws.holdings();
    let none = |kinds: &[&str]| kinds.iter().all(|kind| list(&held[*kind]).is_empty());
    if !none(&["instances", "groups", "volumes", "objects"]) {
        return Err(held.to_string());
    }
    if none(&["images", "snapshots", "parameters"]) {
        return Ok(Left::Nothing);
    }
    let whole = |thing: &Value| {
        thing["tags"]["kiln:state"] == "published" && thing["tags"]["kiln:base"] == "ami-0ba5e0ba5e0ba5e01"
    };
    let ([image], [snapshot], [parameter]) =
        (&list(&held["images"])[..], &list(&held["snapshots"])[..], &list(&held["parameters"])[..])
    else {
        return Err(held.to_string());
    };
    let good = whole(image)
        && whole(snapshot)
        && image["state"] == "available"
        && image["imds"] == "v2.0"
        && image["snapshot"] == snapshot["id"]
        && snapshot["encrypted"] == true
        && parameter["value"] == image["id"];
    if good { Ok(Left::Everything) } else { Err(held.to_string()) }
}

/// An app that is baked on an instance.
fn shop() -> Publication {
    let shop = Publication::new();
    shop.publishes("parameter = \"/shop/ami\"\n");
    shop.bakes_on_instance();
    shop
}
