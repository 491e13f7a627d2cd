//! The operator's word, over a Unix socket: one line of JSON each way. Root and the agent's own user may speak: by the
//! socket's mode, and by the peer's credentials.

use crate::board::{Board, Status};
use crate::clock::Clock;
use crate::durable;
use crate::lifecycle::{Event, Notice, Refusal};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};

/// Where the socket lies under a root.
pub const PATH: &str = "run/kiln/agent/control.sock";
/// Connections at a time; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 4;
/// Bounds one exchange: protects the places from callers that neither write nor read.
const BOUND: Duration = Duration::from_secs(5);
/// A request of more bytes is refused.
const LINE_LIMIT: u64 = 1024;
/// Bounds the wait until the loop has taken in what was asked; it turns in milliseconds.
const TAKEN: Duration = Duration::from_secs(2);
/// Between two looks whether it has.
const LOOK: Duration = Duration::from_millis(20);

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ask {
    /// Leave the target groups and drain.
    Drain,
    /// Come back.
    Ready,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// What is asked.
    pub ask: Ask,
    /// How long the drain may take at most, in milliseconds; `drain.max` when absent.
    pub timeout_ms: Option<u64>,
}

/// The answer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Whether it is done, or under way.
    pub done: bool,
    /// In words: what happens, or why it does not.
    pub text: String,
}

/// Serves until the process ends. A socket that cannot be had is reported: the instance's life does not depend on it.
pub async fn serve(path: PathBuf, board: Board, clock: Clock, events: mpsc::Sender<Event>) {
    let listener = match bind(&path) {
        Ok(listener) => listener,
        Err(error) => {
            let reason = format!("failed to listen on {}: {error}", path.display());
            tracing::warn!(reason, "operators cannot be heard");
            board.error("control", Some(&reason));
            return;
        }
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, mostly: some come back with the next exchange that ends.
                tracing::warn!(reason = %error, "operator's connection not accepted");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (board, events) = (board.clone(), events.clone());
        tokio::spawn(async move {
            // A caller that went away asks again.
            let _ = timeout(BOUND, exchange(stream, &board, clock, &events)).await;
            drop(place);
        });
    }
}

/// The caller has made sure that no other agent runs: what lies at `path` is a dead one's.
fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    durable::remove(path)?;
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600))?;
    Ok(listener)
}

async fn exchange(
    mut stream: UnixStream,
    board: &Board,
    clock: Clock,
    events: &mpsc::Sender<Event>,
) -> io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    let reply = if may_speak(peer, nix::unistd::geteuid().as_raw()) {
        let mut line = Vec::new();
        BufReader::new((&mut stream).take(LINE_LIMIT)).read_until(b'\n', &mut line).await?;
        match serde_json::from_slice(&line) {
            Ok(request) => answer(&request, board, clock, events).await,
            Err(error) => refuse(format!("the request makes no sense: {error}")),
        }
    } else {
        refuse(format!("user {peer} may not: run it as root"))
    };
    let mut bytes = serde_json::to_vec(&reply)?;
    bytes.push(b'\n');
    stream.write_all(&bytes).await?;
    stream.shutdown().await
}

/// Root, and the user that the agent itself runs as.
fn may_speak(peer: u32, own: u32) -> bool {
    peer == 0 || peer == own
}

async fn answer(request: &Request, board: &Board, clock: Clock, events: &mpsc::Sender<Event>) -> Reply {
    match request.ask {
        Ask::Drain => {
            let bound = request.timeout_ms.map(Duration::from_millis);
            let deadline = bound.map(|bound| clock.now() + bound);
            drain(Event::Notice { notice: Notice::Operator, deadline }, board, events).await
        }
        Ask::Ready => ready(board, events).await,
    }
}

async fn drain(event: Event, board: &Board, events: &mpsc::Sender<Event>) -> Reply {
    if events.send(event).await.is_err()
        || !taken(board, |status| status.notices.contains(&Notice::Operator)).await
    {
        return refuse("the agent did not take it: see `kiln-agent status`".to_owned());
    }
    tracing::info!("an operator asks for the drain");
    let status = board.lock();
    let others: Vec<_> =
        status.notices.iter().filter(|notice| **notice != Notice::Operator).map(|n| n.name()).collect();
    let phase = status.phase.name();
    let text = match others.as_slice() {
        [] => phase.to_owned(),
        others => format!("{phase}; it leaves anyway: notice from {}", others.join(", ")),
    };
    Reply { done: true, text }
}

async fn ready(board: &Board, events: &mpsc::Sender<Event>) -> Reply {
    let (phase, refusal) = {
        let status = board.lock();
        (status.phase, status.refusal)
    };
    if let Some(refusal) = refusal {
        return refuse(words(refusal));
    }
    if events.send(Event::Ready).await.is_err() || !taken(board, |status| !status.phase.is_leaving()).await {
        return refuse("the agent did not take it: see `kiln-agent status`".to_owned());
    }
    if phase.is_leaving() {
        tracing::info!("an operator takes the drain back");
    }
    Reply { done: true, text: board.lock().phase.name().to_owned() }
}

/// Waits until the loop has taken in what was sent.
async fn taken(board: &Board, is_taken: impl Fn(&Status) -> bool) -> bool {
    let look = async {
        while !is_taken(&board.lock()) {
            sleep(LOOK).await;
        }
    };
    timeout(TAKEN, look).await.is_ok()
}

fn words(refusal: Refusal) -> String {
    match refusal {
        Refusal::Noticed(notice) => {
            format!("it leaves for another reason: notice from {}", notice.name())
        }
        Refusal::Elsewhere(place) => {
            format!("its group wants it {}: bring it back into service there first", place.words())
        }
        Refusal::Abandoned => "its launch was abandoned: the group replaces it".to_owned(),
    }
}

fn refuse(text: String) -> Reply {
    Reply { done: false, text }
}

#[cfg(test)]
mod tests;
