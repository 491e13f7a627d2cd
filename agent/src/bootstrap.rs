//! Runs the user data, once per instance, and leaves word of how it went.
//!
//! ```text
//!  instance id ─▶ user data ─▶ mark "begun" ─▶ script ─▶ mark its result ─▶ /run/kiln/bootstrap.json
//! ```
//!
//! The marks lie in `/var/lib/kiln/instances/<id>/`, synced: an image that was made of a running instance carries
//! marks of another id, which nobody reads. A begun script without a result has not run: it is run again.

mod outcome;
#[cfg(test)]
mod tests;

pub use outcome::{Outcome, PATH, Report, watch};

use crate::child::{self, End};
use crate::durable;
use crate::imds::Imds;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;
use tokio::time::Instant;

/// What a bootstrap goes by.
#[derive(Debug)]
pub struct Bootstrap<'a> {
    /// `/`, or a folder that stands for it.
    pub root: &'a Path,
    /// The metadata service.
    pub imds: &'a Imds,
    /// How long to wait for it.
    pub imds_wait: Duration,
    /// How long the script may run.
    pub timeout: Duration,
}

/// Why an instance's user data did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No instance id or no user data could be had.
    #[error(transparent)]
    Imds(#[from] crate::imds::Error),
    /// An instance id that cannot name a folder.
    #[error("metadata service gave '{0}' as the instance id")]
    InstanceId(String),
    /// Not something that is run.
    #[error(transparent)]
    UserData(#[from] kiln_userdata::Error),
    /// The script ended badly.
    #[error("{0}")]
    Script(String),
    /// The script could not be started.
    #[error("failed to run the user data by '{interpreter}': {source}")]
    Start {
        /// The interpreter of its first line.
        interpreter: String,
        /// The reason.
        source: std::io::Error,
    },
    /// It failed on an earlier boot, and a script runs once.
    #[error("{reason}, on an earlier boot; remove {} to run it again", mark.display())]
    Before {
        /// What it said then.
        reason: String,
        /// The mark.
        mark: PathBuf,
    },
    /// A mark could not be read or written.
    #[error("failed to keep '{}': {source}", path.display())]
    Mark {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
}

/// How a script ended, in its mark.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    ok: bool,
    reason: Option<String>,
    at: String,
}

impl Bootstrap<'_> {
    /// Does it all and writes the report, which is given back too. The error is that of writing it.
    pub async fn run(&self) -> std::io::Result<Report> {
        let started = Instant::now();
        let mut report = Report::begun();
        report.write(self.root)?;
        let result = self.perform(&mut report).await;
        report.elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        match result {
            Ok(()) => {
                report.outcome = Outcome::Ok;
                tracing::info!(elapsed_ms = report.elapsed_ms, ran = report.ran, "bootstrap done");
            }
            Err(failure) => {
                report.outcome = Outcome::Failed;
                let reason = failure.to_string();
                tracing::error!(elapsed_ms = report.elapsed_ms, reason, "bootstrap failed");
                report.reason = Some(reason);
            }
        }
        report.write(self.root)?;
        Ok(report)
    }

    async fn perform(&self, report: &mut Report) -> Result<(), Failure> {
        let id = self.imds.get_patiently("instance-id", self.imds_wait).await?;
        if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(Failure::InstanceId(id));
        }
        report.instance_id = Some(id.clone());
        let raw = self.imds.user_data_patiently(self.imds_wait).await?.unwrap_or_default();
        let Some(script) = kiln_userdata::parse(&raw)?.into_script()? else {
            return Ok(());
        };
        for note in script.notes() {
            tracing::warn!(reason = %note, "user data mended");
        }
        let folder = self.root.join("var/lib/kiln/instances").join(&id);
        let result = folder.join("user-data.result.json");
        if let Some(mark) = read_mark(&result)? {
            tracing::info!(at = mark.at, "user data ran before");
            let reason = mark.reason.unwrap_or_else(|| "user data failed".to_owned());
            return if mark.ok { Ok(()) } else { Err(Failure::Before { reason, mark: result }) };
        }
        let keep = |path: PathBuf, bytes: &[u8], mode| {
            durable::write(&path, bytes, mode).map_err(|source| Failure::Mark { path, source })
        };
        keep(folder.join("user-data.begun"), crate::clock::wall_time().as_bytes(), 0o600)?;
        let file = folder.join("user-data");
        keep(file.clone(), script.body(), 0o700)?;
        report.ran = true;
        let outcome = self.execute(&file, script.interpreter(), report).await;
        if let Err(failure @ Failure::Start { .. }) = outcome {
            // It has not run at all: the next boot may find the interpreter.
            return Err(failure);
        }
        let reason = outcome.as_ref().err().map(ToString::to_string);
        let mark = Mark { ok: outcome.is_ok(), reason, at: crate::clock::wall_time() };
        keep(result, &serde_json::to_vec(&mark).unwrap_or_default(), 0o600)?;
        outcome
    }

    async fn execute(&self, file: &Path, interpreter: &str, report: &mut Report) -> Result<(), Failure> {
        let mut command = Command::new(file);
        command.current_dir("/");
        tracing::info!(interpreter, "user data begins");
        let end = child::run(command, "user-data", self.timeout)
            .await
            .map_err(|source| Failure::Start { interpreter: interpreter.to_owned(), source })?;
        match end {
            End::Exited(0) => Ok(()),
            End::Exited(code) => {
                report.exit_code = Some(code);
                Err(Failure::Script(format!("user data script exited with {code}")))
            }
            End::Killed(signal) => {
                Err(Failure::Script(format!("user data script was killed by signal {signal}")))
            }
            End::TimedOut => {
                let bound = humantime::format_duration(self.timeout);
                Err(Failure::Script(format!(
                    "user data script did not end within {bound} (bootstrap.timeout)"
                )))
            }
        }
    }
}

fn read_mark(path: &Path) -> Result<Option<Mark>, Failure> {
    match std::fs::read(path) {
        // A mark that cannot be read is no result, and no result means not done.
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Failure::Mark { path: path.into(), source }),
    }
}
