//! The package manager of a frontend: its lock file says which, `packageManager` in its package.json which version.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

/// What installs a frontend's packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    /// The one that comes with Node.js, unless another version is pinned.
    #[default]
    Npm,
    /// pnpm 9 or newer, whose lock file has the version 9.0.
    Pnpm,
    /// Yarn, classic or modern.
    Yarn,
}

impl Manager {
    const ALL: [Self; 3] = [Self::Npm, Self::Pnpm, Self::Yarn];

    /// Those whose lock file is in `dir`.
    pub(super) fn present(dir: &Path) -> Vec<Self> {
        Self::ALL.into_iter().filter(|manager| dir.join(manager.lock()).is_file()).collect()
    }

    /// The one whose lock file is in `dir`; npm where there is none.
    pub(super) fn of(dir: &Path) -> Self {
        Self::present(dir).first().copied().unwrap_or_default()
    }

    /// Its lock file's name.
    pub fn lock(self) -> &'static str {
        match self {
            Self::Npm => "package-lock.json",
            Self::Pnpm => "pnpm-lock.yaml",
            Self::Yarn => "yarn.lock",
        }
    }

    /// Its name, as `packageManager` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Pnpm => "pnpm",
            Self::Yarn => "yarn",
        }
    }

    /// What makes or mends its lock file in `dir`.
    pub(super) fn remedy(self, dir: &str) -> String {
        match self {
            Self::Npm => format!("make it with 'npm install --package-lock-only --prefix {dir}'"),
            Self::Pnpm => format!("make it with 'pnpm install --lockfile-only --dir {dir}', pnpm 9 or newer"),
            Self::Yarn => format!("make it with 'yarn install' in {dir}"),
        }
    }

    /// The package that holds the version that `dir`'s package.json pins, as npm installs it; `None` where nothing is pinned.
    pub fn package(self, dir: &Path) -> Option<String> {
        let text = std::fs::read_to_string(dir.join("package.json")).ok()?;
        let tree: Value = serde_json::from_str(&text).ok()?;
        // `pnpm@10.1.0+sha512.…`: npm checks what it installs by the registry's own hash.
        let version = tree["packageManager"].as_str()?.strip_prefix(self.name())?.strip_prefix('@')?;
        let version = version.split('+').next().unwrap_or(version);
        if !version.starts_with(|digit: char| digit.is_ascii_digit()) {
            return None;
        }
        Some(match self {
            Self::Yarn if !version.starts_with("1.") => format!("@yarnpkg/cli-dist@{version}"),
            _ => format!("{}@{version}", self.name()),
        })
    }

    /// The command that installs exactly what the lock file names, by that package.
    pub fn install(self, package: &str) -> &'static [&'static str] {
        match self {
            Self::Npm => &["npm", "ci", "--no-audit", "--no-fund"],
            Self::Pnpm => &["pnpm", "install", "--frozen-lockfile"],
            Self::Yarn if package.starts_with('@') => &["yarn", "install", "--immutable"],
            Self::Yarn => &["yarn", "install", "--frozen-lockfile", "--non-interactive"],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_that_package_json_pins() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let package = |manager: Manager, pinned: &str| {
            let text = format!("{{\"packageManager\": \"{pinned}\"}}");
            std::fs::write(dir.path().join("package.json"), text).expect("it can be written");
            manager.package(dir.path())
        };
        assert_eq!(package(Manager::Pnpm, "pnpm@10.1.0+sha512.aa"), Some("pnpm@10.1.0".into()));
        assert_eq!(package(Manager::Npm, "npm@10.9.4"), Some("npm@10.9.4".into()));
        assert_eq!(package(Manager::Yarn, "yarn@1.22.22"), Some("yarn@1.22.22".into()));
        assert_eq!(package(Manager::Yarn, "yarn@4.18.1"), Some("@yarnpkg/cli-dist@4.18.1".into()));
        for other in ["yarn@4.1.0", "pnpm", "pnpm@latest", "pnpm@ --version", ""] {
            assert_eq!(package(Manager::Pnpm, other), None, "{other}");
        }
    }
}
