//! The plan as it is printed.

use super::*;

fn subject(digest: Option<&str>) -> Subject {
    Subject {
        name: "shop".into(),
        base: "debian-12".into(),
        disk_gib: 2,
        packages: vec!["jq".into(), "ripgrep".into()],
        hardening: vec!["ssh", "kernel"],
        inputs: vec![Part { part: "agent".into(), sha256: "0123456789abcdef".into() }],
        digest: digest.map(Into::into),
        calls: Vec::new(),
    }
}

#[test]
fn a_first_bake_builds_what_is_not_cached_and_knows_no_digest() {
    let held = Held {
        frontends: vec![("shop".into(), None)],
        venvs: vec![("shop".into(), Some(5 << 20))],
        ..Held::default()
    };
    let expected = "\
image     shop, a disk of 2 GiB
digest    known once there is a kiln.lock: 'kiln update' or the first bake writes it
packages  jq ripgrep, over the base's own
hardening ssh kernel
layers
  disk tools               to build
  base debian-12           to build
  frontend of shop         to build
  venv of shop             cached        5.0 MiB
  image                    to build
inputs
  agent                    0123456789ab
steps     tools → base → frontend → venv → overlay → provision → clean → root.tar → assert → disk.raw → receipt";
    assert_eq!(Plan::new(subject(None), &held).to_string(), expected);
}

#[test]
fn the_latest_image_says_how_little_a_change_may_touch() {
    let mut plan = Plan::new(subject(None), &Held::default());
    let before = Before {
        digest: "0123456789abcdef".into(),
        seconds: 4.04,
        blocks_nonzero: 628,
        change: None,
        changed: Vec::new(),
    };
    plan.before = Some(before.clone());
    let line = "latest    0123456789ab, baked in 4.0 s, 628 blocks hold data";
    assert!(plan.to_string().contains(&format!("\n{line}\n")), "{plan}");
    let change = Some(Change { since: "fedcba9876543210".into(), blocks_changed: 2 });
    plan.before = Some(Before { change, ..before });
    assert!(plan.to_string().contains(&format!("\n{line}, 2 changed since fedcba987654\n")), "{plan}");
}

#[test]
fn on_an_instance_the_base_is_pinned_and_the_rest_is_the_instances_own() {
    let held = Held { venvs: vec![("shop".into(), None)], ..Held::default() };
    let subject = Subject { base: "ami-1  debian-12-amd64-1".into(), ..subject(Some("d1")) };
    let expected = "\
image     shop, a disk of 2 GiB
digest    d1
base      ami-1  debian-12-amd64-1
packages  jq ripgrep, over the base's own
hardening ssh kernel
layers
  venv of shop             to build
inputs
  agent                    0123456789ab
steps     frontend → bundle → instance → stopped → image → terminated → publish";
    assert_eq!(Plan::on_instance(subject, &held).to_string(), expected);
}

#[test]
fn an_image_that_is_there_leaves_nothing_to_do() {
    let held = Held { base: Some(1), tools: true, image: Some(1), ..Held::default() };
    let plan = Plan::new(subject(Some("d1")), &held);
    assert!(plan.steps.is_empty());
    assert!(plan.to_string().contains("digest    d1\n"), "{plan}");
    assert!(plan.to_string().ends_with("steps     none: the image is there"), "{plan}");
}
