//! `kiln-agent status`: the daemon's own word, or, when it is not there to ask, what it left behind.

use super::report::{self, Look};
use super::{print, runtime};
use crate::board::{Board, Status};
use crate::bootstrap::{Outcome, Report};
use crate::clock::Clock;
use crate::config::Config;
use crate::fetch::{Error, Url, fetch};
use crate::lifecycle::Phase;
use crate::state::State;
use anyhow::{Context, bail};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

/// Bounds the question: the agent answers from memory.
const BOUND: Duration = Duration::from_secs(3);

/// Asks the daemon and prints its answer. Exit code 1 when there is none.
pub(super) fn status(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let url = Url::parse(&format!("http://{}/status", config.local_address())).map_err(anyhow::Error::msg)?;
    let reply = match runtime()?.block_on(fetch(hyper::Method::GET, &url, &[], BOUND)) {
        Ok(reply) => reply,
        Err(error) if json => return Err(error).context("failed to ask the agent"),
        Err(error) => {
            print(&runtime()?.block_on(async { left_behind(Path::new("/"), &error, look()) }))?;
            return Ok(ExitCode::FAILURE);
        }
    };
    if !reply.status.is_success() {
        bail!("failed to ask the agent: it answered {}", reply.status);
    }
    if json {
        print(&String::from_utf8_lossy(&reply.body))?;
    } else {
        let status: Status = serde_json::from_slice(&reply.body)
            .context("failed to read the agent's status: is it of another version?")?;
        print(&report::text(&status, look()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn look() -> Look {
    Look { now: SystemTime::now(), colour: report::terminal() }
}

/// What the state files under `root` tell of the life that a silent daemon led.
fn left_behind(root: &Path, why: &Error, look: Look) -> String {
    use report::Colour::{Bold, None as Plain, Red};
    let mut page = report::Page::new(look.colour);
    page.line("agent", "does not answer", Red);
    page.line("why", &why.to_string(), Plain);
    let mut leaving = false;
    match State::new(root).read() {
        Ok(Some(life)) => {
            let board = Board::new(&life);
            board.record(&life, Clock::system().now());
            let mut status = board.snapshot();
            leaving = status.phase.is_leaving();
            // The bounds of a launch are the configuration's, and the next agent counts them anew.
            if !leaving {
                status.deadline_seconds = None;
            }
            status.instance_id = Report::read(root).and_then(|report| report.instance_id);
            // Checks are asked by the agent alone.
            if matches!(status.phase, Phase::Warming | Phase::Serving) {
                "unknown: nobody asks the checks".clone_into(&mut status.reason);
                status.ready = false;
            }
            page.line("last known", "from the state file of this boot:", Plain);
            report::life(&mut page, &status, look.now);
        }
        Ok(None) => page.line("last known", "nothing: no agent has run since this boot", Plain),
        Err(error) => {
            page.line("last known", &format!("the state file cannot be read: {error}; ask as root"), Plain);
        }
    }
    page.line("bootstrap", &bootstrap(Report::read(root).as_ref()), Plain);
    let goes_on = if leaving { "goes on with this drain" } else { "goes on from there" };
    page.line("remedy", "systemctl status kiln-agent; journalctl -u kiln-agent -e", Bold);
    page.line("", &format!("systemctl start kiln-agent: {goes_on}"), Plain);
    page.text
}

fn bootstrap(report: Option<&Report>) -> String {
    let Some(report) = report else { return "has not begun in this boot".to_owned() };
    match report.outcome {
        Outcome::Running => format!("runs since {}", report.started),
        Outcome::Ok => format!("succeeded in {} ms at {}", report.elapsed_ms, report.started),
        Outcome::Failed => {
            format!("failed at {}: {}", report.started, report.reason.as_deref().unwrap_or("no reason given"))
        }
    }
}

#[cfg(test)]
mod tests;
