//! The real SDK against a small `CloudWatch` on loopback.

use super::*;
use crate::fake::{self, Fake, metadata};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

#[tokio::test]
async fn the_groups_datum_goes_out_only_for_slots_in_service() {
    let cloud = Cloud::start(200).await;
    let slots = vec![slot(10, true), slot(20, false), slot(30, true)];
    let tally = cloud.metrics(&["InstanceId", "AutoScalingGroupName"]).publish(slots).await;
    assert_eq!((tally.taken, tally.refused, tally.left.len()), (3, 0, 0));
    let calls = cloud.calls();
    assert_eq!(calls.len(), 1, "one call for all");
    let count = |text: &str| calls[0].matches(text).count();
    assert_eq!((count("InstanceId"), count("AutoScalingGroupName"), count(METRIC)), (3, 2, 5));
    assert!(calls[0].contains("i-0abc") && calls[0].contains("web") && calls[0].contains("Kiln"));
}

#[tokio::test]
async fn a_full_buffer_fits_one_call() {
    let cloud = Cloud::start(200).await;
    let mut buffer = Buffer::default();
    buffer.extend((0..10_000).map(|n| slot(n * 10, true)));
    let (waiting, _, dropped) = buffer.counters();
    assert_eq!(dropped, 10_000 - waiting as u64);
    cloud.metrics(&["InstanceId", "AutoScalingGroupName"]).publish(buffer.take(100_000)).await;
    let calls = cloud.calls();
    let datums = calls[0].matches(METRIC).count();
    assert!(
        calls.len() == 1 && datums <= 1000 && calls[0].len() < 1_000_000,
        "{datums} in {}",
        calls[0].len()
    );
}

#[tokio::test]
async fn an_outage_keeps_the_slots_and_says_so_once() {
    for (status, kept) in [(503, 2), (429, 2), (400, 0)] {
        let cloud = Cloud::start(status).await;
        let metrics = cloud.metrics(&["InstanceId"]);
        let tally = metrics.publish(vec![slot(10, true), slot(20, true)]).await;
        assert_eq!((tally.left.len(), tally.refused), (kept, 2 - kept), "{status}");
        let said = cloud.board.snapshot().errors.remove("metrics").expect("it is said");
        assert!(!cloud.board.error("metrics", Some(&said)) || cloud.board.error("metrics", None));
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
            enabled: true,
            namespace: "Kiln".to_owned(),
            sample: Duration::from_millis(20),
            period: Duration::from_mins(1),
            dimensions: dimensions.iter().map(|name| (*name).to_owned()).collect(),
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
    Slot { unix, mean: 50.0, serving }
}
