//! The real SDK against a small `CloudWatch` on loopback.

use super::*;
use crate::fake::{self, Fake, metadata};
use std::sync::atomic::{AtomicU16, Ordering};

/// 77.0 as CBOR has it, read as text: what the `CloudWatch` here takes for a bad value.
const BAD: &str = "@S@\0\0\0\0\0";

#[tokio::test]
async fn the_groups_datum_goes_out_only_for_slots_in_service() {
    let cloud = Cloud::start(200).await;
    let slots = vec![slot(10, true), slot(20, false), slot(30, true)];
    let tally = cloud.metrics(&["InstanceId", "AutoScalingGroupName"]).publish(slots).await;
    assert_eq!((tally.taken, tally.refused, tally.left.len()), (5, 0, 0));
    let calls = cloud.calls();
    assert_eq!(calls.len(), 1, "one call for all");
    let count = |text: &str| calls[0].matches(text).count();
    assert_eq!((count("InstanceId"), count("AutoScalingGroupName"), count("CPUUtilization")), (3, 2, 5));
    assert!(calls[0].contains("i-0abc") && calls[0].contains("web") && calls[0].contains("Kiln"));
}

#[tokio::test]
async fn what_is_asked_for_is_published_and_nothing_that_was_not_sampled() {
    let cloud = Cloud::start(200).await;
    let mut metrics = cloud.metrics(&["InstanceId"]);
    metrics.settings.publish = vec![Published::Steal, Published::Memory, Published::Disk];
    let mut full = slot(10, true);
    full.means = [1.0; _];
    full.means[Published::Disk.index()] = f64::INFINITY;
    assert_eq!(metrics.publish(vec![full]).await.taken, 2);
    let call = &cloud.calls()[0];
    assert!(call.contains("CPUSteal") && call.contains("MemoryUtilization"), "{call}");
    assert!(!call.contains("CPUUtilization") && !call.contains("DiskUtilization"), "{call}");
}

#[tokio::test]
async fn a_buffer_full_of_the_longest_names_goes_out_within_the_limits_of_a_call() {
    let cloud = Cloud::start(200).await;
    cloud.board.lock().group = Some("g".repeat(255));
    let mut metrics = cloud.metrics(&["InstanceId", "AutoScalingGroupName"]);
    metrics.settings.publish = Published::ALL.to_vec();
    metrics.settings.namespace = "n".repeat(255);
    let mut buffer = metrics.buffer();
    buffer.extend((0..10_000).map(|n| Slot { means: [50.0; _], ..slot(n * 10, true) }));
    let (waiting, _, _, dropped) = buffer.counters();
    assert_eq!(waiting + dropped, 10_000 * 14);
    let tally = metrics.publish(buffer.take(100_000)).await;
    assert_eq!(tally.taken as u64, waiting);
    for call in cloud.calls() {
        let datums = call.matches("MetricName").count();
        assert!(datums <= 1000 && call.len() < 1_000_000, "{datums} in {}", call.len());
    }
}

#[tokio::test]
async fn one_bad_datum_costs_only_itself() {
    let cloud = Cloud::start(200).await;
    let mut slots: Vec<Slot> = (0..360).map(|number| slot(number * 10, true)).collect();
    slots[123].means[0] = 77.0;
    let tally = cloud.metrics(&["InstanceId"]).publish(slots).await;
    assert_eq!((tally.taken, tally.refused, tally.left.len()), (359, 1, 0));
    assert!(cloud.calls().len() <= 20, "{} calls", cloud.calls().len());
    assert!(cloud.board.snapshot().errors.contains_key("metrics"));
}

#[tokio::test]
async fn a_fault_that_is_in_no_datum_is_not_searched_for_each_minute() {
    let cloud = Cloud::start(400).await;
    let metrics = cloud.metrics(&["InstanceId"]);
    let mut before = 0;
    for expected in [25, 1, 1] {
        let slots: Vec<Slot> = (0..360).map(|number| slot(number * 10, true)).collect();
        let tally = metrics.publish(slots).await;
        assert_eq!((tally.taken, tally.refused), (0, 360));
        let calls = cloud.calls().len();
        assert_eq!(calls - before, expected);
        before = calls;
    }
    cloud.status.store(200, Ordering::Relaxed);
    assert_eq!(metrics.publish(vec![slot(10, true)]).await.taken, 1);
}

#[tokio::test]
async fn an_outage_keeps_the_slots_and_says_so() {
    for (status, kept) in [(503, 2), (429, 2), (400, 0)] {
        let cloud = Cloud::start(status).await;
        let metrics = cloud.metrics(&["InstanceId"]);
        let tally = metrics.publish(vec![slot(10, true), slot(20, true)]).await;
        assert_eq!((tally.left.len(), tally.refused), (kept, 2 - kept), "{status}");
        assert!(cloud.board.snapshot().errors.contains_key("metrics"), "{status}: it is said");
        metrics.publish(tally.left).await;
        cloud.status.store(200, Ordering::Relaxed);
        metrics.publish(vec![slot(30, true)]).await;
        assert!(cloud.board.snapshot().errors.is_empty(), "{status}: an error that is over is gone");
    }
}

#[tokio::test]
async fn a_flush_sends_what_is_there_without_waiting_for_the_period() {
    let cloud = Cloud::start(200).await;
    let (flushes, requests) = mpsc::channel(4);
    tokio::spawn(cloud.metrics(&["InstanceId"]).run(requests));
    // The first two samples make a share; the flush closes its slot long before its ten seconds are over.
    while cloud.board.snapshot().metrics.cpu == crate::board::Cpu::default() {
        tokio::task::yield_now().await;
    }
    let (done, answer) = oneshot::channel();
    flushes.send(done).await.expect("the publisher listens");
    tokio::time::timeout(Duration::from_secs(5), answer).await.expect("in time").expect("it answers");
    assert_eq!(cloud.calls().len(), 1);
    let row = cloud.board.snapshot().metrics;
    assert!(row.memory.is_some() && row.disk.is_some(), "{row:?}");
}

struct Cloud {
    fake: Fake,
    board: Board,
    status: Arc<AtomicU16>,
}

impl Cloud {
    async fn start(status: u16) -> Self {
        let status = Arc::new(AtomicU16::new(status));
        let served = status.clone();
        let fake = Fake::start(move |asked, _| {
            if asked.path.contains("/latest/") {
                let (code, body) = metadata(asked, &[("meta-data/instance-id", "i-0abc")]);
                return (code, body.into_bytes());
            }
            match served.load(Ordering::Relaxed) {
                200 if asked.body.contains(BAD) => (400, failure("InvalidParameterValue")),
                200 => (200, vec![0xa0]),
                429 => (400, failure("Throttling")),
                400 => (400, failure("InvalidParameterValue")),
                other => (other, Vec::new()),
            }
        })
        .await;
        let board = fake::board();
        board.lock().group = Some("web".to_owned());
        Self { fake, board, status }
    }

    fn metrics(&self, dimensions: &[&str]) -> Metrics {
        let settings = config::Metrics {
            sample: Duration::from_millis(20),
            dimensions: dimensions.iter().map(|name| (*name).to_owned()).collect(),
            ..config::Config::parse("", "defaults").expect("every key is optional").metrics
        };
        Metrics::new(
            settings,
            fake::group(&self.fake, &self.board),
            self.board.clone(),
            crate::clock::Clock::system(),
        )
    }

    fn calls(&self) -> Vec<String> {
        let asked = self.fake.asked();
        asked
            .into_iter()
            .filter(|asked| asked.path.contains("PutMetricData"))
            .map(|asked| asked.body)
            .collect()
    }
}

/// An error as RPC v2 says it: the CBOR map of one key, `__type`.
fn failure(code: &str) -> Vec<u8> {
    let length = u8::try_from(code.len()).expect("a short code");
    [&[0xa1, 0x66][..], b"__type", &[0x78, length], code.as_bytes()].concat()
}

fn slot(unix: u64, serving: bool) -> Slot {
    let mut means: Values = [f64::NAN; _];
    means[0] = 50.0;
    Slot { unix, means, serving }
}
