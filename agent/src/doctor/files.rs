//! Who may read and write the agent's files, and who may ask it.

use super::Finding;
use crate::config::Config;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A file that there is.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) path: String,
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) owner: u32,
    /// Of an environment file: the SDK's variables in it that this process has not.
    pub(super) unset: Vec<String>,
}

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Configuration: whoever writes it chooses the commands that the agent runs.
    Config,
    /// The daemon's environment: it may hold keys.
    Environment,
    /// Run state.
    State,
    /// A service's environment, secrets included.
    Secret,
}

impl File {
    /// Whether others may do with it what they must not.
    fn is_open(&self) -> bool {
        let closed = match self.kind {
            Kind::Config => 0o022,
            Kind::Environment => 0o007,
            Kind::State | Kind::Secret => 0o077,
        };
        self.mode & closed != 0 || (self.kind == Kind::Config && self.owner != 0)
    }
}

const PLACES: [(&str, Kind); 6] = [
    ("etc/kiln/agent.toml", Kind::Config),
    ("etc/kiln/agent.d", Kind::Config),
    ("etc/kiln/agent.env", Kind::Environment),
    ("run/kiln/agent/state.json", Kind::State),
    (crate::targets::PATH, Kind::State),
    ("run/kiln/env", Kind::Secret),
];

pub(super) fn gather(root: &Path) -> Vec<File> {
    let mut files = Vec::new();
    for (place, kind) in PLACES {
        let path = root.join(place);
        match std::fs::read_dir(&path) {
            Ok(entries) => {
                let mut paths: Vec<_> =
                    entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
                paths.sort();
                files.extend(paths.iter().filter_map(|path| file(path, kind)));
            }
            Err(_) => files.extend(file(&path, kind)),
        }
    }
    files
}

/// `None` where there is none, or none that this user may see.
fn file(path: &Path, kind: Kind) -> Option<File> {
    let metadata = std::fs::metadata(path).ok()?;
    let unset = match kind {
        Kind::Environment => std::fs::read_to_string(path).map(|text| unset(&text)).unwrap_or_default(),
        _ => Vec::new(),
    };
    Some(File {
        path: path.display().to_string(),
        kind,
        mode: metadata.mode() & 0o7777,
        owner: metadata.uid(),
        unset,
    })
}

/// Names only: a value may be a key.
fn unset(text: &str) -> Vec<String> {
    let names =
        text.lines().filter_map(|line| line.trim_start().split_once('=').map(|(name, _)| name.trim()));
    let ours = names.filter(|name| name.starts_with("AWS_") && std::env::var_os(name).is_none());
    ours.map(str::to_owned).collect()
}

pub(super) fn judge(files: &[File], config: &Config) -> Vec<Finding> {
    let mut findings = vec![
        class(files, Kind::Config, "files.config", |bad| {
            Finding::fail(
                "files.config",
                format!("others may write {bad}, and so choose what the agent runs"),
                format!("chown root: {bad}; chmod go-w {bad}"),
            )
        }),
        class(files, Kind::Environment, "files.environment", |bad| {
            Finding::warn(
                "files.environment",
                format!("everybody may read {bad}, which may hold keys"),
                format!("chmod 0640 {bad}"),
            )
        }),
        class(files, Kind::State, "files.state", |bad| {
            Finding::warn("files.state", format!("others may read {bad}"), format!("chmod 0600 {bad}"))
        }),
        class(files, Kind::Secret, "files.secrets", |bad| {
            Finding::fail(
                "files.secrets",
                format!("others may read {bad}, a service's secrets"),
                format!("chmod 0600 {bad}"),
            )
        }),
    ];
    let unset: Vec<&str> = files.iter().flat_map(|file| &file.unset).map(String::as_str).collect();
    if !unset.is_empty() {
        findings.push(Finding::warn(
            "doctor.environment",
            format!(
                "the daemon has {} from agent.env, and doctor has not: calls may go elsewhere",
                unset.join(", ")
            ),
            "systemd-run -qP -p EnvironmentFile=/etc/kiln/agent.env kiln-agent doctor",
        ));
    }
    findings.push(if config.listen.ip().is_loopback() {
        Finding::ok("listen.address", format!("{}, loopback", config.listen))
    } else {
        Finding::warn(
            "listen.address",
            format!("{}: /status tells the network about the instance", config.listen),
            "set health.listen to a loopback address; nginx shows /healthz to the load balancer",
        )
    });
    findings
}

fn class(files: &[File], kind: Kind, check: &'static str, bad: fn(&str) -> Finding) -> Finding {
    let ours: Vec<&File> = files.iter().filter(|file| file.kind == kind).collect();
    let open: Vec<&str> = ours.iter().filter(|file| file.is_open()).map(|file| file.path.as_str()).collect();
    match (ours.len(), open.as_slice()) {
        (0, _) => Finding::skipped(check, "none, or none that this user may see"),
        (count, []) => Finding::ok(check, format!("{count} as they should be")),
        (_, open) => bad(&open.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Result;

    #[test]
    fn a_file_is_as_open_as_its_kind_allows() {
        let cases = [
            (Kind::Config, 0o644, 0, Result::Ok),
            (Kind::Config, 0o664, 0, Result::Fail),
            (Kind::Config, 0o644, 1000, Result::Fail),
            (Kind::Environment, 0o640, 0, Result::Ok),
            (Kind::Environment, 0o644, 0, Result::Warn),
            (Kind::State, 0o600, 999, Result::Ok),
            (Kind::State, 0o640, 999, Result::Warn),
            (Kind::Secret, 0o600, 999, Result::Ok),
            (Kind::Secret, 0o604, 999, Result::Fail),
        ];
        let config = Config::parse("", "test").expect("it is valid");
        for (kind, mode, owner, expected) in cases {
            let file = File { path: "f".to_owned(), kind, mode, owner, unset: Vec::new() };
            let findings = judge(&[file], &config);
            let judged = findings
                .iter()
                .find(|finding| finding.check.starts_with("files.") && finding.result != Result::Skipped);
            assert_eq!(judged.map(|finding| finding.result), Some(expected), "{kind:?} {mode:o} {owner}");
        }
    }

    #[test]
    fn files_are_found_and_no_value_of_an_environment_is_kept() {
        let root = tempfile::tempdir().expect("a folder");
        for (path, text) in [
            ("etc/kiln/agent.toml", ""),
            ("etc/kiln/agent.d/10-group.toml", ""),
            ("etc/kiln/agent.env", "# comment\nAWS_KILN_TEST=hidden\nPATH=/bin\n=\n"),
            ("run/kiln/env/shop.env", "KEY=hidden"),
        ] {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("it has a folder")).expect("the folder is ours");
            std::fs::write(path, text).expect("the folder is ours");
        }
        let config = Config::parse("[health]\nlisten = \"0.0.0.0:9180\"", "test").expect("it is valid");
        let files = gather(root.path());
        assert_eq!(files.len(), 4, "{files:?}");
        let findings = judge(&files, &config);
        let told = format!("{findings:?}");
        assert!(told.contains("AWS_KILN_TEST") && !told.contains("hidden"), "{told}");
        let of = |check| findings.iter().find(|finding| finding.check == check).map(|finding| finding.result);
        assert_eq!(of("listen.address"), Some(Result::Warn));
        assert_eq!(of("doctor.environment"), Some(Result::Warn));
    }
}
