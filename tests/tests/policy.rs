//! The policy that `kiln plan --policy` prints allows what a publication's whole life calls, and nothing else.

use std::collections::BTreeSet;

use kiln_tests::emulator::Emulator;
use kiln_tests::programs::run;
use kiln_tests::publication::{DIGEST, Publication};
use serde_json::{Value, json};

const HERE: &[&str] = &["plan", "--policy"];
const ON_INSTANCE: &[&str] = &["plan", "--policy", "--on", "instance"];

#[test]
fn it_lacks_nothing_and_exceeds_nothing() {
    let all = "regions = [\"eu-west-1\"]\naccounts = [\"111122223333\"]\ndeprecate_after = \"9d\"\nparameter = \"/shop/ami\"\nkeep = 1\n";
    assert_eq!(called(all), allowed(all, HERE));
    assert_eq!(called("keep = 1\n"), allowed("keep = 1\n", HERE));
}

#[test]
fn nor_does_that_of_a_bake_on_an_instance() {
    let all = "regions = [\"eu-west-1\"]\ndeprecate_after = \"9d\"\nparameter = \"/shop/ami\"\nkeep = 1\n";
    assert_eq!(called_on_instance(all), allowed(all, ON_INSTANCE));
    assert_eq!(called_on_instance("keep = 1\n"), allowed("keep = 1\n", ON_INSTANCE));
}

#[test]
fn a_plan_announces_each_call_of_a_publication() {
    let (shop, aws) = (shop("accounts = [\"111122223333\"]\n"), Emulator::start());
    let plan = run(&mut shop.kiln(&aws, &["plan"])).expect_code(0);
    assert!(aws.all_calls().is_empty(), "it asks nobody");
    announced(&plan.stdout, &shop, &aws, &["publish"]);
}

#[test]
fn and_each_of_a_bake_on_an_instance() {
    // Shared is only what a key of one's own encrypts.
    let (shop, aws) = (shop(""), Emulator::start());
    shop.bakes_on_instance();
    aws.furnish();
    aws.set(&json!({"builder_looks": 0}));
    let plan = run(&mut shop.kiln(&aws, &["plan", "--on", "instance"])).expect_code(0);
    assert_eq!(aws.all_calls().len(), 1, "it asks for the base");
    assert!(plan.stdout.contains("ami-0ba5e0ba5e0ba5e01  debian-12-amd64-20260101-1"), "{}", plan.stdout);
    announced(&plan.stdout, &shop, &aws, &["bake", "--on", "instance"]);
}

#[test]
fn a_base_is_found_by_its_id_and_by_a_parameter() {
    let (shop, aws) = (shop(""), Emulator::start());
    shop.bakes_on_instance();
    aws.furnish();
    let named = json!({"Name": "/vendor/debian-12", "Type": "String", "Value": "ami-0ba5e0ba5e0ba5e01"});
    aws.json("ssm", "AmazonSSM.PutParameter", &named.to_string());
    let path = shop.app().join("kiln.toml");
    let text = std::fs::read_to_string(&path).expect("the manifest");
    let newest = text.lines().find(|line| line.starts_with("base = {")).expect("a base by its name");
    let plan = |base: &str, code: i32| {
        std::fs::write(&path, text.replace(newest, base)).expect("it can be written");
        run(&mut shop.kiln(&aws, &["plan", "--on", "instance"])).expect_code(code)
    };
    for base in ["base = \"ami-0ba5e0ba5e0ba5e01\"", "base = { parameter = \"/vendor/debian-12\" }"] {
        let plan = plan(base, 0);
        assert!(
            plan.stdout.contains("ami-0ba5e0ba5e0ba5e01  debian-12-amd64-20260101-1"),
            "{base}: {}",
            plan.stdout
        );
    }
    for (base, reason) in [
        (
            "base = { parameter = \"/vendor/debian-99\" }",
            "there is no SSM parameter '/vendor/debian-99' in us-east-1",
        ),
        ("base = { name = \"debian-99-*\", owner = \"136693071363\" }", "whose name fits 'debian-99-*'"),
        ("base = \"ami-00000000000000000\"", "ami-00000000000000000"),
    ] {
        let refused = plan(base, 1);
        assert!(refused.stderr.contains(reason), "{base}: {}", refused.stderr);
    }
}

fn shop(more: &str) -> Publication {
    let shop = Publication::new();
    let keys = "regions = [\"eu-west-1\"]\ndeprecate_after = \"9d\"\nparameter = \"/shop/ami\"\n";
    shop.publishes(&format!("{keys}{more}"));
    shop
}

/// Fails unless the command makes the calls that the plan has, each in its region, and no others.
fn announced(plan: &str, shop: &Publication, aws: &Emulator, command: &[&str]) {
    let plan: Value = serde_json::from_str(plan).expect("a plan");
    let announced = plan["calls"].as_array().expect("calls").iter().map(|call| {
        let region = call["region"].as_str().unwrap_or("us-east-1");
        format!("{} in {region}", call["action"].as_str().expect("an action"))
    });
    run(&mut shop.kiln(aws, command)).expect_code(0);
    let calls = aws.all_calls();
    let made = calls.iter().map(|call| {
        let text = |key: &str| call[key].as_str().expect("a call has it").to_owned();
        format!("{}:{} in {}", text("service"), text("operation"), text("region"))
    });
    assert_eq!(announced.collect::<BTreeSet<_>>(), made.collect());
}

/// Every action of a life: killed, aborted elsewhere, published, succeeded, retired.
fn called(keys: &str) -> BTreeSet<String> {
    let shop = Publication::new();
    shop.publishes(keys);
    let aws = Emulator::start();
    aws.set(&json!({"snapshot_looks": 0, "image_looks": 0, "parameter_looks": 0}));
    shop.killed(&aws, &["publish"], &json!([{"operation": "CreateTags", "kind": "hold"}]));
    let name = aws.holdings()["snapshots"][0]["tags"]["kiln:publication"].clone();
    let name = name.as_str().expect("a snapshot names its publication").to_owned();
    run(&mut shop.elsewhere(false).kiln(&aws, &["abort", &name])).expect_code(0);
    shop.forget();

    let next = DIGEST.replacen("9f86", "aaaa", 1);
    shop.image(&next, &[(0, 1)]);
    for digest in [DIGEST, &next] {
        run(&mut shop.kiln(&aws, &["publish", digest])).expect_code(0);
        aws.next_second();
    }
    retire(&shop, &aws);
    actions(&aws)
}

/// The same of a builder: killed before and after its image, aborted elsewhere, baked, succeeded, retired.
fn called_on_instance(keys: &str) -> BTreeSet<String> {
    let bake = &["bake", "--on", "instance"];
    let shop = Publication::new();
    shop.publishes(keys);
    shop.bakes_on_instance();
    let aws = Emulator::start();
    aws.furnish();
    let quick = json!({"snapshot_looks": 0, "image_looks": 0, "parameter_looks": 0, "builder_looks": 0});
    aws.set(&quick);
    for operation in ["CreateImage", "CreateTags"] {
        let after = operation == "CreateImage";
        shop.killed(&aws, bake, &json!([{"operation": operation, "kind": "hold", "after": after}]));
        let name = aws.holdings()["snapshots"][0]["tags"]["kiln:publication"].clone();
        let name = name.as_str().expect("a snapshot names its publication").to_owned();
        run(&mut shop.elsewhere(false).kiln(&aws, &["abort", &name])).expect_code(0);
        shop.forget();
    }
    for line in ["", "# Another.\n"] {
        let source = shop.app().join("backend/shop/__init__.py");
        let text = std::fs::read_to_string(&source).expect("a source");
        std::fs::write(&source, text + line).expect("it is ours");
        run(&mut shop.kiln(&aws, bake)).expect_code(0);
        aws.next_second();
    }
    retire(&shop, &aws);
    actions(&aws)
}

fn retire(shop: &Publication, aws: &Emulator) {
    for _ in 0..3 {
        run(&mut shop.kiln(aws, &["gc", "--grace-days", "0", "--apply"])).expect_code(0);
    }
}

fn actions(aws: &Emulator) -> BTreeSet<String> {
    let action = |call: &Value| {
        let (service, operation) = (call["service"].as_str()?, call["operation"].as_str()?);
        Some(format!("{service}:{operation}"))
    };
    aws.all_calls().iter().filter_map(action).collect()
}

fn allowed(keys: &str, command: &[&str]) -> BTreeSet<String> {
    let shop = Publication::new();
    shop.publishes(keys);
    shop.bakes_on_instance();
    let aws = Emulator::start();
    let ended = run(&mut shop.kiln(&aws, command)).expect_code(0);
    assert!(aws.all_calls().is_empty(), "it asks nobody");
    let policy: Value = serde_json::from_str(&ended.stdout).expect("a policy");
    let statements = policy["Statement"].as_array().expect("statements");
    let actions = statements.iter().flat_map(|statement| statement["Action"].as_array().expect("actions"));
    actions.map(|action| action.as_str().expect("a name").to_owned()).collect()
}
