//! SIGINT and SIGTERM end a command in order: what it started is killed, scratch folders go, exit code 130.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::bench::Bench;
use crate::failure::Failure;
use crate::interrupt::{KILL_EVERY, kill_children};

/// After a signal a step's child is killed at once; a step that still does not return is left behind after this.
pub const GRACE: Duration = Duration::from_secs(10);

/// Threads for the network, and for work that blocks. To be made after this process has its namespaces.
///
/// # Errors
/// The kernel gives no threads.
pub fn runtime() -> anyhow::Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("failed to start the async runtime")
}

/// Resolves at the first SIGINT or SIGTERM.
pub async fn signalled() {
    let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers the signals keep their default meaning, which ends the process.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
    }
}

/// Runs `work` on a thread of its own while this one listens for signals.
///
/// # Errors
/// Those of `work`, or [`Failure::Interrupted`].
pub fn interruptible<T: Send + 'static>(
    bench: &Arc<Bench>,
    work: impl FnOnce(&Bench) -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let (runtime, worker) = (runtime()?, Arc::clone(bench));
    let result = runtime.block_on(async {
        let mut task = tokio::task::spawn_blocking(move || work(&worker));
        tokio::select! {
            done = &mut task => done.context("the working thread is gone")?,
            () = signalled() => {
                bench.interrupt.raise();
                let mut tick = tokio::time::interval(KILL_EVERY);
                let killed = async {
                    loop {
                        tokio::select! {
                            biased;
                            done = &mut task => break done,
                            _ = tick.tick() => kill_children(),
                        }
                    }
                };
                // Its folders go with it; the sweep below is for a thread that hangs.
                let done = tokio::time::timeout(GRACE, killed).await;
                bench.interrupt.sweep();
                match done {
                    Ok(Ok(Ok(result))) => Ok(result),
                    _ => Err(Failure::Interrupted.into()),
                }
            }
        }
    });
    runtime.shutdown_background();
    result
}
