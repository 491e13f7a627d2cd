//! The scenario `life`: launch, hook, in service under load, notice with a stream in flight, drained, gone.

mod acts;

use std::path::PathBuf;
use std::time::Duration;

use crate::rehearsal::{Observer, Rehearsal};
use crate::{Error, Ground};
use acts::Play;

/// What to play, with what.
#[derive(Debug, Clone)]
pub struct LifeConfig {
    /// What is rehearsed, in the caller's words; ends up in the report.
    pub subject: String,
    /// The image's root, extracted, owned by root. The boot writes to it: give it a copy or an overlay.
    pub root: PathBuf,
    /// An existing directory for the stage's own files: `console.log`, `journal.json`, `HAProxy`'s socket.
    /// Its path must be short (a unix socket's path ends at 107 bytes).
    pub scratch: PathBuf,
    /// User data as EC2 would hand it out, at most 16 KiB; `None` is a launch without any (IMDS answers 404).
    pub user_data: Option<Vec<u8>>,
    /// Paths to load in turn (`/`, a hashed asset, `/api/…`): each has to answer 200.
    pub paths: Vec<String>,
    /// A route that streams its answer over several seconds; without one that promise is not played.
    pub stream: Option<StreamRoute>,
    /// Requests per second, 1 to 1000, whether or not earlier ones were answered.
    pub rate: f64,
    /// The stage's own timings.
    pub timing: Timing,
    /// `CloudWatch` namespace that the agent publishes to.
    pub namespace: String,
}

/// A route whose answer takes several seconds.
#[derive(Debug, Clone)]
pub struct StreamRoute {
    /// The path, under the service's own.
    pub path: String,
    /// What a whole answer ends with (after trailing white space is cut); `None` trusts the chunked framing alone.
    pub ends_with: Option<String>,
}

/// How long each part of a life may take, and how long AWS's own parts take on this stage.
#[derive(Debug, Clone)]
pub struct Timing {
    /// From launch to the launch hook's completion; the hook's heartbeat timeout, too. Protects the caller from a boot
    /// that hangs.
    pub launch: Duration,
    /// In service before the notice.
    pub serve: Duration,
    /// The target group's deregistration delay (AWS: 0 to 3600 s, default 300). Has to be longer than the stream.
    pub deregistration_delay: Duration,
    /// From the notice until the group itself deregisters the target.
    pub deregister_lag: Duration,
    /// From deregistration until the balancer's last node has stopped sending new requests.
    pub propagation: Duration,
    /// The terminate hook's heartbeat timeout (AWS: 30 to 7200 s).
    pub terminate_hook: Duration,
    /// From SIGRTMIN+4 until the instance must be off; AWS's own patience is not documented.
    pub power_off: Duration,
    /// Between two health probes of a target.
    pub probe_interval: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            launch: Duration::from_mins(2),
            serve: Duration::from_secs(15),
            deregistration_delay: Duration::from_secs(15),
            // Shorter than the delay, it costs nothing where the agent is first, as it promises to be.
            deregister_lag: Duration::from_secs(10),
            propagation: Duration::from_secs(2),
            terminate_hook: Duration::from_mins(1),
            power_off: Duration::from_mins(1),
            probe_interval: Duration::from_secs(1),
        }
    }
}

impl LifeConfig {
    /// A play with the usual timings at 40 requests a second.
    pub fn new(root: impl Into<PathBuf>, scratch: impl Into<PathBuf>) -> Self {
        Self {
            subject: String::new(),
            root: root.into(),
            scratch: scratch.into(),
            user_data: None,
            paths: vec!["/".to_owned()],
            stream: None,
            rate: 40.0,
            timing: Timing::default(),
            namespace: "Kiln".to_owned(),
        }
    }
}

/// Plays the scenario to its verdict. Needs a multi-threaded runtime that was built after [`crate::enter`].
///
/// Dropping the future (an interrupt) kills the instance and all else that was started.
///
/// # Errors
/// [`Error::Missing`] when a tool is not installed; any other when the stage itself failed. A broken promise is an `Ok`
/// with [`crate::Verdict::Broken`].
pub async fn play(ground: &Ground, config: &LifeConfig, observer: Observer) -> Result<Rehearsal, Error> {
    let started_at = jiff::Timestamp::now();
    let mut play = Play::begin(ground, config, observer).await?;
    if play.launch().await? {
        play.serve().await;
        play.leave().await;
    } else {
        play.fail().await;
    }
    Ok(play.end(started_at).await)
}
