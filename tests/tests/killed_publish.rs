//! `kiln publish` dies at every call of AWS in turn; then it is finished, or taken back.

use kiln_tests::emulator::Emulator;
use kiln_tests::killed::{Case, Left, list};
use kiln_tests::programs::run;
use kiln_tests::publication::{DIGEST, Publication};
use serde_json::{Value, json};

const PUBLISH: Case = Case { command: &["publish"], begins: 1, left };

#[test]
fn killed_at_any_call_it_is_finished_or_removed() {
    PUBLISH.at_every_call(&shop());
}

#[test]
fn another_machine_finds_it_by_its_tags() {
    let shop = shop();
    let aws = Emulator::start();
    for (operation, with_image, command, wanted) in [
        ("PutSnapshotBlock", true, "resume", Left::Everything),
        ("CompleteSnapshot", true, "resume", Left::Everything),
        ("ModifyImageAttribute", true, "resume", Left::Everything),
        ("CreateTags", true, "resume", Left::Everything),
        ("PutSnapshotBlock", false, "abort", Left::Nothing),
        ("CompleteSnapshot", false, "abort", Left::Nothing),
        ("CopyImage", false, "abort", Left::Nothing),
        ("CreateTags", false, "abort", Left::Nothing),
    ] {
        PUBLISH.killed(
            &shop,
            &aws,
            &json!([{"kind": "hold", "operation": operation, "after": operation != "CreateTags"}]),
        );
        let other = shop.elsewhere(with_image);

        // Somebody may still be at work on it: it has to be named.
        let refused = run(&mut other.kiln(&aws, &[command])).expect_code(2);
        assert!(refused.stderr.contains("is open until"), "{}", refused.stderr);
        let name = aws.holdings()["snapshots"][0]["tags"]["kiln:publication"].clone();
        let name = name.as_str().expect("a snapshot names its publication").to_owned();

        run(&mut other.kiln(&aws, &[command, &name])).expect_code(0);
        assert_eq!(left(&aws), Ok(wanted), "{command} after {operation}");
        assert_eq!(other.journals(), 0);
    }

    PUBLISH.killed(&shop, &aws, &json!([{"kind": "hold", "operation": "PutSnapshotBlock"}]));
    let name = aws.holdings()["snapshots"][0]["tags"]["kiln:publication"].clone();
    let name = name.as_str().expect("a snapshot names its publication").to_owned();
    let refused = run(&mut shop.elsewhere(false).kiln(&aws, &["resume", &name])).expect_code(2);
    assert!(refused.stderr.contains("'kiln bake' of the same commit"), "{}", refused.stderr);
}

/// All of the publication, nothing of it, or what else there is.
fn left(aws: &Emulator) -> Result<Left, String> {
    let held = aws.holdings();
    let (images, snapshots) = (list(&held["images"]), list(&held["snapshots"]));
    if images.is_empty() && snapshots.is_empty() && list(&held["parameters"]).is_empty() {
        return Ok(Left::Nothing);
    }
    let whole =
        |thing: &Value| thing["tags"]["kiln:state"] == "published" && thing["tags"]["kiln:digest"] == DIGEST;
    let place = |region: &str| {
        let there = |things: &[Value]| -> Vec<Value> {
            things.iter().filter(|thing| thing["region"] == region).cloned().collect()
        };
        let ([image], [snapshot], [parameter]) =
            (&there(&images)[..], &there(&snapshots)[..], &there(&list(&held["parameters"]))[..])
        else {
            return false;
        };
        whole(image)
            && whole(snapshot)
            && image["state"] == "available"
            && image["snapshot"] == snapshot["id"]
            && image["shared"] == json!(["111122223333"])
            && image["deprecated"].is_string()
            && snapshot["status"] == "completed"
            && snapshot["blocks"] == 4
            && parameter["value"] == image["id"]
            && parameter["version"] == 1
    };
    let good = images.len() == 2 && snapshots.len() == 2 && place("us-east-1") && place("eu-west-1");
    if good { Ok(Left::Everything) } else { Err(held.to_string()) }
}

/// An app whose image is copied, shared, deprecated in time, and named by a parameter.
fn shop() -> Publication {
    let shop = Publication::new();
    shop.publishes(
        "regions = [\"eu-west-1\"]\naccounts = [\"111122223333\"]\ndeprecate_after = \"90d\"\nparameter = \"/shop/ami\"\n",
    );
    shop
}
