//! Whether the machine is going down: nothing is begun then, and what runs is cut off in the end.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Bounds the question to systemd, which protects the boot from one that does not answer.
const ANSWER_BOUND: Duration = Duration::from_secs(2);

/// Tells of the end.
#[derive(Debug, Clone)]
pub struct Halt {
    asked: watch::Receiver<bool>,
    root: PathBuf,
    systemctl: PathBuf,
}

impl Halt {
    /// One that hears SIGTERM, which is systemd's way, and SIGINT, which is a person's. Must be called in a runtime.
    pub fn from_signals(root: &Path) -> std::io::Result<Self> {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (ask, asked) = watch::channel(false);
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("bootstrap is to stop");
            let _ = ask.send(true);
            // The channel stays open for as long as somebody listens.
            ask.closed().await;
        });
        Ok(Self::new(asked, root, "systemctl"))
    }

    /// One that is told by `asked`, and asks systemd by `systemctl` where it is the one that booted `root`.
    pub fn new(asked: watch::Receiver<bool>, root: &Path, systemctl: impl Into<PathBuf>) -> Self {
        Self { asked, root: root.to_owned(), systemctl: systemctl.into() }
    }

    /// Comes back when this process has been told to end; never if nobody can tell.
    pub async fn asked(&self) {
        let mut asked = self.asked.clone();
        if asked.wait_for(|asked| *asked).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether this process has been told to end.
    pub fn is_asked(&self) -> bool {
        *self.asked.borrow()
    }

    /// Whether the machine goes down: this process was told to end, or is about to be.
    ///
    /// A command that asks for a reboot comes back before its own unit is told to stop; systemd knows from then on.
    pub async fn is_near(&self) -> bool {
        if self.is_asked() {
            return true;
        }
        // sd_booted(3).
        if !self.root.join("run/systemd/system").is_dir() {
            return false;
        }
        let mut question = Command::new(&self.systemctl);
        question.arg("is-system-running").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        match tokio::time::timeout(ANSWER_BOUND, question.output()).await {
            Ok(Ok(answer)) => answer.stdout.trim_ascii() == b"stopping",
            // No answer is no reason to leave the work undone.
            Ok(Err(_)) | Err(_) => false,
        }
    }
}
