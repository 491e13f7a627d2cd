//! The users: an open-loop load generator that counts every failure.
//!
//! Requests start when they are due, whether or not earlier ones were answered, and their latency counts from that
//! moment: a stalled server cannot hide behind a waiting client.

mod summary;
mod stream;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::task::{JoinHandle, JoinSet};

pub use stream::{HeldStream, StreamEnd};
pub use summary::{Failure, Latency, LoadSummary};

use crate::life::StreamRoute;
use crate::peer::SERVED_BY;
use summary::{Sample, Tally};

/// Longest that a user waits; ALB's idle timeout is 60 s.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest that a stream may take.
const STREAM_PATIENCE: Duration = Duration::from_mins(2);
/// Between two streams of the mix.
const STREAM_EVERY: Duration = Duration::from_secs(4);

/// What to ask of whom.
#[derive(Debug, Clone)]
pub struct LoadConfig {
    /// Where users connect, each with every path in turn.
    pub targets: Vec<SocketAddr>,
    /// Asked for in turn.
    pub paths: Vec<String>,
    /// Requests per second.
    pub rate: f64,
    /// Started every few seconds besides.
    pub stream: Option<StreamRoute>,
}

/// Told of each failure as it is counted.
pub type OnFailure = Arc<dyn Fn(&Failure) + Send + Sync>;

type Http = Client<HttpConnector, Empty<Bytes>>;

struct Shared {
    config: LoadConfig,
    client: Http,
    began: Instant,
    on_failure: OnFailure,
    tally: Mutex<Tally>,
}

/// A running load. Dropping it stops it.
pub struct Load {
    shared: Arc<Shared>,
    stop: tokio::sync::watch::Sender<bool>,
    generator: JoinHandle<()>,
}

impl Load {
    /// Starts it; times count from `began`.
    pub fn start(config: LoadConfig, began: Instant, on_failure: OnFailure) -> Self {
        let client =
            Client::builder(TokioExecutor::new()).pool_idle_timeout(Duration::from_secs(30)).build_http();
        let shared = Arc::new(Shared { config, client, began, on_failure, tally: Mutex::default() });
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let generator = tokio::spawn(generate(Arc::clone(&shared), stopped));
        Self { shared, stop, generator }
    }

    /// Answers of the instance to requests that were due at or after `at` seconds.
    pub fn by_instance_since(&self, at: f64) -> u64 {
        self.shared.tally().samples.iter().filter(|sample| sample.at >= at && !sample.peer).count() as u64
    }

    /// Failures so far.
    pub fn failed(&self) -> u64 {
        self.shared.tally().failed
    }

    /// Starts a stream and returns when its first bytes came, so that it is in flight.
    ///
    /// # Errors
    /// When no stream is configured, or it failed before its first bytes.
    pub async fn hold_stream(&self) -> anyhow::Result<HeldStream> {
        HeldStream::start(&self.shared).await
    }

    /// Stops starting requests, waits for those in flight, and sums up.
    pub async fn finish(mut self) -> LoadSummary {
        let _ = self.stop.send(true);
        // Each request is bounded by itself; this is for the generator's own sake.
        let _ = tokio::time::timeout(STREAM_PATIENCE + PATIENCE, &mut self.generator).await;
        self.shared.tally().sum_up(self.shared.config.rate)
    }
}

impl std::fmt::Debug for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Load").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.generator.abort();
    }
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seconds(&self, moment: Instant) -> f64 {
        crate::record::seconds(moment.saturating_duration_since(self.began))
    }

    async fn one(&self, target: SocketAddr, path: &str, due: Instant) {
        let outcome = tokio::time::timeout(PATIENCE, self.fetch(target, path)).await;
        let at = self.seconds(due);
        match outcome.unwrap_or_else(|_| Err(format!("timeout after {} s", PATIENCE.as_secs()))) {
            Ok(peer) => {
                let millis = due.elapsed().as_secs_f64() * 1000.0;
                self.tally().samples.push(Sample { at, millis, peer });
            }
            Err(reason) => self.fail(Failure { at, path: path.to_owned(), reason }),
        }
    }

    fn fail(&self, failure: Failure) {
        (self.on_failure)(&failure);
        self.tally().fail(failure);
    }

    /// Whether the answer was the peer's; an error is the reason of the failure.
    async fn fetch(&self, target: SocketAddr, path: &str) -> Result<bool, String> {
        let response =
            self.client.request(request(target, path)).await.map_err(|error| chain("no answer", &error))?;
        let (status, peer) = (response.status(), response.headers().contains_key(SERVED_BY));
        if status != 200 {
            return Err(format!("status {}", status.as_u16()));
        }
        response.into_body().collect().await.map_err(|error| chain("truncated body", &error))?;
        Ok(peer)
    }
}

fn request(target: SocketAddr, path: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("http://{target}{path}"))
        .header("user-agent", "kiln-load")
        .body(Empty::new())
        .unwrap_or_default()
}

async fn generate(shared: Arc<Shared>, mut stopped: tokio::sync::watch::Receiver<bool>) {
    let (mut requests, started) = (JoinSet::new(), Instant::now());
    let gap = Duration::from_secs_f64(1.0 / shared.config.rate.clamp(1.0, 1000.0));
    let mut next_stream = started + STREAM_EVERY;
    let asks: Vec<(SocketAddr, String)> = {
        let LoadConfig { targets, paths, .. } = &shared.config;
        paths.iter().flat_map(|path| targets.iter().map(|target| (*target, path.clone()))).collect()
    };
    for (n, (target, path)) in (0_u32..).zip(asks.iter().cycle()) {
        let due = started + gap * n;
        tokio::select! {
            () = tokio::time::sleep_until(due.into()) => {}
            _ = stopped.wait_for(|stop| *stop) => break,
        }
        let (shared, target, path) = (Arc::clone(&shared), *target, path.clone());
        if shared.config.stream.is_some() && due >= next_stream {
            next_stream += STREAM_EVERY;
            let shared = Arc::clone(&shared);
            requests.spawn(async move { stream::one(&shared).await });
        }
        requests.spawn(async move { shared.one(target, &path, due).await });
        while requests.try_join_next().is_some() {}
    }
    while requests.join_next().await.is_some() {}
}

/// An error with its causes on one line.
fn chain(what: &str, error: &dyn std::error::Error) -> String {
    let mut text = format!("{what}: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
