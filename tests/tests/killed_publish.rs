//! `kiln publish` dies by SIGKILL at every call of AWS in turn, before the call is carried out and after; then one
//! run goes on with `kiln resume`, another takes back with `kiln abort`. What exists afterwards is all or nothing.

use std::collections::BTreeMap;

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

#[test]
fn killed_at_any_call_it_is_finished_or_removed() {
    let shop = Publication::new();
    let aws = Emulator::start();
    quick(&aws);
    run(&mut shop.kiln(&aws, &["publish"])).expect_code(0);
    let whole = left(&aws);
    assert_eq!(whole, Ok(Left::Everything));
    let calls = aws.all_calls();
    let last = calls.len();

    let mut table: BTreeMap<usize, (String, [String; 4])> = BTreeMap::new();
    let mut leaks = 0;
    for number in 1..=last {
        for (column, (after, command)) in
            [(false, "resume"), (true, "resume"), (false, "abort"), (true, "abort")].into_iter().enumerate()
        {
            let operation = killed_at(&shop, &aws, number, after);
            let ended = run(&mut shop.kiln(&aws, &[command]));
            let found = left(&aws);
            let settled = number == last && after;
            let wanted = if command == "resume" || settled { Left::Everything } else { Left::Nothing };
            let good = ended.code == Some(0) && found == Ok(wanted) && shop.journals() == 0;
            leaks += usize::from(!good);
            let cell = match (&found, good) {
                (Ok(found), true) => format!("{found:?}").to_lowercase(),
                _ => format!("LEAK {found:?} exit {:?} {}", ended.code, ended.stderr.trim()),
            };
            let row = table.entry(number).or_insert_with(|| (operation.clone(), Default::default()));
            row.1[column] = cell;
        }
    }
    show(&table, leaks);
    assert_eq!(leaks, 0, "of {} cases", 4 * last);
}

#[test]
fn another_machine_finds_it_by_its_tags() {
    let shop = Publication::new();
    let aws = Emulator::start();
    quick(&aws);
    for (operation, with_image, command, wanted) in [
        ("PutSnapshotBlock", true, "resume", Left::Everything),
        ("CompleteSnapshot", true, "resume", Left::Everything),
        ("CreateTags", true, "resume", Left::Everything),
        ("PutSnapshotBlock", false, "abort", Left::Nothing),
        ("CompleteSnapshot", false, "abort", Left::Nothing),
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
    aws.fail(faults);
    let mut command = shop.kiln(aws, &["publish"]);
    let mut process = command.stderr(std::process::Stdio::null()).spawn().expect("kiln starts");
    let held = aws.held();
    process.kill().expect("it lives until it is killed");
    process.wait().expect("it is gone");
    aws.release();
    held["operation"].as_str().expect("a call was held").to_owned()
}

/// All of the publication, nothing of it, or what else there is.
fn left(aws: &Emulator) -> Result<Left, String> {
    let held = aws.holdings();
    let (images, snapshots) = (list(&held["images"]), list(&held["snapshots"]));
    if images.is_empty() && snapshots.is_empty() {
        return Ok(Left::Nothing);
    }
    let whole =
        |thing: &Value| thing["tags"]["kiln:state"] == "published" && thing["tags"]["kiln:digest"] == DIGEST;
    let ready = |key: &str, thing: &Value, state: &str| thing[key] == state && whole(thing);
    match (images.as_slice(), snapshots.as_slice()) {
        ([image], [snapshot])
            if ready("state", image, "available")
                && ready("status", snapshot, "completed")
                && image["snapshot"] == snapshot["id"]
                && snapshot["blocks"] == 4 =>
        {
            Ok(Left::Everything)
        }
        _ => Err(held.to_string()),
    }
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

#[expect(clippy::print_stdout, reason = "the table is what the story is about")]
fn show(table: &BTreeMap<usize, (String, [String; 4])>, leaks: usize) {
    println!("killed at                        before, resume  after, resume   before, abort   after, abort");
    for (number, (operation, cells)) in table {
        let cells: Vec<_> = cells.iter().map(|cell| format!("{cell:<15}")).collect();
        println!("{number:>3} {operation:<28} {}", cells.join(" "));
    }
    println!("{} cases, {leaks} leaks", 4 * table.len());
}
