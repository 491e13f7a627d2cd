//! Which units start at boot: every template that has an `[Install]` section, and nginx.

use std::path::Path;

use anyhow::Context as _;

use crate::bench::Bench;
use crate::manifest::{Manifest, Tls};
use crate::sandbox::Sandbox;
use crate::template::Rendered;

const FOLDERS: [&str; 2] = ["usr/lib/systemd/system", "etc/systemd/system"];

/// The names to enable, sorted; template units once per service with a backend. Pure.
pub fn wanted(manifest: &Manifest, files: &[Rendered]) -> Vec<String> {
    let mut names = vec!["nginx.service".to_owned()];
    for file in files {
        let in_place =
            file.path.parent().is_some_and(|parent| FOLDERS.iter().any(|folder| parent == Path::new(folder)));
        let installs =
            || String::from_utf8_lossy(&file.content).lines().any(|line| line.trim() == "[Install]");
        let Some(name) = file.path.file_name().map(|name| name.to_string_lossy()) else {
            continue;
        };
        if !in_place || !installs() {
            continue;
        }
        match name.split_once("@.") {
            None => names.push(name.into_owned()),
            Some((unit, kind)) => {
                let backends = manifest.services.iter().filter(|service| service.backend.is_some());
                names.extend(backends.map(|service| format!("{unit}@{}.{kind}", service.name)));
            }
        }
    }
    names.extend(manifest.image.tls.iter().map(|_| Tls::TIMER.to_owned()));
    names.sort();
    names.dedup();
    names
}

/// Links them into their targets; nothing starts.
///
/// # Errors
/// systemctl does not know a unit.
pub fn enable(bench: &Bench, root: &Path, units: &[String]) -> anyhow::Result<()> {
    let mut command = vec!["systemctl", "--quiet", "enable"];
    command.extend(units.iter().map(String::as_str));
    Sandbox::root(root).run(bench, &command).context("failed to enable units")?;
    Ok(())
}

/// Takes care that they never start.
///
/// # Errors
/// systemctl refuses.
pub fn mask(bench: &Bench, root: &Path, units: &[&str]) -> anyhow::Result<()> {
    if units.is_empty() {
        return Ok(());
    }
    let command: Vec<_> = ["systemctl", "--quiet", "mask"].into_iter().chain(units.iter().copied()).collect();
    Sandbox::root(root).run(bench, &command).context("failed to mask units")?;
    Ok(())
}
