//! `kiln-agent env refresh`: reads the sources again and restarts the services whose values changed.
//!
//! A restart, since a process keeps the environment it was started with: gunicorn's reload starts new workers with the
//! master's. Its socket stays open meanwhile; requests in flight are finished, new ones wait.

use super::{Error, FOLDER, Rendered, Secret, path, prepare, put};
use crate::aws::Aws;
use crate::child::{self, End};
use kiln_userdata::UserData;
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;

/// Bounds one restart: `TimeoutStopSec=` and `TimeoutStartSec=` of gunicorn@.service, and a little.
const RESTART_BOUND: Duration = Duration::from_mins(8);

/// What became of a service whose environment changed.
#[derive(Debug)]
pub struct Refreshed {
    /// The service.
    pub service: String,
    /// Why its restart failed, if it did; the file is the new one all the same.
    pub failure: Option<String>,
}

/// The services whose environment is not what the sources say, in the image's order; changes nothing.
pub async fn compare(root: &Path, data: &UserData, aws: &Aws) -> Result<Vec<String>, Error> {
    let rendered = Rendered::of(root, data, aws).await?;
    Ok(changed(root, &rendered.files))
}

/// Writes the environment of the services whose values changed, and has `restart` restart each, one after the other. A
/// source that does not answer changes nothing.
pub async fn refresh(
    root: &Path,
    data: &UserData,
    aws: &Aws,
    systemctl: &Path,
) -> Result<Vec<Refreshed>, Error> {
    let rendered = Rendered::of(root, data, aws).await?;
    let changed = changed(root, &rendered.files);
    let folder = root.join(FOLDER);
    prepare(&folder, &rendered.files)?;
    let mut done = Vec::new();
    for service in changed {
        if let Some((_, text)) = rendered.files.iter().find(|(name, _)| *name == service) {
            put(&folder, &service, text)?;
        }
        let failure = restart(systemctl, &service).await.err();
        done.push(Refreshed { service, failure });
    }
    Ok(done)
}

fn changed(root: &Path, files: &[(String, Secret)]) -> Vec<String> {
    let folder = root.join(FOLDER);
    let now = |service: &str| std::fs::read(path(&folder, service)).ok().map(zeroize::Zeroizing::new);
    let differs =
        |text: &Secret, service: &str| now(service).is_none_or(|now| *now != text.expose().as_bytes());
    let mut changed: Vec<String> = files
        .iter()
        .filter(|(service, text)| differs(text, service))
        .map(|(service, _)| service.clone())
        .collect();
    changed.extend(super::stale(&folder, files).into_iter().map(|(service, _)| service));
    changed
}

/// Only if it runs: one that systemd has yet to start reads the new file then.
async fn restart(systemctl: &Path, service: &str) -> Result<(), String> {
    let unit = format!("gunicorn@{service}.service");
    let mut command = Command::new(systemctl);
    command.args(["try-restart", &unit]);
    match child::run(command, "systemctl", RESTART_BOUND).await {
        Ok(End::Exited(0)) => Ok(()),
        Ok(End::Exited(code)) => {
            Err(format!("systemctl try-restart {unit} exited with {code}: journalctl -u {unit}"))
        }
        Ok(End::Killed(signal)) => Err(format!("systemctl try-restart {unit} was killed by signal {signal}")),
        Ok(End::TimedOut) => {
            Err(format!("{unit} did not restart within {}", humantime::format_duration(RESTART_BOUND)))
        }
        Ok(end @ End::CutOff) => Err(format!("systemctl try-restart {unit} {end}")),
        Err(error) => Err(format!("failed to run {}: {error}", systemctl.display())),
    }
}
