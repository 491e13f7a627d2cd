//! A request whose answer takes seconds: what a drain could cut.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Failure, STREAM_PATIENCE, Shared, chain};
use crate::peer::SERVED_BY;

/// A stream in flight.
#[derive(Debug)]
pub struct HeldStream {
    /// Seconds since the play began, of its start.
    pub started: f64,
    /// Whether the peer answers it, and not the instance.
    pub by_peer: bool,
    rest: JoinHandle<StreamEnd>,
}

/// How a stream ended.
#[derive(Debug, Clone)]
pub struct StreamEnd {
    /// Seconds since the play began.
    pub at: f64,
    /// Bytes that arrived.
    pub bytes: usize,
    /// Why it is not whole; `None` when it is.
    pub cut: Option<String>,
}

impl HeldStream {
    pub(super) async fn start(shared: &Arc<Shared>) -> anyhow::Result<Self> {
        let (first, came) = oneshot::channel();
        let (started, shared) = (shared.seconds(Instant::now()), Arc::clone(shared));
        let rest = tokio::spawn(async move { count(&shared, first).await });
        match tokio::time::timeout(super::PATIENCE, came)
            .await
            .context("the stream's first bytes did not come")?
        {
            Ok(by_peer) => Ok(Self { started, by_peer, rest }),
            Err(_) => bail!("the stream failed before its first bytes"),
        }
    }

    /// Waits for its end.
    pub async fn end(self) -> StreamEnd {
        let lost =
            |error: tokio::task::JoinError| StreamEnd { at: 0.0, bytes: 0, cut: Some(error.to_string()) };
        self.rest.await.unwrap_or_else(lost)
    }
}

/// One stream of the mix.
pub(super) async fn one(shared: &Arc<Shared>) {
    count(shared, oneshot::channel().0).await;
}

/// Fetches the stream and counts it; `first` learns when it is in flight.
async fn count(shared: &Shared, first: oneshot::Sender<bool>) -> StreamEnd {
    let due = Instant::now();
    let mut peer = false;
    let mut bytes = 0;
    let fetched = tokio::time::timeout(STREAM_PATIENCE, fetch(shared, first, &mut peer, &mut bytes)).await;
    let cut = fetched.unwrap_or_else(|_| Err(format!("timeout after {} s", STREAM_PATIENCE.as_secs()))).err();
    let path = shared.config.stream.as_ref().map_or("", |stream| &stream.path);
    let (at, now) = (shared.seconds(due), shared.seconds(Instant::now()));
    if !peer {
        let mut tally = shared.tally();
        tally.streams += 1;
        tally.streams_whole += u64::from(cut.is_none());
    }
    if let Some(reason) = &cut {
        shared.fail(Failure { at, path: path.to_owned(), reason: reason.clone() });
    }
    StreamEnd { at: now, bytes, cut }
}

async fn fetch(
    shared: &Shared,
    first: oneshot::Sender<bool>,
    peer: &mut bool,
    bytes: &mut usize,
) -> Result<(), String> {
    let stream = shared.config.stream.as_ref().ok_or("no stream is configured")?;
    let target = *shared.config.targets.first().ok_or("there is nobody to ask")?;
    let response = shared
        .client
        .request(super::request(target, &stream.path))
        .await
        .map_err(|e| chain("no answer", &e))?;
    *peer = response.headers().contains_key(SERVED_BY);
    if response.status() != 200 {
        return Err(format!("status {}", response.status().as_u16()));
    }
    let mut body = response.into_body();
    let (mut first, mut tail) = (Some(first), Vec::new());
    while let Some(data) = next(&mut body).await? {
        *bytes += data.len();
        if let Some(first) = first.take() {
            // Nobody waits for the streams of the mix.
            let _ = first.send(*peer);
        }
        tail.extend_from_slice(&data);
        // More than any ending that is worth checking.
        tail.drain(..tail.len().saturating_sub(4096));
    }
    match &stream.ends_with {
        Some(end) if !*peer && !tail.trim_ascii_end().ends_with(end.as_bytes()) => {
            Err(format!("truncated body: ended without '{end}' after {bytes} bytes"))
        }
        _ => Ok(()),
    }
}

async fn next(body: &mut Incoming) -> Result<Option<Bytes>, String> {
    match body.frame().await {
        Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
        Some(Err(error)) => Err(chain("truncated body", &error)),
        None => Ok(None),
    }
}
