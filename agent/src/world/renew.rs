//! The bootstrap under way: how long it may take, and the settings that user data brings.

use crate::board::Board;
use crate::bootstrap;
use crate::config::{Config, Source};
use crate::lifecycle::{Event, Policy};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// The configuration's, with room for the bootstrap that is under way: its parts may have bounds of their own.
pub(super) fn policy(config: &Config, root: &Path) -> Policy {
    let mut policy = config.policy();
    if let Some(bound) = bootstrap::Report::read(root).and_then(|report| report.bound_ms) {
        let more = Duration::from_millis(bound).saturating_sub(config.bootstrap_timeout);
        policy.bootstrap_deadline = policy.bootstrap_deadline.saturating_add(more);
    }
    policy
}

/// Waits for the end of the bootstrap; settings that it brought come out by `renew`.
pub(super) async fn watch_bootstrap(
    root: PathBuf,
    board: Board,
    events: mpsc::Sender<Event>,
    source: Source,
    config: Config,
    renew: oneshot::Sender<Config>,
) {
    let deadline = policy(&config, &root).bootstrap_deadline;
    let renew = Mutex::new(Some(renew));
    let outdated = |_: &bootstrap::Report| {
        let now = match source.load() {
            Ok(now) => now,
            Err(error) => {
                // Bootstrap says so too, and fails; what runs goes on as it is.
                tracing::warn!(reason = %error, "settings not taken over");
                return false;
            }
        };
        if now == config && policy(&now, &root).bootstrap_deadline <= deadline {
            return false;
        }
        tracing::info!("settings have changed, starting over with them");
        let renew = renew.lock().unwrap_or_else(PoisonError::into_inner).take();
        renew.is_some_and(|renew| renew.send(now).is_ok())
    };
    bootstrap::watch(&root, board, events, outdated).await;
}
