//! Asserts that a finished root carries nothing of the machine that made it, nor what opens every instance.
//!
//! By path; what files say is looked at by `secrets.rs`. A finding names the path and the rule.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Context as _;

/// Something that must not be in an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Absolute inside the image.
    pub path: String,
    /// The rule's name.
    pub rule: &'static str,
}

/// Why a root is no image.
#[derive(Debug, thiserror::Error)]
pub struct Residue(pub Vec<Finding>);

impl fmt::Display for Residue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the image carries what it must not ({} findings):", self.0.len())?;
        self.0.iter().try_for_each(|finding| write!(f, "\n  {}: {}", finding.path, finding.rule))
    }
}

/// Looks at every file of `root`; returns how many that were. `see` is shown each on the way.
///
/// # Errors
/// [`Residue`] with every finding, or a file that cannot be read.
pub fn check(root: &Path, mut see: impl FnMut(&str, &fs::Metadata)) -> anyhow::Result<usize> {
    let mut findings = Vec::new();
    let mut count = 0;
    for entry in walkdir::WalkDir::new(root).sort_by_file_name() {
        let entry = entry.with_context(|| format!("failed to list {}", root.display()))?;
        let path = entry.path().strip_prefix(root).unwrap_or(entry.path());
        let Some(path) = path.to_str().filter(|path| !path.is_empty()) else {
            continue;
        };
        count += 1;
        let found = entry.metadata().with_context(|| format!("failed to stat {path}"))?;
        see(path, &found);
        let mut rule = if found.is_dir() { folder_rule(path) } else { file_rule(path, found.len()) };
        if path == "etc/shadow" {
            let shadow =
                fs::read_to_string(entry.path()).with_context(|| format!("failed to read {path}"))?;
            rule = opened(&shadow).then_some("an account that a password opens");
        }
        if rule.is_none()
            && found.is_file()
            && path.starts_with("srv/")
            && found.permissions().mode() & 0o022 != 0
        {
            rule = Some("a release is writable by more than root");
        }
        findings.extend(rule.map(|rule| Finding { path: format!("/{path}"), rule }));
    }
    for path in ["etc/machine-id"] {
        if !root.join(path).is_file() {
            findings
                .push(Finding { path: format!("/{path}"), rule: "the machine id must be there, and empty" });
        }
    }
    if findings.is_empty() { Ok(count) } else { Err(Residue(findings).into()) }
}

fn folder_rule(path: &str) -> Option<&'static str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    match name {
        ".git" | ".hg" | ".svn" => Some("a repository's history"),
        "node_modules" if path.starts_with("srv/") => Some("build-time dependencies of a frontend"),
        ".aws" | ".docker" | ".kube" => Some("a folder for credentials"),
        ".npm" | ".cache" if !path.starts_with("usr/") => Some("a cache"),
        _ => None,
    }
}

fn file_rule(path: &str, size: u64) -> Option<&'static str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let in_bin =
        || ["usr/bin/", "usr/local/bin/", "usr/sbin/", "bin/"].iter().any(|dir| path.starts_with(dir));
    match name {
        "authorized_keys" | "authorized_keys2" => return Some("a key that would open every instance"),
        ".netrc" | ".pgpass" | ".pypirc" | ".npmrc" | ".git-credentials" | ".my.cnf" => {
            return Some("a credentials file");
        }
        ".env" if path.starts_with("srv/") => {
            return Some("an environment file, which is where secrets are kept");
        }
        "id_rsa" | "id_ecdsa" | "id_ed25519" => return Some("a private key"),
        _ => {}
    }
    if name.starts_with('.') && name.ends_with("_history") {
        return Some("a shell history");
    }
    if in_bin() && compiler(name) {
        return Some("a compiler or a build tool");
    }
    match path {
        "etc/machine-id" if size > 0 => Some("a machine id that every instance would share"),
        "var/lib/dbus/machine-id" if size > 0 => Some("a machine id that every instance would share"),
        "var/lib/systemd/random-seed" | "var/lib/systemd/credential.secret" => {
            Some("a seed that every instance would share")
        }
        "etc/hostname" => Some("a host's name"),
        "usr/sbin/policy-rc.d" => Some("a policy that keeps daemons from starting"),
        _ if path.starts_with("etc/ssh/ssh_host_") => Some("a host key that every instance would share"),
        _ if path.starts_with("var/log/") && size > 0 => Some("a log"),
        _ if path.starts_with("var/lib/apt/lists/") => Some("a package list"),
        _ if path.starts_with("var/cache/apt/") => Some("a package cache"),
        _ if path.starts_with("var/lib/cloud/") => Some("cloud-init's state of another instance"),
        _ if path.starts_with("var/lib/amazon/ssm/") => Some("a registration of another instance"),
        _ if path.starts_with("var/lib/dhcp/") && size > 0 => Some("a DHCP lease"),
        _ if ["tmp/", "var/tmp/", "run/"].iter().any(|dir| path.starts_with(dir)) => Some("a temporary file"),
        _ => None,
    }
}

fn compiler(name: &str) -> bool {
    let stem = name.trim_end_matches(|char: char| char.is_ascii_digit() || "-.".contains(char));
    ["gcc", "g++", "cc", "clang", "rustc", "cargo", "node", "nodejs", "npm", "npx", "make"].contains(&stem)
        || stem.ends_with("-linux-gnu-gcc")
}

/// An account of `/etc/shadow` whose password is neither none nor locked.
fn opened(shadow: &str) -> bool {
    let open = |line: &str| line.split(':').nth(1).is_some_and(|hash| !hash.starts_with(['*', '!']));
    shadow.lines().any(open)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root_with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for (path, content) in
            [("etc/machine-id", ""), ("etc/shadow", "root:*:19000::::::\n")].iter().chain(files)
        {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("it has a parent")).expect("the folder is made");
            fs::write(path, content).expect("the file is written");
        }
        dir
    }

    #[test]
    fn a_clean_root_passes() {
        let clean =
            [("srv/shop/releases/1/src/shop.py", "app = 1"), ("var/log/wtmp", ""), ("usr/bin/python3", "")];
        assert!(check(root_with(&clean).path(), |_, _| ()).is_ok());
    }

    #[test]
    fn every_finding_names_its_path_and_rule_and_never_the_value() {
        let table: [(&str, &str, &str); 12] = [
            ("etc/machine-id", "0123456789abcdef", "machine id"),
            ("etc/ssh/ssh_host_ed25519_key", "x", "host key"),
            ("root/.ssh/authorized_keys", "ssh-ed25519 AAAA", "open every instance"),
            ("root/.bash_history", "aws configure", "history"),
            ("var/log/dpkg.log", "x", "a log"),
            ("var/lib/apt/lists/deb.debian.org_x", "x", "package list"),
            ("var/lib/cloud/instance-id", "i-1", "cloud-init"),
            ("etc/hostname", "builder-7", "host's name"),
            ("home/admin/.netrc", "password hunter2", "credentials file"),
            ("srv/shop/releases/1/src/.env", "KEY=hunter2", "environment file"),
            ("usr/bin/x86_64-linux-gnu-gcc-12", "", "compiler"),
            ("etc/shadow", "root:$y$j9T$abc:19000::::::\n", "password"),
        ];
        for (path, content, expected) in table {
            let error = check(root_with(&[(path, content)]).path(), |_, _| ()).expect_err(path).to_string();
            assert!(error.contains(&format!("/{path}: ")) && error.contains(expected), "{error}");
            assert!(content.len() < 3 || !error.contains(content.trim()), "the value is not told: {error}");
        }
    }
}
