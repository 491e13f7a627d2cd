//! The policy that `kiln plan --policy` prints allows what a publication's whole life calls, and nothing else.

use std::collections::BTreeSet;

use kiln_tests::emulator::Emulator;
use kiln_tests::programs::run;
use kiln_tests::publication::{DIGEST, Publication};
use serde_json::{Value, json};

#[test]
fn it_lacks_nothing_and_exceeds_nothing() {
    let all = "regions = [\"eu-west-1\"]\naccounts = [\"111122223333\"]\ndeprecate_after = \"9d\"\nparameter = \"/shop/ami\"\nkeep = 1\n";
    assert_eq!(called(all), allowed(all));
    assert_eq!(called("keep = 1\n"), allowed("keep = 1\n"));
}

#[test]
fn a_plan_announces_each_call_of_a_publication() {
    let shop = Publication::new();
    shop.publishes("regions = [\"eu-west-1\"]\naccounts = [\"111122223333\"]\ndeprecate_after = \"9d\"\nparameter = \"/shop/ami\"\n");
    let aws = Emulator::start();
    let plan = run(&mut shop.kiln(&aws, &["plan"])).expect_code(0);
    assert!(aws.all_calls().is_empty(), "it asks nobody");
    let plan: Value = serde_json::from_str(&plan.stdout).expect("a plan");
    let announced = plan["calls"].as_array().expect("calls").iter().map(|call| {
        let region = call["region"].as_str().unwrap_or("us-east-1");
        format!("{} in {region}", call["action"].as_str().expect("an action"))
    });
    run(&mut shop.kiln(&aws, &["publish"])).expect_code(0);
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
    shop.killed(&aws, &json!([{"operation": "CreateTags", "kind": "hold"}]));
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
    for _ in 0..3 {
        run(&mut shop.kiln(&aws, &["gc", "--grace-days", "0", "--apply"])).expect_code(0);
    }
    let action = |call: &Value| {
        let (service, operation) = (call["service"].as_str()?, call["operation"].as_str()?);
        Some(format!("{service}:{operation}"))
    };
    aws.all_calls().iter().filter_map(action).collect()
}

fn allowed(keys: &str) -> BTreeSet<String> {
    let shop = Publication::new();
    shop.publishes(keys);
    let aws = Emulator::start();
    let ended = run(&mut shop.kiln(&aws, &["plan", "--policy"])).expect_code(0);
    assert!(aws.all_calls().is_empty(), "it asks nobody");
    let policy: Value = serde_json::from_str(&ended.stdout).expect("a policy");
    let statements = policy["Statement"].as_array().expect("statements");
    let actions = statements.iter().flat_map(|statement| statement["Action"].as_array().expect("actions"));
    actions.map(|action| action.as_str().expect("a name").to_owned()).collect()
}
