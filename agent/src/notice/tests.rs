//! What the metadata service says, and what becomes of it.

use super::*;
use crate::fake::{self, Fake, metadata};
use proptest::prelude::*;

#[test]
fn an_interruption_is_read_with_its_time() {
    let wall = humantime::parse_rfc3339("2026-01-01T00:00:00Z").expect("a valid time");
    let now = Moment::from_millis(1000);
    let cases = [
        (r#"{"action":"terminate","time":"2026-01-01T00:01:30Z"}"#, Some(("terminate", 91_000))),
        (r#"{"action":"stop","time":"2026-01-01T09:00:00Z"}"#, Some(("stop", 121_000))),
        (r#"{"action":"hibernate","time":"2025-12-31T00:00:00Z"}"#, Some(("hibernate", 1000))),
        (r#"{"action":"terminate","time":"soon"}"#, Some(("terminate", 1000))),
        (r#"{"action":"noop","time":"2026-01-01T00:01:30Z"}"#, None),
        ("<html>503</html>", None),
        ("", None),
    ];
    for (text, expected) in cases {
        let expected = expected.map(|(action, at)| (action.to_owned(), Moment::from_millis(at)));
        assert_eq!(parse_interruption(text, wall, now), expected, "{text}");
    }
}

#[tokio::test]
async fn a_spot_interruption_is_a_notice_with_its_time_and_said_once() {
    let mut story = Story::start(Rebalance::Report, &[("spot/instance-action", SOON)]).await;
    let Some(Event::Notice { notice: Notice::Spot, deadline: Some(deadline) }) =
        story.heard_groupless().await
    else {
        panic!("a spot notice with a deadline");
    };
    let ahead = deadline.since(story.clock.now());
    assert!(ahead <= Duration::from_mins(2), "EC2 announces two minutes ahead, not {ahead:?}");
    let errors = story.board.snapshot().errors;
    assert_eq!(errors.get("spot").map(String::as_str), Some("EC2 will terminate this spot instance"));
}

#[tokio::test]
async fn a_rebalance_recommendation_is_reported_or_heeded() {
    let item = [("events/recommendations/rebalance", r#"{"noticeTime":"2026-01-01T00:00:00Z"}"#)];
    let mut heeded = Story::start(Rebalance::Drain, &item).await;
    assert_eq!(
        heeded.heard_groupless().await,
        Some(Event::Notice { notice: Notice::Rebalance, deadline: None })
    );
    let mut reported = Story::start(Rebalance::Report, &item).await;
    assert_eq!(reported.heard().await, Some(Event::Groupless));
    while !reported.board.snapshot().errors.contains_key("rebalance") {
        tokio::task::yield_now().await;
    }
    assert!(reported.events.is_empty());
}

#[tokio::test]
async fn target_states_are_passed_on_by_what_they_mean() {
    let cases = [
        ("InService", Some(Event::Target(Place::Service))),
        ("Warmed:Hibernated", Some(Event::Target(Place::Pool))),
        ("Standby", Some(Event::Target(Place::Standby))),
        ("Detached", Some(Event::Target(Place::Standby))),
        ("Terminated", Some(Event::Notice { notice: Notice::Group, deadline: None })),
        ("Warmed:Terminated", Some(Event::Notice { notice: Notice::Group, deadline: None })),
        ("SomethingNew", None),
        ("", None),
    ];
    for (state, expected) in cases {
        let mut story =
            Story::start(Rebalance::Report, &[("autoscaling/target-lifecycle-state", state)]).await;
        if expected.is_some() {
            assert_eq!(story.heard().await, expected, "{state}");
        } else {
            while story.board.snapshot().target_state.as_deref() != Some(state) {
                tokio::task::yield_now().await;
            }
            assert!(story.events.is_empty(), "{state}");
        }
    }
}

#[tokio::test]
async fn only_an_absent_state_says_that_there_is_no_group_and_says_it_once() {
    let fake = Fake::start(|asked, number| match number {
        0..4 => (503, String::new()),
        _ => metadata(asked, &[]),
    })
    .await;
    let mut story = Story::with(Rebalance::Report, &fake);
    assert_eq!(story.heard().await, Some(Event::Groupless));
    assert!(fake.asked().len() > 4, "no failure said so");
    let reads = |fake: &Fake| fake.asked().iter().filter(|asked| asked.path.ends_with("-state")).count();
    let seen = reads(&fake);
    while reads(&fake) < seen + 3 {
        tokio::task::yield_now().await;
    }
    assert!(story.events.is_empty());
}

#[tokio::test]
async fn failures_change_nothing_and_are_polled_through() {
    let fake = Fake::start(|asked, number| match number {
        // Each of these would have been "absent" to a careless client.
        0..4 => (503, String::new()),
        4..6 => (403, String::new()),
        6..8 => (500, "InService".to_owned()),
        _ => metadata(asked, &[("meta-data/autoscaling/target-lifecycle-state", "Terminated")]),
    })
    .await;
    let mut story = Story::with(Rebalance::Drain, &fake);
    assert_eq!(story.heard().await, Some(Event::Notice { notice: Notice::Group, deadline: None }));
    assert!(story.events.is_empty());
}

/// In the year 2100: a wall clock that is off makes no more than two minutes of it.
const SOON: &str = r#"{"action":"terminate","time":"2100-01-01T00:00:00Z"}"#;

/// A poller on a metadata service of its own.
struct Story {
    events: mpsc::Receiver<Event>,
    board: Board,
    clock: Clock,
}

impl Story {
    async fn start(rebalance: Rebalance, items: &[(&'static str, &'static str)]) -> Self {
        let items: Vec<(String, &str)> =
            items.iter().map(|(name, value)| (format!("meta-data/{name}"), *value)).collect();
        let fake = Fake::start(move |asked, _| {
            let items: Vec<(&str, &str)> =
                items.iter().map(|(name, value)| (name.as_str(), *value)).collect();
            metadata(asked, &items)
        })
        .await;
        Self::with(rebalance, &fake)
    }

    fn with(rebalance: Rebalance, fake: &Fake) -> Self {
        Self::every(Duration::from_millis(5), rebalance, fake)
    }

    fn every(poll: Duration, rebalance: Rebalance, fake: &Fake) -> Self {
        let (events, heard) = mpsc::channel(8);
        let (board, clock) = (fake::board(), Clock::system());
        let imds = Arc::new(Imds::new(&fake.url).expect("the fake has a valid address"));
        tokio::spawn(Poller { imds, poll, rebalance, board: board.clone(), clock, events }.run());
        Self { events: heard, board, clock }
    }

    async fn heard(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// What an instance in no group hears after that.
    async fn heard_groupless(&mut self) -> Option<Event> {
        assert_eq!(self.heard().await, Some(Event::Groupless));
        self.heard().await
    }
}

proptest! {
    #[test]
    fn any_text_gets_an_answer(text in "\\PC{0,200}") {
        let _ = parse_interruption(&text, SystemTime::UNIX_EPOCH, Moment::default());
    }

    #[test]
    fn an_interruption_of_any_time_leaves_between_none_and_two_minutes(
        action in "terminate|stop|hibernate|[a-z]{0,12}",
        time in "[0-9]{1,5}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,9})?Z?|\\PC{0,40}",
        extra in proptest::option::of(0_u32..9),
        wall in 0_u64..4_000_000_000,
    ) {
        let text = serde_json::json!({ "action": action, "time": time, "extra": extra }).to_string();
        let now = Moment::from_millis(5000);
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(wall);
        let known = ["terminate", "stop", "hibernate"].contains(&action.as_str());
        let read = parse_interruption(&text, wall, now);
        prop_assert_eq!(read.is_some(), known);
        if let Some((_, deadline)) = read {
            prop_assert!(deadline >= now && deadline.since(now) <= Duration::from_mins(2));
        }
        // Cut anywhere, it is no interruption.
        for (at, _) in text.char_indices() {
            prop_assert_eq!(parse_interruption(&text[..at], wall, now), None);
        }
    }
}

/// A service that is gone for an hour: what it was asked meanwhile, and what the lifecycle heard.
#[tokio::test(start_paused = true)]
async fn an_outage_is_asked_through_ever_more_rarely_and_never_in_step() {
    let fake = Fake::start(|_, _| (503, String::new())).await;
    let story = Story::every(Duration::from_secs(1), Rebalance::Drain, &fake);
    let begun = Instant::now();
    let (mut times, mut seen) = (Vec::new(), 0);
    while begun.elapsed() < Duration::from_hours(1) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let asked = fake.asked().len();
        times.extend(std::iter::repeat_n(begun.elapsed().as_millis(), asked - seen));
        seen = asked;
    }
    assert!(story.events.is_empty(), "missing data changes nothing");
    assert!((3600 / 5..3600 / 2).contains(&times.len()), "{} requests in an hour", times.len());
    let pauses: Vec<u128> = times.windows(2).map(|pair| pair[1] - pair[0]).skip(6).collect();
    assert!(pauses.iter().all(|pause| (1_100..=5_200).contains(pause)), "{pauses:?}");
    assert!(pauses.iter().collect::<std::collections::BTreeSet<_>>().len() > 20, "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn each_item_is_read_as_often_as_it_matters() {
    for (rebalance, advice) in [(Rebalance::Report, 3), (Rebalance::Drain, 13)] {
        let state = [("meta-data/autoscaling/target-lifecycle-state", "InService")];
        let fake = Fake::start(move |asked, _| metadata(asked, &state)).await;
        let _story = Story::every(Duration::from_secs(1), rebalance, &fake);
        tokio::time::sleep(Duration::from_millis(60_500)).await;
        let count = |item: &str| fake.asked().iter().filter(|asked| asked.path.ends_with(item)).count();
        assert_eq!(count("/target-lifecycle-state"), 61);
        assert_eq!((count("/instance-action"), count("/rebalance")), (13, advice));
    }
}
