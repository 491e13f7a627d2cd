//! The flight record: at its end the instance's whole life goes out, so that a terminated instance can still be asked why.
//!
//! ```text
//!  story (a file on a tmpfs) ─┐
//!  identity, bootstrap ───────┼─ the life ends ─▶ CloudWatch Logs: the stream <instance>/<boot>
//!  status ────────────────────┘                └▶ S3: the object <prefix><instance>/<boot>.jsonl
//! ```
//!
//! One record per boot. A mark in the run state says how far it has gone out: a restarted agent sends the rest, and a life
//! that goes on after all adds to its stream, or replaces its object by a longer one. Only a kill between a call and its
//! mark sends lines twice. Never fatal: what cannot be sent within [`BOUND`] is lost, and said.

mod due;
mod send;
mod story;

pub use due::{End, due};
pub use story::{Line, Story};

use crate::aws::Error;
use crate::board::Board;
use crate::bootstrap::Report;
use crate::clock;
use crate::config;
use crate::durable;
use crate::group::Group;
use crate::imds::Imds;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// Bounds a sending: it protects the exit, which waits for it, and with it systemd's stop timeout.
pub const BOUND: Duration = Duration::from_secs(5);
/// Where the mark lies under a root; on a tmpfs, like the life's own state.
const MARK: &str = "run/kiln/agent/record.json";

/// Sends the record.
#[derive(Debug)]
pub struct Record {
    settings: config::Record,
    group: Arc<Group>,
    imds: Arc<Imds>,
    board: Board,
    root: PathBuf,
    /// Held while sending: two ends of one life do not overtake each other.
    mark: Mutex<Mark>,
}

/// How far the record has gone out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    /// The number of the last line that was sent.
    sent: u64,
    /// The most final end that was sent.
    end: Option<End>,
}

impl Record {
    /// A record by the configuration, with its files under `root`. The board tells its story from here on.
    pub fn new(
        settings: config::Record,
        group: Arc<Group>,
        imds: Arc<Imds>,
        board: Board,
        root: &Path,
    ) -> Self {
        if settings.to != config::RecordTo::None {
            board.tell_to(Story::open(root));
        }
        let mark = std::fs::read(root.join(MARK)).ok();
        let mark = mark.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { settings, group, imds, board, root: root.to_owned(), mark: Mutex::new(mark) }
    }

    /// The life goes on: another end is yet to come. A stopped and started agent's does.
    pub async fn goes_on(&self) {
        self.mark.lock().await.end = None;
    }

    /// Sends what has not been sent, unless an end as final was sent before.
    pub async fn send(&self, end: End) {
        if self.settings.to == config::RecordTo::None {
            return;
        }
        let mut mark = self.mark.lock().await;
        if mark.end >= Some(end) {
            return;
        }
        let sent = tokio::time::timeout(BOUND, self.deliver(mark.sent)).await;
        let error = match sent {
            Ok(Ok(last)) => {
                *mark = Mark { sent: last, end: Some(end) };
                let written = serde_json::to_vec(&*mark).map_err(std::io::Error::from);
                let written = written.and_then(|bytes| durable::write(&self.root.join(MARK), &bytes, 0o600));
                written.err().map(|error| format!("failed to write its mark: {error}"))
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer within {}", humantime::format_duration(BOUND))),
        };
        if self.board.error("record", error.as_deref()) && error.is_some() {
            tracing::warn!(reason = error, "flight record not sent");
        } else if error.is_none() {
            tracing::info!(lines = mark.sent, "flight record sent");
        }
    }

    /// Sends the lines after number `sent`; gives back the number of the last one.
    async fn deliver(&self, sent: u64) -> Result<u64, Error> {
        let id = self.group.instance_id().await?.to_owned();
        // It becomes part of a name.
        if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(Error::Garbled { call: "instance-id", reason: "it is no instance id".to_owned() });
        }
        let whole = self.settings.to == config::RecordTo::S3;
        let story = self.board.story_since(if whole { 0 } else { sent });
        let last = story.last().map_or(sent, |line| line.n);
        let mut lines = vec![self.identity(&id).await.to_string()];
        lines.extend(Report::read(&self.root).map(|report| json!({ "bootstrap": report }).to_string()));
        lines.extend(story.iter().filter_map(|line| serde_json::to_string(line).ok()));
        let mut status = self.board.snapshot();
        // It stands above, whole.
        status.timeline.clear();
        lines.push(json!({ "status": status }).to_string());
        let name = format!("{id}/{}", clock::boot_id());
        match self.settings.to {
            config::RecordTo::None => {}
            config::RecordTo::Logs => self.to_logs(&name, &lines).await?,
            config::RecordTo::S3 => self.to_s3(&name, &lines).await?,
        }
        Ok(last)
    }

    /// Who lived; what the metadata service does not say in time is left out.
    async fn identity(&self, id: &str) -> Value {
        let (ami, kind, zone) = tokio::join!(
            self.imds.get("ami-id"),
            self.imds.get("instance-type"),
            self.imds.get("placement/availability-zone"),
        );
        json!({ "instance": {
            "id": id,
            "boot_id": clock::boot_id(),
            "ami": ami.ok().flatten(),
            "type": kind.ok().flatten(),
            "zone": zone.ok().flatten(),
            "group": self.board.lock().group,
            "agent": env!("CARGO_PKG_VERSION"),
        }})
    }
}

#[cfg(test)]
mod tests;
