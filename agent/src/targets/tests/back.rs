//! The way back: what was told to leave is registered again.

use super::elb::{Elb, owned, refused, rows};
use super::*;

#[tokio::test]
async fn exactly_what_was_told_comes_back_even_by_the_next_agent() {
    let elb = Elb::start(&[
        (WEB, &[rows(&[("i-0abc", 80, "healthy"), ("i-0abc", 8080, "draining"), ("i-0def", 80, "healthy")])]),
        (API, &[rows(&[("10.0.0.7", 9000, "healthy")])]),
    ])
    .await;
    elb.targets(None).leave().await;
    let next = elb.targets(None);
    assert!(next.rejoin().await);
    let mut sent = elb.sent("RegisterTargets");
    sent.sort();
    assert_eq!(sent, [(API, vec!["10.0.0.7:9000"]), (WEB, vec!["i-0abc:80"])].map(owned));
    assert!(!elb.root.path().join(PATH).exists(), "nothing is owed any more");
    assert!(next.rejoin().await);
    assert_eq!(elb.sent("RegisterTargets").len(), 2, "and nothing is registered twice");
}

#[tokio::test]
async fn after_a_reboot_the_list_is_there_and_on_another_instance_it_is_not() {
    let elb = Elb::start(&[(WEB, &[rows(&[("i-0abc", 80, "healthy")])])]).await;
    elb.targets(None).leave().await;
    // A boot leaves the disk.
    let _ = std::fs::remove_dir_all(elb.root.path().join("run"));
    assert!(owed(elb.root.path()));
    let image = Elb::start(&[(WEB, &[rows(&[])])]).await;
    let inherited = std::fs::read_to_string(elb.root.path().join(PATH)).expect("the list is there");
    let list = image.root.path().join(PATH);
    std::fs::create_dir_all(list.parent().expect("it has a folder")).expect("the folder is ours");
    std::fs::write(&list, inherited.replace("i-0abc", "i-0def")).expect("the folder is ours");
    assert!(image.targets(None).rejoin().await);
    assert!(image.sent("RegisterTargets").is_empty() && !list.exists());

    assert!(elb.targets(None).rejoin().await);
    assert_eq!(elb.sent("RegisterTargets"), [owned((WEB, vec!["i-0abc:80"]))]);
    assert!(!owed(elb.root.path()));
}

#[tokio::test]
async fn the_way_back_goes_through_an_outage_and_drops_what_is_gone() {
    let (tries, ours) = (std::sync::atomic::AtomicUsize::new(0), [rows(&[("i-0abc", 80, "healthy")])]);
    let elb = Elb::answering(&[(WEB, &ours), (API, &ours)], move |arn| {
        match (arn == API, tries.fetch_add(usize::from(arn == WEB), Ordering::SeqCst)) {
            (true, _) => refused("TargetGroupNotFound"),
            (_, 0) => refused("Throttling"),
            (_, 1) => (503, String::new()),
            _ => (200, result("RegisterTargets", "")),
        }
    })
    .await;
    let targets = elb.targets(None);
    targets.leave().await;
    assert!(targets.rejoin().await);
    let of = |arn| elb.sent("RegisterTargets").iter().filter(|(group, _)| group == arn).count();
    assert_eq!((of(WEB), of(API)), (3, 1));
    let said = elb.board.snapshot();
    assert!(said.timeline.iter().any(|entry| entry.what.contains("not registered again in api")), "{said:?}");
    assert!(said.errors.is_empty(), "{:?}", said.errors);
    assert!(!elb.root.path().join(PATH).exists());
}

#[tokio::test]
async fn a_drain_that_begins_stops_the_way_back() {
    let elb =
        Elb::answering(&[(WEB, &[rows(&[("i-0abc", 80, "healthy")])])], |_| refused("Throttling")).await;
    let targets = Arc::new(elb.targets(None));
    targets.leave().await;
    let back = tokio::spawn({
        let targets = targets.clone();
        async move { targets.rejoin().await }
    });
    while elb.sent("RegisterTargets").is_empty() {
        tokio::task::yield_now().await;
    }
    targets.leave().await;
    let calls = elb.sent("RegisterTargets").len();
    assert!(!back.await.expect("it ends by itself"), "the way out wins");
    assert_eq!(elb.sent("RegisterTargets").len(), calls, "no call after the way out began");
    assert!(elb.root.path().join(PATH).exists(), "what was taken out is still known");
}

#[tokio::test]
async fn a_group_that_is_no_longer_attached_is_not_come_back_to() {
    let ours = || rows(&[("i-0abc", 80, "healthy")]);
    let elb = Elb::start(&[(WEB, &[ours()]), (API, &[ours()])]).await;
    elb.targets(Some(vec![WEB.to_owned(), API.to_owned()])).leave().await;
    // With nothing in between but the change of the configuration.
    let later = elb.targets(Some(vec![WEB.to_owned()]));
    assert!(later.rejoin().await);
    assert_eq!(elb.sent("RegisterTargets"), [owned((WEB, vec!["i-0abc:80"]))]);
}

#[tokio::test]
async fn a_group_that_was_detached_from_auto_scaling_is_not_come_back_to() {
    let ours = || rows(&[("i-0abc", 80, "healthy")]);
    let elb = Elb::start(&[(WEB, &[ours()]), (API, &[ours()])]).await;
    elb.targets(None).leave().await;
    let (attached, said) = Elb::attached(&[WEB], &elb).await;
    assert_eq!(attached, [owned((WEB, vec!["i-0abc:80"]))]);
    assert!(said.contains("not registered again in api: no longer attached"), "{said}");
    assert!(!elb.root.path().join(PATH).exists(), "nothing is owed any more");
}

#[tokio::test]
async fn the_last_group_may_be_detached_too_and_an_answer_without_a_list_says_nothing() {
    let elb = Elb::start(&[(WEB, &[rows(&[("i-0abc", 80, "healthy")])])]).await;
    elb.targets(None).leave().await;
    assert!(Elb::attached(&[], &elb).await.0.is_empty());

    let elb = Elb::start(&[(WEB, &[rows(&[("i-0abc", 80, "healthy")])])]).await;
    elb.targets(None).leave().await;
    let asked = AtomicBool::new(false);
    let fake = Fake::start(move |asked_for, _| match action(&asked_for.body) {
        "DescribeAutoScalingInstances" => (200, member("InService")),
        call @ "DescribeAutoScalingGroups" if asked.swap(true, Ordering::SeqCst) => {
            (200, result(call, &elb::groups(&[WEB])))
        }
        call @ "DescribeAutoScalingGroups" => (200, result(call, "")),
        call @ "RegisterTargets" => (200, result(call, "")),
        _ => {
            metadata(asked_for, &[("meta-data/instance-id", "i-0abc"), ("meta-data/local-ipv4", "10.0.0.7")])
        }
    })
    .await;
    let targets = Targets::new(fake::group(&fake, &elb.board), None, elb.board.clone(), elb.root.path());
    assert!(targets.rejoin().await);
    let registered = fake.asked().iter().filter(|asked| action(&asked.body) == "RegisterTargets").count();
    assert_eq!(registered, 1);
}

#[tokio::test]
async fn who_may_not_read_the_groups_comes_back_to_what_was_left() {
    let elb = Elb::start(&[(WEB, &[rows(&[("i-0abc", 80, "healthy")])])]).await;
    elb.targets(Some(vec![WEB.to_owned()])).leave().await;
    let fake = Fake::start(|asked, _| match action(&asked.body) {
        "DescribeAutoScalingInstances" => (200, member("InService")),
        "DescribeAutoScalingGroups" => refused("AccessDenied"),
        call @ "RegisterTargets" => (200, result(call, "")),
        _ => metadata(asked, &[("meta-data/instance-id", "i-0abc"), ("meta-data/local-ipv4", "10.0.0.7")]),
    })
    .await;
    let targets = Targets::new(fake::group(&fake, &elb.board), None, elb.board.clone(), elb.root.path());
    assert!(targets.rejoin().await);
    assert!(!elb.root.path().join(PATH).exists());
}
