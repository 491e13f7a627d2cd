//! Debian's mirrors, and one run of mmdebstrap: progress read from what apt and dpkg print, failures told apart.

use std::path::Path;
use std::process::Command;

use crate::deb::Deb;
use crate::error::{Error, Result};
use crate::host;
use crate::progress::{Progress, Unit};

/// Signs Debian 12 and 13; part of every Debian.
pub(crate) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Of the caller's environment, what mmdebstrap may see.
const PASSED: [&str; 5] = ["PATH", "http_proxy", "https_proxy", "no_proxy", "HTTPS_PROXY"];

/// Where packages come from. What is built does not depend on it: mirrors hold the same signed packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The archive, e.g. `http://deb.debian.org/debian`.
    pub debian: String,
    /// The security archive, e.g. `http://deb.debian.org/debian-security`.
    pub security: String,
}

impl Default for Mirror {
    fn default() -> Self {
        Self {
            debian: "http://deb.debian.org/debian".to_owned(),
            security: "http://deb.debian.org/debian-security".to_owned(),
        }
    }
}

impl Mirror {
    /// The `sources.list` lines of a stable suite with its updates.
    pub(crate) fn sources(&self, suite: &str) -> Vec<String> {
        let Self { debian, security } = self;
        vec![
            format!("deb {debian} {suite} main"),
            format!("deb {debian} {suite}-updates main"),
            format!("deb {security} {suite}-security main"),
        ]
    }

    /// The address of a package's file (see [`crate::deb::Deb::file`]).
    pub(crate) fn url(&self, file: &str) -> String {
        let path = file.split_once('/').map_or(file, |(_, path)| path);
        format!("{}/{}", self.of(file), crate::deb::escaped(path))
    }

    /// The archive that has a package's file.
    pub(crate) fn of(&self, file: &str) -> &str {
        if file.starts_with("debian-security/") { &self.security } else { &self.debian }
    }

    /// Which archive an address is in, by the name that it has everywhere.
    pub(crate) fn archive(&self, url: &str) -> Option<&'static str> {
        let below = |root: &str| url.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'));
        if below(&self.security) {
            return Some("debian-security");
        }
        below(&self.debian).then_some("debian")
    }
}

/// Refuses unless this machine knows Debian's key.
pub(crate) fn need_keyring() -> Result<()> {
    host::need_file(KEYRING, "debian-archive-keyring")
}

/// Bytes of a root and of its packages for each byte of the latter: some 370 MB and 67 MB of 67 MB, with a margin.
const UNPACKED: u64 = 10;

/// mmdebstrap, confined, with the arguments that every call shares. `scratch` exists and is on a file
/// system with room for the root.
pub(crate) fn mmdebstrap(variant: &str, debs: &[Deb], epoch: u64, scratch: &Path) -> Result<Command> {
    let needed = UNPACKED * debs.iter().map(|deb| deb.size).sum::<u64>();
    let mut command = host::confined("mmdebstrap", Some((scratch, needed)))?;
    // Maintainer scripts see this environment, and what they write is in the root.
    command.env_clear().envs(PASSED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.env("SOURCE_DATE_EPOCH", epoch.to_string());
    command
        .env("HOME", "/")
        .env("TMPDIR", scratch)
        .env("TZ", "UTC")
        .env("LC_ALL", "C.UTF-8")
        .env("DEBIAN_FRONTEND", "noninteractive")
        // What Python caches of a script that it runs is another each time; what packages compile is not.
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONHASHSEED", "0");
    command.args(["--verbose", "--mode=root", "--architectures=amd64"]);
    let names: Vec<&str> = debs.iter().map(|deb| deb.name.as_str()).collect();
    command.arg(format!("--variant={variant}")).arg(format!("--include={}", names.join(",")));
    Ok(command)
}

/// Runs a complete mmdebstrap command.
pub(crate) fn run(command: &mut Command, progress: &dyn Progress) -> Result<()> {
    let mut stage = Stage::default();
    let mut errors = Vec::new();
    let result = host::run(command, "mmdebstrap", |line| {
        progress.line(line);
        if is_error(line) && !errors.iter().any(|seen| seen == line) {
            errors.push(line.to_owned());
        }
        match stage.read(line) {
            Some(Seen::Message(text)) => progress.message(&text),
            Some(Seen::Position(done, total)) => progress.position(done, total, Unit::Items),
            None => {}
        }
    });
    result.map_err(|error| classify(error, &errors, &Mirror::default()))
}

/// What a line of output told.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Message(String),
    Position(u64, Option<u64>),
}

/// Counts packages from apt's and dpkg's lines.
#[derive(Debug, Default)]
struct Stage {
    total: Option<u64>,
    done: u64,
}

impl Stage {
    fn read(&mut self, line: &str) -> Option<Seen> {
        if let Some(text) = line.strip_prefix("I: ") {
            self.done = 0;
            return text.strip_suffix("...").map(|text| Seen::Message(text.to_owned()));
        }
        if let Some((_, rest)) = line.split_once(" upgraded, ")
            && let Some((count, _)) = rest.split_once(" newly installed")
        {
            self.total = count.parse().ok();
            self.done = 0;
            return Some(Seen::Position(0, self.total));
        }
        if line.starts_with("Get:") || line.starts_with("Setting up ") {
            self.done += 1;
            // apt's own index files are fetched before any total is known.
            return Some(Seen::Position(self.done, self.total.filter(|total| *total >= self.done)));
        }
        None
    }
}

pub(crate) fn is_error(line: &str) -> bool {
    ["E: ", "Err:", "dpkg: error", "tar: "].iter().any(|start| line.starts_with(start))
        || line.contains("No space left on device")
}

pub(crate) fn classify(error: Error, errors: &[String], mirror: &Mirror) -> Error {
    let Error::Tool { program, status, tail } = error else {
        return error;
    };
    let has = |needle: &str| errors.iter().find(|line| line.contains(needle));
    if let Some(line) = has("Unable to locate package").or_else(|| has("has no installation candidate")) {
        let line = line.trim_start_matches("E: ");
        return Error::Invalid(format!("cannot install what {} does not have: {line}", mirror.debian));
    }
    if has("No space left on device").is_some() {
        return Error::Tool { program, status, tail: format!("no space left on device\n{tail}") };
    }
    let fetch = ["Failed to fetch", "Could not resolve", "Could not connect", "apt-get update", "Release"];
    if let Some(line) = fetch.iter().find_map(|needle| has(needle)) {
        return Error::Mirror {
            mirror: mirror.debian.clone(),
            detail: line.trim_start_matches("E: ").to_owned(),
        };
    }
    let tail = if errors.is_empty() { tail } else { errors.join("\n") };
    Error::Tool { program, status, tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_counted_from_what_apt_and_dpkg_print() {
        let mut stage = Stage::default();
        let table = [
            (
                "I: installing essential packages...",
                Some(Seen::Message("installing essential packages".into())),
            ),
            (
                "0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.",
                Some(Seen::Position(0, Some(2))),
            ),
            ("Unpacking libc6 (2.36) ...", None),
            ("Setting up libc6 (2.36) ...", Some(Seen::Position(1, Some(2)))),
            ("Setting up dash (0.5) ...", Some(Seen::Position(2, Some(2)))),
        ];
        for (line, seen) in table {
            assert_eq!(stage.read(line), seen, "{line}");
        }
    }

    #[test]
    fn failures_are_told_apart_by_what_apt_said() {
        let tool = || Error::Tool { program: "mmdebstrap".into(), status: "1".into(), tail: "tail".into() };
        let mirror = Mirror::default();
        let table = [
            ("E: Unable to locate package nosuch", "cannot install what"),
            (
                "E: Failed to fetch http://x/InRelease  Could not connect to x",
                "failed to fetch packages from",
            ),
            ("tar: ./x: Cannot write: No space left on device", "'mmdebstrap' failed (1): no space left"),
            ("E: Sub-process returned an error code", "'mmdebstrap' failed (1): E: Sub-process"),
        ];
        for (line, start) in table {
            let text = classify(tool(), &[line.to_owned()], &mirror).to_string();
            assert!(text.starts_with(start), "{line}: {text}");
        }
    }
}
