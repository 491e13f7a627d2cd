//! Beside cloud-init, on images that are based on a vendor's: who runs the user data, and how it went there.
//!
//! ```text
//!  take-over   the agent runs all of it; cloud-init is told not to (allow_userdata: false, written at the bake)
//!  wait        cloud-init runs scripts and #cloud-config; its end is waited for, then the agent does the #kiln documents
//! ```
//!
//! cloud-init's word is taken from its files, and not for more than it is worth: it says `done` when it found no data
//! source and so no user data, when it passed over what it does not understand (`share.rs`), and again after each reboot,
//! however a script ended that it does not run a second time.

mod share;

pub(super) use share::Share;

use super::Failure;
use crate::durable;
use kiln_userdata::{Leaf, UserData};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// Written at the bake; cloud-init reads it after the vendor's files (its `stages.py`, `consume_data`).
const DROP_IN: &str = "etc/cloud/cloud.cfg.d/99-kiln.cfg";
/// This boot's: the links in `/run` are made when each is written, and `/run` is empty after a boot.
const RESULT: &str = "run/cloud-init/result.json";
/// Warnings are in here alone.
const STATUS: &str = "run/cloud-init/status.json";
/// Either keeps cloud-init from running: a person's word, and its generator's.
const DISABLED: [&str; 2] = ["etc/cloud/cloud-init.disabled", "run/cloud-init/disabled"];
/// Between two looks at a small file on a tmpfs, for the length of a boot.
const POLL: Duration = Duration::from_millis(250);

/// What cloud-init says at its end.
#[derive(Debug, Default, Deserialize)]
struct Ended {
    v1: Words,
}

#[derive(Debug, Default, Deserialize)]
struct Words {
    datasource: Option<String>,
    #[serde(default)]
    errors: Vec<String>,
}

/// What it says of each stage.
#[derive(Debug, Default, Deserialize)]
struct Status {
    #[serde(default)]
    v1: BTreeMap<String, serde_json::Value>,
}

/// What is remembered of it over reboots.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    boot: String,
    /// What it was to do: the hash of [`Share`].
    share: String,
    /// None while it has not ended; empty when all went well.
    reason: Option<String>,
}

/// What cloud-init will do with the user data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    /// It is not there, or switched off.
    Absent,
    /// It has been told to leave it alone.
    Told,
    /// It runs it.
    Active,
}

impl Beside {
    /// Looks at the image and at this boot.
    pub(super) fn of(root: &Path) -> Self {
        if !root.join("usr/bin/cloud-init").exists() || DISABLED.iter().any(|path| root.join(path).exists()) {
            return Self::Absent;
        }
        let told = std::fs::read_to_string(root.join(DROP_IN))
            .is_ok_and(|text| text.lines().any(|line| line.trim() == "allow_userdata: false"));
        if told { Self::Told } else { Self::Active }
    }

    /// Reads user data; where cloud-init runs it, its documents are its own to judge.
    pub(super) fn read(self, raw: &[u8]) -> Result<UserData, Failure> {
        if self == Self::Active {
            tracing::info!("cloud-init is on this image: #cloud-config documents are left to it");
            return Ok(kiln_userdata::parse_beside_cloud_init(raw)?);
        }
        kiln_userdata::parse(raw).map_err(|error| {
            if self == Self::Told && kiln_userdata::parse_beside_cloud_init(raw).is_ok() {
                let way_out = "cloud-init, which is told to leave user data alone, would do it: bake the image with \
                               image.cloud_init = \"wait\"";
                return Failure::NotDone(format!("{error}; {way_out}"));
            }
            error.into()
        })
    }
}

/// Refuses scripts that cloud-init would run too.
pub(super) fn refuse_two(data: &UserData) -> Result<(), Failure> {
    if data.leaves().iter().any(|(_, leaf)| matches!(leaf, Leaf::Script(_))) {
        return failed(format!(
            "cloud-init would run the script too: write 'allow_userdata: false' into /{DROP_IN}, as a bake does, or set \
             bootstrap.cloud_init to \"wait\" in the image"
        ));
    }
    Ok(())
}

/// Waits for the end of cloud-init, for at most `bound`. With work for it, it must have had a data source, must have
/// taken its share, and must not have failed on this boot or an earlier one.
pub(super) async fn wait(
    root: &Path,
    folder: &Path,
    boot: &str,
    share: &Share<'_>,
    bound: Duration,
) -> Result<(), Failure> {
    let path = folder.join("cloud-init.json");
    let mark = |reason: Option<String>| Mark { boot: boot.to_owned(), share: share.hash(), reason };
    if share.work {
        look_back(&path, &mark(None))?;
        keep(&path, &mark(None))?;
    }
    let until = Instant::now() + bound;
    while !root.join(RESULT).exists() {
        if Instant::now() >= until {
            let bound = humantime::format_duration(bound);
            return failed(format!("cloud-init did not end within {bound} (bootstrap.timeout)"));
        }
        tokio::time::sleep(POLL).await;
    }
    let reason =
        judge(&read(root, RESULT), &read(root, STATUS), share.work).or_else(|| share.passed_over(root));
    if share.work {
        keep(&path, &mark(Some(reason.clone().unwrap_or_default())))?;
    }
    reason.map_or(Ok(()), failed)
}

/// What an earlier boot left: it cannot be mended by another one, since cloud-init does nothing a second time.
fn look_back(path: &Path, now: &Mark) -> Result<(), Failure> {
    // A mark that cannot be read is none.
    let kept = std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Mark>(&bytes).ok());
    let reason = match kept {
        Some(Mark { reason: Some(reason), .. }) if !reason.is_empty() => reason,
        Some(Mark { reason: None, boot, .. }) if boot != now.boot => "cloud-init was cut off".to_owned(),
        Some(Mark { share, .. }) if share != now.share => "cloud-init had other user data".to_owned(),
        _ => return Ok(()),
    };
    let way_out = format!("remove {} to pass over it", path.display());
    failed(format!(
        "{reason}, on an earlier boot, and cloud-init runs nothing twice: replace the instance, or {way_out}"
    ))
}

fn judge(result: &Ended, status: &Status, work: bool) -> Option<String> {
    let Words { datasource, errors } = &result.v1;
    if let Some(first) = errors.first() {
        return Some(format!("cloud-init ended with {} error(s), the first: {first}", errors.len()));
    }
    // `DataSourceNone` stands for a metadata service that did not answer: no user data was seen.
    let found =
        datasource.as_deref().is_some_and(|name| !name.is_empty() && !name.starts_with("DataSourceNone"));
    if work && !found {
        return Some("cloud-init found no data source, and so ran no user data".to_owned());
    }
    let (mut graver, mut warnings) = (0, 0);
    for stage in status.v1.values() {
        for (level, texts) in
            stage.get("recoverable_errors").and_then(|levels| levels.as_object()).into_iter().flatten()
        {
            let count = texts.as_array().map_or(0, Vec::len);
            *(if matches!(level.as_str(), "ERROR" | "CRITICAL") { &mut graver } else { &mut warnings }) +=
                count;
        }
    }
    if warnings > 0 {
        // A #kiln document is one: cloud-init knows no such kind.
        tracing::warn!(warnings, "cloud-init is done with warnings: cloud-init status --long");
    }
    (graver > 0).then(|| format!("cloud-init is done with {graver} error(s) that it calls recoverable"))
}

/// What cannot be read says nothing: no data source then, which is a failure where there is work.
fn read<T: Default + for<'de> Deserialize<'de>>(root: &Path, path: &str) -> T {
    std::fs::read(root.join(path))
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default()
}

fn keep(path: &Path, mark: &Mark) -> Result<(), Failure> {
    let bytes = serde_json::to_vec(mark).unwrap_or_default();
    durable::write(path, &bytes, 0o600).map_err(|source| Failure::Keep { path: PathBuf::from(path), source })
}

fn failed(reason: String) -> Result<(), Failure> {
    Err(Failure::NotDone(reason))
}

#[cfg(test)]
mod tests;
