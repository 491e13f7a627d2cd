//! `kiln-agent env`: the services' environment, by hand.

use super::{print, runtime};
use crate::aws::Aws;
use crate::config::Config;
use crate::env;
use crate::imds::Imds;
use crate::journal;
use anyhow::{Context, ensure};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Reads the sources again. Exits 0 when all is done or nothing was to do, 1 when `check` found a change.
pub(super) fn refresh(config: &Config, check: bool) -> anyhow::Result<ExitCode> {
    ensure!(nix::unistd::geteuid().is_root(), "env refresh needs root: run it with sudo");
    journal::init().map_err(anyhow::Error::msg)?;
    runtime()?.block_on(perform(config, check))
}

async fn perform(config: &Config, check: bool) -> anyhow::Result<ExitCode> {
    let root = Path::new("/");
    let imds = Arc::new(Imds::from_env().map_err(anyhow::Error::msg)?);
    // What the bootstrap ran: user data cannot be changed while an instance runs.
    let raw = imds.user_data_patiently(config.imds_wait).await.context("failed to read the user data")?;
    let data = kiln_userdata::parse(&raw.unwrap_or_default())?;
    let aws = Aws::new(imds);
    if check {
        let changed = env::compare(root, &data, &aws).await?;
        let lines: Vec<String> = changed.iter().map(|service| format!("{service}: changed\n")).collect();
        print(if lines.is_empty() { "unchanged\n".to_owned() } else { lines.concat() }.as_str())?;
        return Ok(ExitCode::from(u8::from(!changed.is_empty())));
    }
    let done = env::refresh(root, &data, &aws, Path::new("systemctl")).await?;
    let lines: Vec<String> = done
        .iter()
        .map(|refreshed| match &refreshed.failure {
            None => format!("{}: changed, restarted\n", refreshed.service),
            Some(failure) => format!("{}: changed, {failure}\n", refreshed.service),
        })
        .collect();
    print(if lines.is_empty() { "unchanged\n".to_owned() } else { lines.concat() }.as_str())?;
    Ok(ExitCode::from(u8::from(done.iter().any(|refreshed| refreshed.failure.is_some()))))
}
