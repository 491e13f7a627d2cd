//! `kiln publish` dies by SIGKILL at every call of AWS in turn, before the call is carried out and after; then one
//! run goes on with `kiln resume`, another takes back with `kiln abort`. What exists afterwards is all or nothing.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_tests::emulator::Emulator;
use kiln_tests::programs::run;
use kiln_tests::publication::{DIGEST, Publication};
use serde_json::{Value, json};

/// What is left of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Everything,
    Nothing,
}

/// Emulators that work side by side.
const LANES: usize = 3;

#[test]
fn killed_at_any_call_it_is_finished_or_removed() {
    let shop = shop();
    let aws = Emulator::start();
    quick(&aws);
    run(&mut shop.kiln(&aws, &["publish"])).expect_code(0);
    assert_eq!(left(&aws), Ok(Left::Everything));
    let last = aws.all_calls().len();
    let before = aws.all_calls().len();
    let again = run(&mut shop.kiln(&aws, &["publish"])).expect_code(0);
    let again: Value = serde_json::from_str(&again.stdout).expect("a receipt");
    assert_eq!((&again["adopted"], &again["changed"]), (&json!(true), &json!([])));
    let asked = aws.all_calls().split_off(before);
    let reads = |call: &Value| {
        call["operation"].as_str().is_some_and(|name| name.starts_with("Describe") || name.starts_with("Get"))
    };
    assert!(asked.iter().all(reads), "what is published is only looked at");

    let next = AtomicUsize::new(1);
    let table = Mutex::new(BTreeMap::new());
    std::thread::scope(|lanes| {
        for _ in 0..LANES {
            lanes.spawn(|| {
                let (shop, aws) = (shop.elsewhere(true), Emulator::start());
                quick(&aws);
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number > last {
                        break;
                    }
                    let row = row(&shop, &aws, number, last);
                    table.lock().expect("no lane panics with it").insert(number, row);
                }
            });
        }
    });
    let table = table.into_inner().expect("no lane panicked");
    let leaks =
        table.values().flat_map(|row: &Row| &row.cells).filter(|cell| cell.starts_with("LEAK")).count();
    show(&table, leaks);
    assert_eq!(leaks, 0, "of {} cases", 4 * last);
}

/// What became of a publication that was killed at one call, in four ways.
struct Row {
    operation: String,
    cells: Vec<String>,
}

fn row(shop: &Publication, aws: &Emulator, number: usize, last: usize) -> Row {
    let mut row = Row { operation: String::new(), cells: Vec::new() };
    for (after, command) in [(false, "resume"), (true, "resume"), (false, "abort"), (true, "abort")] {
        row.operation = killed_at(shop, aws, number, after);
        let ended = run(&mut shop.kiln(aws, &[command]));
        let found = left(aws);
        let settled = number == last && after;
        let wanted = if command == "resume" || settled { Left::Everything } else { Left::Nothing };
        let good = ended.code == Some(0) && found == Ok(wanted) && shop.journals() == 0;
        row.cells.push(match (&found, good) {
            (Ok(found), true) => format!("{found:?}").to_lowercase(),
            _ => format!("LEAK {found:?} exit {:?} {}", ended.code, ended.stderr.trim()),
        });
    }
    row
}

#[test]
fn another_machine_finds_it_by_its_tags() {
    let shop = shop();
    let aws = Emulator::start();
    quick(&aws);
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
        killed(
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

    killed(&shop, &aws, &json!([{"kind": "hold", "operation": "PutSnapshotBlock"}]));
    let name = aws.holdings()["snapshots"][0]["tags"]["kiln:publication"].clone();
    let name = name.as_str().expect("a snapshot names its publication").to_owned();
    let refused = run(&mut shop.elsewhere(false).kiln(&aws, &["resume", &name])).expect_code(2);
    assert!(refused.stderr.contains("'kiln bake' of the same commit"), "{}", refused.stderr);
}

fn quick(aws: &Emulator) {
    aws.set(&json!({"snapshot_looks": 1, "image_looks": 1}));
}

/// Kills `kiln publish` while the call of that number is held; the operation.
fn killed_at(shop: &Publication, aws: &Emulator, number: usize, after: bool) -> String {
    killed(shop, aws, &json!([{"kind": "hold", "at": number, "after": after}]))
}

fn killed(shop: &Publication, aws: &Emulator, faults: &Value) -> String {
    aws.wipe();
    shop.forget();
    shop.killed(aws, faults)
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

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

#[expect(clippy::print_stdout, reason = "the table is what the story is about")]
fn show(table: &BTreeMap<usize, Row>, leaks: usize) {
    println!("killed at                        before, resume  after, resume   before, abort   after, abort");
    for (number, Row { operation, cells }) in table {
        let cells: Vec<_> = cells.iter().map(|cell| format!("{cell:<15}")).collect();
        println!("{number:>3} {operation:<28} {}", cells.join(" "));
    }
    println!("{} cases, {leaks} leaks", 4 * table.len());
}

/// An app whose image is copied, shared, deprecated in time, and named by a parameter.
fn shop() -> Publication {
    let shop = Publication::new();
    shop.publishes(
        "regions = [\"eu-west-1\"]\naccounts = [\"111122223333\"]\ndeprecate_after = \"90d\"\nparameter = \"/shop/ami\"\n",
    );
    shop
}
