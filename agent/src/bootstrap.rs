//! Does what the user data asks for, each part of it until it has succeeded once, and leaves word of how it went.
//!
//! ```text
//!  instance id ─▶ user data ─▶ [agent], [env] ─▶ for each part in order:  mark "begun" ─▶ work ─▶ mark its result
//!                     │ invalid: nothing is run       │                    └─ failed: the rest waits
//!                     ▼                               ▼
//!                 /run/kiln/bootstrap.json, from the first moment to the last
//! ```
//!
//! All that outlives a boot lies in `/var/lib/kiln/instances/<id>/`: `marks/`, synced; `parts/`, the scripts as they were
//! run; `output/`, what they printed. An image that was made of a running instance carries marks of another id, which
//! nobody reads. A part without a result has not been done: it is run again.

mod accounts;
mod cloud_init;
mod command;
mod files;
mod halt;
mod mark;
mod outcome;
mod output;
mod perform;
mod plan;
mod settings;
#[cfg(test)]
mod tests;

pub use command::UMASK;
pub use halt::Halt;
pub use outcome::{Outcome, PATH, PartRow, Report, Step, watch};

use crate::aws::Aws;
use crate::config::{CloudInit, Source};
use crate::env;
use crate::imds::{self, Imds};
use accounts::Accounts;
use cloud_init::{Beside, Share};
use command::Surroundings;
use kiln_userdata::{Leaf, UserData};
use mark::{Marks, Verdict};
use outcome::Desk;
use perform::Hands;
use plan::{Part, Work};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What a bootstrap goes by.
#[derive(Debug)]
pub struct Bootstrap<'a> {
    /// `/`, or a folder that stands for it.
    pub root: &'a Path,
    /// The metadata service.
    pub imds: Arc<Imds>,
    /// How long to wait for it.
    pub imds_wait: Duration,
    /// Where the configuration is read from, which `[agent]` goes over.
    pub source: &'a Source,
    /// Whether the machine goes down.
    pub halt: Halt,
    /// Writes all that programs have written to the disk: sync(2). A result must not outlive the work.
    pub sync: fn(),
}

/// Why an instance's user data did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No instance id or no user data could be had.
    #[error(transparent)]
    Imds(#[from] imds::Error),
    /// An instance id that cannot name a folder.
    #[error("metadata service gave '{0}' as the instance id")]
    InstanceId(String),
    /// Not something that is run.
    #[error(transparent)]
    UserData(#[from] kiln_userdata::Error),
    /// Settings that are not valid, in user data or after it.
    #[error("{}", .0.to_string().lines().next().unwrap_or_default())]
    Settings(#[from] crate::config::Error),
    /// The services' environment could not be had or written.
    #[error(transparent)]
    Env(#[from] crate::env::Error),
    /// Something that this agent does not do.
    #[error("{0}")]
    NotDone(String),
    /// A part ended badly, or could not be done.
    #[error("{0}")]
    Part(String),
    /// A part could not be started.
    #[error("failed to start {title} by '{program}': {source}")]
    Start {
        /// What messages call the part.
        title: String,
        /// The interpreter or the program.
        program: String,
        /// The reason.
        source: std::io::Error,
    },
    /// What outlives the boot could not be read or written.
    #[error("failed to keep '{}': {source}", path.display())]
    Keep {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The machine goes down: no failure, but not done either.
    #[error("cut off by the end of this boot: {0} goes on when bootstrap is started again")]
    CutOff(String),
}

impl Bootstrap<'_> {
    /// Does it all and writes the report, which is given back too. The error is that of writing it.
    pub async fn run(&self) -> std::io::Result<Report> {
        let desk = Arc::new(Desk::new(self.root)?);
        let result = self.perform(&desk).await;
        desk.end(|report| match &result {
            Ok(()) => {
                report.outcome = Outcome::Ok;
                tracing::info!(elapsed_ms = report.elapsed_ms, ran = report.ran, "bootstrap done");
            }
            // The group must not hear of a failure where there is only a reboot: see `Outcome::Running`.
            Err(failure @ Failure::CutOff(_)) => {
                report.reason = Some(failure.to_string());
                tracing::warn!(reason = %failure, "bootstrap not done");
            }
            Err(failure) => {
                report.outcome = Outcome::Failed;
                report.reason = Some(failure.to_string());
                tracing::error!(elapsed_ms = report.elapsed_ms, reason = %failure, "bootstrap failed");
            }
        })
    }

    async fn perform(&self, desk: &Arc<Desk>) -> Result<(), Failure> {
        let id =
            self.before_halt("instance-id", self.imds.get_patiently("instance-id", self.imds_wait)).await?;
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(Failure::InstanceId(id));
        }
        desk.change(|report| report.instance_id = Some(id.clone()));
        let raw = self.before_halt("user data", self.imds.user_data_patiently(self.imds_wait)).await?;
        let raw = raw.unwrap_or_default();
        let beside = Beside::of(self.root);
        let data = beside.read(&raw)?;
        tell_what_was_mended(&data);
        let config = settings::take_over(self.root, self.source, &data)?;
        let waits = beside == Beside::Active && config.cloud_init == CloudInit::Wait;
        if beside == Beside::Active && !waits {
            cloud_init::refuse_two(&data)?;
        }
        let parts = plan::plan(&data, config.bootstrap_timeout, waits);
        judge_early(&parts, &Accounts::read(self.root))?;
        let aws = Aws::new(self.imds.clone());
        let env = self.before_halt("[env]", env::write(self.root, &data, &aws)).await?;
        let folder = self.root.join("var/lib/kiln/instances").join(&id);
        let marks = Marks::new(&folder, &id, &crate::clock::boot_id());
        let verdicts = parts.iter().map(|part| marks.judge(part)).collect::<Result<Vec<_>, _>>()?;
        let due: Vec<bool> = verdicts.iter().map(|verdict| matches!(verdict, Verdict::Run { .. })).collect();
        let bounds = parts.iter().zip(&due).filter(|(_, due)| **due).filter_map(|(part, _)| part.timeout);
        let bound: Duration = bounds.sum();
        let waited = if waits { config.bootstrap_timeout } else { Duration::ZERO };
        desk.change(|report| {
            report.bound_ms =
                Some(u64::try_from(bound.saturating_add(waited).as_millis()).unwrap_or(u64::MAX));
            report.parts = parts.iter().zip(&verdicts).map(|(part, verdict)| row(part, verdict)).collect();
        });
        // Asked for only where a command will hear it: a boot that has nothing to do asks three things.
        let region = if bound.is_zero() { None } else { self.region().await? };
        if waits {
            let boot = crate::clock::boot_id();
            let share = Share::of(&data, !raw.is_empty());
            let end = cloud_init::wait(self.root, &folder, &boot, &share, config.bootstrap_timeout);
            self.before_halt("cloud-init", end).await?;
        }
        // After cloud-init, which makes users.
        let accounts = Accounts::read(self.root);
        let variables = env.shared.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
        let surroundings = Surroundings { instance_id: &id, region: region.as_deref(), variables };
        let hands = Hands {
            root: self.root,
            folder: &folder,
            surroundings,
            accounts: &accounts,
            marks: &marks,
            halt: &self.halt,
            sync: self.sync,
            desk,
        };
        for (at, (part, verdict)) in parts.iter().zip(verdicts).enumerate() {
            hands.take(at, part, verdict).await?;
        }
        // What user data wrote may be settings too: the next start of the agent must not be the first to look.
        if due.contains(&true) {
            self.source.load()?;
        }
        Ok(())
    }

    /// Asks for what the work needs until the machine goes down.
    async fn before_halt<T, E: Into<Failure>>(
        &self,
        what: &str,
        ask: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            answer = ask => answer.map_err(Into::into),
            () = self.halt.asked() => Err(Failure::CutOff(what.to_owned())),
        }
    }

    async fn region(&self) -> Result<Option<String>, Failure> {
        let item = "placement/region";
        self.before_halt(item, self.imds.find_patiently(item, self.imds_wait)).await
    }
}

fn tell_what_was_mended(data: &UserData) {
    for (label, leaf) in data.leaves() {
        let Leaf::Script(script) = leaf else { continue };
        for note in script.notes() {
            let part = label.map_or_else(|| "user data".to_owned(), ToString::to_string);
            tracing::warn!(part, reason = %note, "user data mended");
        }
    }
}

/// Refuses what can be seen to fail before anything is run.
fn judge_early(parts: &[Part<'_>], accounts: &Accounts) -> Result<(), Failure> {
    let keys = parts.iter().find(|part| matches!(part.work, Work::Keys(_)));
    match keys {
        Some(part) if accounts.person().is_none() => Err(Failure::NotDone(format!(
            "{}: the image has no user to log in as (uid 1000 or above, with a shell): make one in the image",
            part.title
        ))),
        _ => Ok(()),
    }
}

fn row(part: &Part<'_>, verdict: &Verdict) -> PartRow {
    let step = match verdict {
        Verdict::Run { .. } | Verdict::Refused(_) => Step::Waiting,
        Verdict::Done => Step::Earlier,
    };
    PartRow { name: part.name.clone(), step, ..PartRow::default() }
}
