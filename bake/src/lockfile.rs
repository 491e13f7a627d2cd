//! `kiln.lock`: every package of an image with its hash. `kiln update` writes it, a bake only reads it.
//!
//! ```text
//! Debian's mirrors ─ resolve ─┐                       ┌─▶ base root, disk tools: these .debs or none
//! requirements.txt ───────────┼─ update ─▶ kiln.lock ─┤
//! the frontend's lock file ───┘                       └─▶ compared with the app's own lock files
//! ```

mod app;
mod trees;
mod compare;
mod update;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use kiln_image::{BaseSpec, Deb, Exported, Suite};
use serde::{Deserialize, Serialize};
use toml::Value;

use crate::bench::Bench;
use crate::failure::Failure;
use crate::manifest::Manifest;
use crate::sources;

pub use app::bundled;
pub(crate) use app::requirements;
pub use compare::{Move, moves};
pub use update::{Extent, Updated, ensure, update};

/// The lock's file name, beside the manifest.
pub const FILE: &str = "kiln.lock";

/// Of the file's format.
const VERSION: u32 = 1;

/// A read lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lockfile {
    /// Of the format.
    version: u32,
    /// The base root that it is for.
    pub base: String,
    /// The manifest's `packages` that it is for.
    pub packages: Vec<String>,
    /// SHA-256 of the root that another made, where the base is one.
    #[serde(default)]
    pub root: Option<String>,
    /// When Debian's mirrors had these packages, in the form of snapshot.debian.org: `20261122T124300Z`.
    pub resolved: String,
    /// Of the base root.
    pub deb: Vec<Deb>,
    /// Of the programs that write the disk; none of them is on the image.
    pub tool: Vec<Deb>,
    /// Of the services' backends.
    pub wheel: Vec<Wheel>,
    /// Of the services' frontends, those that only build it included.
    pub npm: Vec<Npm>,
}

/// A requirement of a backend.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wheel {
    /// Whose.
    pub service: String,
    /// As `PyPI` normalises it.
    pub name: String,
    /// After `==`.
    pub version: String,
    /// Of each file that may be installed: one for each platform.
    pub sha256: Vec<String>,
}

/// A package of a frontend's tree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Npm {
    /// Whose.
    pub service: String,
    /// `@types/node`.
    pub name: String,
    /// A tree may have several.
    pub version: String,
    /// `sha512-…`, Yarn's own checksum, or the address where a package comes from a repository.
    pub integrity: String,
}

impl Lockfile {
    /// The lock of the app in `dir`; `None` where there is none.
    ///
    /// # Errors
    /// [`Failure::Lock`] for a file that is none of this version's.
    pub fn read(dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = dir.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("failed to read {}", path.display())),
        };
        Self::parse(&text).map(Some).map_err(|fault| Failure::Lock(fault).into())
    }

    fn parse(text: &str) -> Result<Self, String> {
        let lock: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            format!("{FILE}:{line}: {}: make it anew with 'kiln update'", error.message().trim_end())
        })?;
        if lock.version != VERSION {
            let version = lock.version;
            return Err(format!(
                "{FILE} has version {version}, and this kiln knows {VERSION}: 'kiln update' writes that"
            ));
        }
        Ok(lock)
    }

    /// The lock of the app in `dir`, which must be there and fit.
    ///
    /// # Errors
    /// [`Failure::Lock`].
    pub fn fitting(manifest: &Manifest) -> anyhow::Result<Option<Self>> {
        let Some(lock) = Self::read(&manifest.dir)? else {
            return Ok(None);
        };
        let faults = compare::faults(&lock, manifest, &app::wheels(manifest)?, &app::npm(manifest)?);
        if faults.is_empty() { Ok(Some(lock)) } else { Err(Failure::Lock(compare::told(&faults)).into()) }
    }

    /// The base root that it locks; of one that another made, below `app` unless its path is absolute, every byte counts.
    ///
    /// # Errors
    /// There is no such root; [`Failure::Lock`] for one that is another than was locked.
    pub fn base_spec(&self, bench: &Bench, app: &Path) -> anyhow::Result<BaseSpec> {
        let mut spec = match Suite::find(&self.base) {
            Some(suite) => BaseSpec::new(suite, self.deb.clone()),
            None => BaseSpec::exported(self.exported(bench, app)?),
        };
        spec.mirror = bench.mirror.clone();
        spec.since = Some(self.resolved.clone());
        Ok(spec)
    }

    fn exported(&self, bench: &Bench, app: &Path) -> anyhow::Result<Exported> {
        let root = Exported::of(&app.join(&self.base), &bench.cache)?;
        if self.root.as_ref() == Some(&root.sha256) {
            return Ok(root);
        }
        let locked = self.root.as_deref().unwrap_or("none");
        Err(Failure::Lock(format!(
            "the base '{}' has SHA-256 {} and {FILE} has {locked}: if that is to be trusted, 'kiln update' locks it",
            self.base, root.sha256
        ))
        .into())
    }

    /// A hash of every Debian package; of the app's own packages their own lock files count already.
    pub fn sha256(&self) -> String {
        let line = |kind: &str, deb: &Deb| format!("{kind}\0{}\0{}\0{}\n", deb.name, deb.version, deb.sha256);
        let debs = self.deb.iter().map(|deb| line("deb", deb));
        sources::hash_bytes(debs.chain(self.tool.iter().map(|deb| line("tool", deb))).collect::<String>())
    }

    /// The file's text: a package a line, so that a review sees what moved.
    fn text(&self) -> String {
        let mut text = format!(
            "# Every package of this app's image, with its hash: 'kiln update' writes this file, 'kiln bake' only reads it.\n\
             # Keep it under version control.\n\
             version = {VERSION}\nbase = {}\n{}packages = {}\n\
             # When Debian's mirrors had these packages; snapshot.debian.org keeps them.\nresolved = {}\n",
            quoted(&self.base),
            self.root.as_ref().map(|root| format!("root = {}\n", quoted(root))).unwrap_or_default(),
            list(&self.packages),
            quoted(&self.resolved),
        );
        let deb = |deb: &Deb| {
            let Deb { name, version, arch, sha256, size, file } = deb;
            let [name, version, arch, sha256, file] =
                [name, version, arch, sha256, file].map(|text| quoted(text));
            format!(
                "name = {name}, version = {version}, arch = {arch}, sha256 = {sha256}, size = {size}, file = {file}"
            )
        };
        let wheel = |Wheel { service, name, version, sha256 }: &Wheel| {
            let [service, name, version] = [service, name, version].map(|text| quoted(text));
            format!("service = {service}, name = {name}, version = {version}, sha256 = {}", list(sha256))
        };
        let npm = |Npm { service, name, version, integrity }: &Npm| {
            let [service, name, version, integrity] =
                [service, name, version, integrity].map(|text| quoted(text));
            format!("service = {service}, name = {name}, version = {version}, integrity = {integrity}")
        };
        section(&mut text, "The base root", "deb", self.deb.iter().map(deb));
        section(
            &mut text,
            "The programs that write the disk; not on the image",
            "tool",
            self.tool.iter().map(deb),
        );
        section(
            &mut text,
            "Backends, as their requirements.txt has it",
            "wheel",
            self.wheel.iter().map(wheel),
        );
        section(&mut text, "Frontends, as their lock files have it", "npm", self.npm.iter().map(npm));
        text
    }

    /// Writes it beside and renames: a reader sees the old lock or the new one.
    fn write(&self, dir: &Path) -> anyhow::Result<()> {
        let (new, path) = (dir.join(format!(".{FILE}.new")), dir.join(FILE));
        let put = || fs::write(&new, self.text()).and_then(|()| fs::rename(&new, &path));
        put().with_context(|| format!("failed to write {}", path.display()))
    }
}

fn section(text: &mut String, title: &str, name: &str, lines: impl Iterator<Item = String>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "\n# {title}.\n{name} = [");
    lines.for_each(|line| {
        let _ = writeln!(text, "  {{ {line} }},");
    });
    text.push_str("]\n");
}

fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

fn list(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn lock() -> Lockfile {
        let deb = |name: &str, sha256: &str| Deb {
            name: name.into(),
            version: "1:2.0-3+deb12u1".into(),
            arch: "amd64".into(),
            sha256: sha256.into(),
            size: 7,
            file: format!("debian/pool/main/{name}.deb"),
        };
        let (service, version) = (String::from("shop"), String::from("3.1.0"));
        Lockfile {
            version: VERSION,
            base: "debian-12".into(),
            packages: vec!["jq".into()],
            root: Some("99".into()),
            resolved: "20261122T124300Z".into(),
            deb: vec![deb("jq", "aa"), deb("nginx", "bb")],
            tool: vec![deb("e2fsprogs", "cc")],
            wheel: vec![Wheel {
                service: service.clone(),
                name: "flask".into(),
                version: version.clone(),
                sha256: vec!["dd".into(), "ee".into()],
            }],
            npm: vec![Npm { service, name: "@types/node".into(), version, integrity: "sha512-ff==".into() }],
        }
    }

    #[test]
    fn what_is_written_is_read_and_has_a_package_a_line() {
        let text = lock().text();
        assert_eq!(Lockfile::parse(&text), Ok(lock()));
        assert_eq!(text.lines().filter(|line| line.starts_with("  { ")).count(), 5, "{text}");
    }

    #[test]
    fn a_file_that_is_no_lock_is_told_with_its_line_and_the_way_out() {
        let text = lock().text().replace("size = 7", "size = \"7\"");
        let fault = Lockfile::parse(&text).expect_err("a size in quotes");
        assert!(
            fault.starts_with("kiln.lock:") && fault.ends_with("make it anew with 'kiln update'"),
            "{fault}"
        );
        let fault = Lockfile::parse(&lock().text().replace("version = 1\n", "version = 9\n"))
            .expect_err("a later one");
        assert!(fault.contains("version 9"), "{fault}");
    }

    #[test]
    fn the_hash_follows_debs_and_tools_and_not_the_day() {
        let first = lock();
        let mut other = Lockfile { resolved: "20270101T000000Z".into(), ..lock() };
        assert_eq!(first.sha256(), other.sha256());
        other.tool[0].sha256 = "00".into();
        assert_ne!(first.sha256(), other.sha256());
    }
}
