//! `drain` and `ready`: the word goes over the agent's socket, and `--wait` reads the status until it is so.

use super::runtime;
use crate::board::Status;
use crate::config::Config;
use crate::control::{self, Ask, Reply, Request};
use crate::fetch::{Url, fetch};
use crate::lifecycle::{Ended, Phase};
use anyhow::{Context, bail};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Bounds the exchange; the agent answers within two seconds, or is about to end.
const ANSWER_BOUND: Duration = Duration::from_secs(5);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// The agent may be restarted under the wait; longer than this it is gone.
const SILENCE: Duration = Duration::from_secs(15);
/// Beyond the agent's own deadline, which ends every wait: protects a pipeline from an agent that has lost its way.
const BEYOND: Duration = Duration::from_mins(1);

/// What a look at the status comes to.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Done(String),
    Failed(String),
    Waiting(String),
}

/// Parses a duration on the command line.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("it must be longer than nothing".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error}: write it as 90s or 2m")),
    }
}

/// `kiln-agent drain`
pub(super) fn drain(config: &Config, wait: bool, timeout: Option<Duration>) -> anyhow::Result<ExitCode> {
    let timeout_ms = timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
    say(&Request { ask: Ask::Drain, timeout_ms })?;
    if wait { runtime()?.block_on(watch(config, drained)) } else { Ok(ExitCode::SUCCESS) }
}

/// `kiln-agent ready`
pub(super) fn ready(config: &Config, wait: bool) -> anyhow::Result<ExitCode> {
    say(&Request { ask: Ask::Ready, timeout_ms: None })?;
    if wait { runtime()?.block_on(watch(config, serving)) } else { Ok(ExitCode::SUCCESS) }
}

fn say(request: &Request) -> anyhow::Result<()> {
    let reply = ask(&Path::new("/").join(control::PATH), request)?;
    if !reply.done {
        bail!("refused: {}", reply.text);
    }
    tell(&reply.text);
    Ok(())
}

/// One exchange with the agent behind the socket at `path`.
fn ask(path: &Path, request: &Request) -> anyhow::Result<Reply> {
    let mut stream = UnixStream::connect(path).map_err(|error| {
        let remedy = match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => "is kiln-agent.service running?",
            ErrorKind::PermissionDenied => "run it as root",
            _ => "see `journalctl -u kiln-agent`",
        };
        anyhow::anyhow!("failed to ask the agent at {}: {error}: {remedy}", path.display())
    })?;
    let mut exchange = || {
        stream.set_read_timeout(Some(ANSWER_BOUND))?;
        stream.set_write_timeout(Some(ANSWER_BOUND))?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        serde_json::from_slice(&answer).map_err(std::io::Error::other)
    };
    exchange().with_context(|| format!("failed to ask the agent at {}: no answer from it", path.display()))
}

/// Looks at the status until `judge` has come to an end; says what is waited for whenever that changes.
async fn watch(config: &Config, judge: impl Fn(&Status) -> Look) -> anyhow::Result<ExitCode> {
    let url = Url::parse(&format!("http://{}/status", config.local_address())).map_err(anyhow::Error::msg)?;
    let (mut heard, mut until, mut said) = (Instant::now(), None, String::new());
    loop {
        let status = match status(&url).await {
            Ok(status) => status,
            Err(error) if heard.elapsed() >= SILENCE => return Err(error),
            Err(_) => {
                sleep(LOOK).await;
                continue;
            }
        };
        heard = Instant::now();
        let left = Duration::from_secs(status.deadline_seconds.unwrap_or_default());
        let until = *until.get_or_insert(heard + left + BEYOND);
        match judge(&status) {
            Look::Done(text) => {
                tell(&text);
                return Ok(ExitCode::SUCCESS);
            }
            Look::Failed(reason) => bail!("{reason}"),
            Look::Waiting(what) if heard >= until => bail!("given up: still {what}"),
            Look::Waiting(what) if what != said => {
                let left = humantime::format_duration(left);
                tell(&format!("{what}, at most {left} more"));
                said = what;
            }
            Look::Waiting(_) => {}
        }
        sleep(LOOK).await;
    }
}

async fn status(url: &Url) -> anyhow::Result<Status> {
    let reply = fetch(hyper::Method::GET, url, &[], ANSWER_BOUND).await.context("failed to ask the agent")?;
    serde_json::from_slice(&reply.body)
        .context("failed to read the agent's status: is it of another version?")
}

fn drained(status: &Status) -> Look {
    let work = status.connections.map(|count| format!("{count} with work in flight"));
    let work = work.unwrap_or_else(|| "connections not counted".to_owned());
    match (status.phase, status.drain_ended) {
        (Phase::Drained, Some(Ended::Quiet)) => Look::Done("drained".to_owned()),
        (Phase::Drained, Some(Ended::Unreachable)) => {
            Look::Failed(format!("drained without AWS, its targets are not told{}", trouble(status)))
        }
        (Phase::Drained, _) => {
            Look::Failed(format!("not drained by the deadline, {work}{}", trouble(status)))
        }
        (Phase::Draining, _) => {
            let what = status.waiting_for.as_deref().unwrap_or("targets");
            Look::Waiting(format!("draining, waits for {what}, {work}"))
        }
        (phase, _) => Look::Failed(format!("the drain was taken back: {}", phase.name())),
    }
}

fn serving(status: &Status) -> Look {
    if status.phase.is_leaving() || status.failure.is_some() {
        return Look::Failed(status.reason.clone());
    }
    match (status.ready, status.rejoining) {
        (true, false) => Look::Done("serving".to_owned()),
        (true, true) => Look::Waiting(format!("serving, its targets not registered yet{}", trouble(status))),
        (false, _) => Look::Waiting(format!("{}, {}", status.phase.name(), status.reason)),
    }
}

/// What target groups say, where something is the matter.
fn trouble(status: &Status) -> String {
    let found = status.errors.iter().find(|(part, _)| part.contains("targets"));
    found.map(|(_, error)| format!(": {error}")).unwrap_or_default()
}

fn tell(text: &str) {
    // Nobody is left to tell when stderr is closed.
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::Failure;

    #[test]
    fn a_wait_ends_with_the_reason() {
        let mut status = crate::fake::board().snapshot();
        (status.phase, status.waiting_for) = (Phase::Draining, Some("connections".to_owned()));
        status.connections = Some(3);
        let waiting = "draining, waits for connections, 3 with work in flight".to_owned();
        assert_eq!(drained(&status), Look::Waiting(waiting));
        (status.phase, status.drain_ended) = (Phase::Drained, Some(Ended::Overdue));
        status.errors.insert("targets".to_owned(), "DeregisterTargets: throttled".to_owned());
        let late =
            "not drained by the deadline, 3 with work in flight: DeregisterTargets: throttled".to_owned();
        assert_eq!(drained(&status), Look::Failed(late));
        status.drain_ended = Some(Ended::Quiet);
        assert_eq!(drained(&status), Look::Done("drained".to_owned()));
        status.phase = Phase::Serving;
        assert_eq!(drained(&status), Look::Failed("the drain was taken back: serving".to_owned()));
    }

    #[test]
    fn back_in_service_is_ready_with_its_targets_registered() {
        let mut status = crate::fake::board().snapshot();
        (status.phase, status.reason) = (Phase::Warming, "waiting for checks: shop".to_owned());
        assert_eq!(serving(&status), Look::Waiting("warming, waiting for checks: shop".to_owned()));
        (status.phase, status.ready, status.rejoining) = (Phase::Serving, true, true);
        assert!(matches!(serving(&status), Look::Waiting(_)));
        status.rejoining = false;
        assert_eq!(serving(&status), Look::Done("serving".to_owned()));
        (status.phase, status.ready, status.failure) = (Phase::Warming, false, Some(Failure::Readiness));
        status.reason = "launch failed: not ready in time".to_owned();
        assert_eq!(serving(&status), Look::Failed("launch failed: not ready in time".to_owned()));
    }

    #[test]
    fn an_agent_that_does_not_run_is_told_apart_from_one_that_may_not_be_asked() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("control.sock");
        let request = Request { ask: Ask::Ready, timeout_ms: None };
        let error = ask(&path, &request).expect_err("nobody is there").to_string();
        assert!(error.ends_with("is kiln-agent.service running?"), "{error}");
        // A socket that nobody listens on any more, as a killed agent leaves it.
        drop(std::os::unix::net::UnixListener::bind(&path).expect("the folder is ours"));
        let error = ask(&path, &request).expect_err("nobody listens").to_string();
        assert!(error.ends_with("is kiln-agent.service running?"), "{error}");
    }

    #[test]
    fn durations_are_read_as_in_the_configuration() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        for wrong in ["", "0s", "-1s", "soon"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
