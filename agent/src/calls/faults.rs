//! What goes wrong between the SDK and the model: each call may be refused, lost, delayed or answered with garbage.

use std::time::Duration;

use tokio::time::sleep;

use super::cloud::{Cloud, Inner};
use crate::fake::Reply;

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Throttled,
    ServerError,
    RequestLost,
    ReplyLost,
    Late,
    Slow,
    Garbage,
}

const FAULTS: [Fault; 7] = [
    Fault::Throttled,
    Fault::ServerError,
    Fault::RequestLost,
    Fault::ReplyLost,
    Fault::Late,
    Fault::Slow,
    Fault::Garbage,
];

/// From, to, what, and how often.
pub(super) type Storm = (Duration, Duration, Fault, f64);

impl Cloud {
    /// One HTTP request of the SDK.
    pub(super) async fn answer(self, body: String) -> Reply {
        let (fault, latency, late) = {
            let mut inner = self.lock();
            inner.calls += 1;
            inner.asked(&body);
            let fault = inner.fault(&body);
            let (latency, late) = (inner.rng.u64(2..80), inner.rng.u64(100..9000));
            (fault, Duration::from_millis(latency), Duration::from_millis(late))
        };
        sleep(latency).await;
        let reply = match fault {
            None => Some(self.lock().perform(&body)),
            Some(Fault::Throttled) => {
                let mut inner = self.lock();
                inner.see("throttled", &body);
                let code = if inner.rng.bool() { "ThrottlingException" } else { "RequestLimitExceeded" };
                Some((400, crate::fake::refusal(code).into_bytes()))
            }
            Some(Fault::ServerError) => {
                self.lock().see("server error", &body);
                Some((503, b"<html>503</html>".to_vec()))
            }
            Some(Fault::RequestLost) => {
                self.lock().see("request lost", &body);
                None
            }
            Some(Fault::ReplyLost) => {
                let mut inner = self.lock();
                let (status, _) = inner.perform(&body);
                if status == 200 {
                    inner.see("reply lost after the call took effect", &body);
                }
                None
            }
            Some(Fault::Late) => {
                // It takes effect whether or not anybody still waits for its answer.
                let (tell, told) = tokio::sync::oneshot::channel();
                let cloud = self.clone();
                tokio::spawn(async move {
                    sleep(late).await;
                    let mut inner = cloud.lock();
                    inner.see("took effect late", &body);
                    let reply = inner.perform(&body);
                    // Nobody waits any more.
                    let _ = tell.send(reply);
                });
                told.await.ok()
            }
            Some(Fault::Slow) => {
                sleep(late).await;
                Some(self.lock().perform(&body))
            }
            Some(Fault::Garbage) => {
                let mut inner = self.lock();
                inner.see("garbage", &body);
                let (status, mut bytes) = inner.perform(&body);
                match inner.rng.u8(0..4) {
                    0 => bytes.clear(),
                    1 => bytes = b"<html>200</html>".to_vec(),
                    2 => {
                        let cut = inner.rng.usize(0..=bytes.len());
                        bytes.truncate(cut);
                    }
                    _ => {
                        let action = crate::fake::action(&body);
                        bytes = crate::fake::result(action, "").into_bytes();
                    }
                }
                Some((status, bytes))
            }
        };
        sleep(latency).await;
        reply
    }
}

impl Inner {
    fn fault(&mut self, body: &str) -> Option<Fault> {
        let now = self.now();
        let found = self.storms.iter().find(|(from, to, ..)| (*from..*to).contains(&now));
        let (_, _, fault, chance) = *found?;
        // A registration that takes effect after a drain has begun is beyond what any agent can know.
        if fault == Fault::Late && crate::fake::action(body) == "RegisterTargets" {
            return None;
        }
        (self.rng.f64() < chance).then_some(fault)
    }

    /// Whether nothing goes wrong any more.
    pub(super) fn is_calm(&self) -> bool {
        self.storms.iter().all(|(_, to, ..)| *to <= self.now())
    }
}

/// Some minutes of one fault.
pub(super) fn storm(rng: &mut fastrand::Rng) -> Storm {
    let from = Duration::from_millis(rng.u64(0..150_000));
    let fault = FAULTS[rng.usize(0..FAULTS.len())];
    (from, from + Duration::from_millis(rng.u64(1000..50_000)), fault, 0.3 + 0.7 * rng.f64())
}
