//! Does one part: a mark before, the work, a mark after.

use super::accounts::{Account, Accounts};
use super::command::Surroundings;
use super::mark::{Marks, Verdict};
use super::outcome::{Desk, PartRow, Step};
use super::output::Output;
use super::plan::{Part, Work};
use super::{Failure, Halt, files};
use crate::child::{self, End};
use crate::durable;
use kiln_userdata::{Command as Line, Every, Run};
use std::path::Path;
use std::sync::Arc;
use tokio::process::Command;
use tokio::time::Instant;

/// What all parts are done with.
#[derive(Debug)]
pub(super) struct Hands<'a> {
    pub(super) root: &'a Path,
    /// The instance's own.
    pub(super) folder: &'a Path,
    pub(super) surroundings: Surroundings<'a>,
    pub(super) accounts: &'a Accounts,
    pub(super) marks: &'a Marks,
    pub(super) halt: &'a Halt,
    pub(super) sync: fn(),
    pub(super) desk: &'a Arc<Desk>,
}

impl Hands<'_> {
    /// Does `part`, the `at`th, as its verdict says.
    pub(super) async fn take(&self, at: usize, part: &Part<'_>, verdict: Verdict) -> Result<(), Failure> {
        let (again, begun) = match verdict {
            Verdict::Done => return Ok(()),
            Verdict::Refused(reason) => {
                self.row(at, |row| row.step = Step::Failed);
                return Err(Failure::Part(reason));
            }
            Verdict::Run { again, begun } => (again, begun),
        };
        if self.halt.is_asked() {
            return Err(Failure::CutOff(part.title.clone()));
        }
        self.marks.begin(part, begun)?;
        self.desk.change(|report| report.ran = true);
        self.row(at, |row| row.step = Step::Running);
        let started = Instant::now();
        let result = self.work(at, part, again).await;
        let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        match &result {
            Ok(()) => {
                if part.timeout.is_some() && part.every == Every::Instance {
                    // What a program wrote is in the page cache as yet: a power cut would leave the mark without it.
                    (self.sync)();
                }
                self.marks.end(part, None)?;
                tracing::info!(part = part.name, elapsed_ms, "part done");
            }
            // Nobody knows how far it came: the mark stays as it is.
            Err(Failure::CutOff(_)) => {}
            Err(failure) => {
                self.marks.end(part, Some(&failure.to_string()))?;
                tracing::error!(part = part.name, elapsed_ms, reason = %failure, "part failed");
            }
        }
        self.row(at, |row| {
            row.step = if result.is_ok() { Step::Done } else { Step::Failed };
            row.elapsed_ms = elapsed_ms;
        });
        result?;
        // A part that asked for a reboot has done so by now; neither the next part nor the world begins before it.
        if part.timeout.is_some() && self.halt.is_near().await {
            return Err(Failure::CutOff("user data".to_owned()));
        }
        Ok(())
    }

    async fn work(&self, at: usize, part: &Part<'_>, again: bool) -> Result<(), Failure> {
        let done = match &part.work {
            Work::Script { body, interpreter } => {
                let path = self.folder.join("parts").join(&part.name);
                durable::write(&path, body, 0o700)
                    .map_err(|source| Failure::Keep { path: path.clone(), source })?;
                let command = self.surroundings.script(&part.name, &path);
                return self.execute(at, part, command, interpreter).await;
            }
            Work::Run(run) => return self.run(at, part, run).await,
            Work::Files(list) => files::write(self.root, self.accounts, list, again),
            Work::Hostname(name) => files::hostname(self.root, name),
            Work::Keys(keys) => match self.accounts.person() {
                Some(person) => files::keys(self.root, &person, keys),
                None => Err("the image has no user to log in as".to_owned()),
            },
        };
        done.map_err(|reason| Failure::Part(format!("{}: {reason}", part.title)))
    }

    async fn run(&self, at: usize, part: &Part<'_>, run: &Run) -> Result<(), Failure> {
        let failed = |reason: String| Failure::Part(format!("{}: {reason}", part.title));
        // A part before this one may have made the user.
        let accounts = Accounts::read(self.root);
        let account: Option<Account> =
            run.user.as_ref().map(|user| accounts.find(user)).transpose().map_err(failed)?;
        if let Some(directory) = run.directory.as_ref().filter(|path| !Path::new(path).is_dir()) {
            return Err(failed(format!("there is no folder '{directory}' to run it in")));
        }
        let program = match &run.command {
            Line::Shell(_) => "/bin/sh",
            Line::Exec(words) => words.first().map_or("", String::as_str),
        };
        let command = self.surroundings.run(run, &part.name, account.as_ref());
        self.execute(at, part, command, program).await
    }

    async fn execute(
        &self,
        at: usize,
        part: &Part<'_>,
        command: Command,
        program: &str,
    ) -> Result<(), Failure> {
        tracing::info!(part = part.name, program, "part begins");
        let output = Arc::new(Output::new(&part.name, &self.folder.join("output"), self.desk.clone()));
        let bound = part.timeout.unwrap_or_default();
        let ended = child::run_heard(command, bound, output.clone(), self.halt.asked()).await;
        let output_bytes = output.end();
        let end = ended.map_err(|source| Failure::Start {
            title: part.title.clone(),
            program: program.to_owned(),
            source,
        })?;
        let (exit_code, signal) = match end {
            End::Exited(code) => (Some(code), None),
            End::Killed(signal) => (None, Some(signal)),
            End::TimedOut | End::CutOff => (None, None),
        };
        self.row(at, |row| {
            (row.exit_code, row.signal, row.output_bytes) = (exit_code, signal, output_bytes);
        });
        match end {
            End::Exited(0) => Ok(()),
            // Services and network go away around it: what it says then is not its own word.
            _ if end == End::CutOff || self.halt.is_near().await => Err(Failure::CutOff(part.title.clone())),
            End::TimedOut => {
                let bound = humantime::format_duration(bound);
                let key = if matches!(part.work, Work::Run(Run { timeout: Some(_), .. })) {
                    "its timeout"
                } else {
                    "bootstrap.timeout"
                };
                Err(Failure::Part(format!("{} did not end within {bound} ({key})", part.title)))
            }
            _ => {
                self.desk.change(|report| report.exit_code = exit_code);
                Err(Failure::Part(format!("{} {end}", part.title)))
            }
        }
    }

    fn row(&self, at: usize, change: impl FnOnce(&mut PartRow)) {
        self.desk.change(|report| {
            if let Some(row) = report.parts.get_mut(at) {
                change(row);
            }
        });
    }
}
