//! Which packages a root comes to, as Debian's mirrors have them now: apt decides, nothing is installed.
//!
//! ```text
//! sources, Debian's key ─ apt-get update ─▶ indexes ─ apt-get install --print-uris ─▶ names ─ apt-cache show ─▶ hashes
//! ```
//!
//! apt runs on a folder of its own, as if on a machine with no package at all. No root needed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::deb::Deb;
use crate::debian::{self, KEYRING, Mirror};
use crate::error::{At, Error, Result};
use crate::host;
use crate::progress::Progress;
use crate::tools::remove;

/// What to resolve.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// Debian's code name of the release.
    pub suite: &'a str,
    /// Packages by name; what they depend on comes along, what they recommend does not.
    pub packages: &'a [String],
    /// With all that a Debian cannot do without, apt included; otherwise `packages` and their dependencies alone.
    pub whole: bool,
}

/// The packages of `wanted`, sorted by name; `scratch` is a folder of this call's own, emptied first.
///
/// # Errors
/// [`Error::Mirror`] when the mirrors do not answer, [`Error::Invalid`] for a package that they do not have.
pub fn resolve(
    wanted: &Wanted<'_>,
    mirror: &Mirror,
    scratch: &Path,
    progress: &dyn Progress,
) -> Result<Vec<Deb>> {
    let apt = Apt::new(wanted.suite, mirror, scratch)?;
    progress.message(&format!("asking for the packages of {}", wanted.suite));
    apt.run("apt-get", &["-q", "update"], mirror, progress)?;
    let essential = ["?essential", "?priority(required)", "apt"];
    let packages = wanted.packages.iter().map(String::as_str);
    let mut install = vec!["-q", "--yes", "--no-install-recommends", "--print-uris", "install"];
    install.extend(packages.chain(essential.into_iter().filter(|_| wanted.whole)));
    let listed = apt.run("apt-get", &install, mirror, progress)?;
    let chosen: Vec<Chosen> = listed.iter().filter_map(|line| Chosen::read(line)).collect();
    let names: Vec<String> = chosen.iter().map(|deb| format!("{}={}", deb.name, deb.version)).collect();
    let mut show = vec!["show"];
    show.extend(names.iter().map(String::as_str));
    let shown = apt.run("apt-cache", &show, mirror, progress)?;
    let mut debs = match_up(&chosen, &shown.join("\n"), mirror)?;
    debs.sort();
    remove(scratch)?;
    Ok(debs)
}

/// apt with a state of its own.
struct Apt<'a> {
    dir: &'a Path,
    options: Vec<String>,
}

impl<'a> Apt<'a> {
    fn new(suite: &str, mirror: &Mirror, dir: &'a Path) -> Result<Self> {
        host::need("apt-get")?;
        debian::need_keyring()?;
        remove(dir)?;
        for name in ["lists/partial", "cache/archives/partial", "etc/preferences.d"] {
            let path = dir.join(name);
            fs::create_dir_all(&path).at("create", &path)?;
        }
        let sources = dir.join("sources.list");
        let signed = mirror
            .sources(suite)
            .iter()
            .map(|line| line.replacen("deb ", &format!("deb [signed-by={KEYRING}] "), 1) + "\n")
            .collect::<String>();
        fs::write(&sources, signed).at("write", &sources)?;
        let status = dir.join("status");
        fs::write(&status, "").at("write", &status)?;
        let shown = dir.display();
        // The host's own settings stay for what is a machine's affair: proxies, certificates, time limits.
        let options = [
            format!("Dir::Etc::sourcelist={shown}/sources.list"),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            format!("Dir::Etc::preferences={shown}/etc/preferences"),
            format!("Dir::Etc::preferencesparts={shown}/etc/preferences.d"),
            format!("Dir::State={shown}"),
            format!("Dir::State::lists={shown}/lists"),
            format!("Dir::State::status={shown}/status"),
            format!("Dir::Cache={shown}/cache"),
            "APT::Architecture=amd64".to_owned(),
            "APT::Architectures=amd64".to_owned(),
            "APT::Default-Release=".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false".to_owned(),
            "Acquire::Retries=3".to_owned(),
            // A mirror that is out of reach must not pass for one that has nothing new.
            "APT::Update::Error-Mode=any".to_owned(),
        ];
        Ok(Self { dir, options: options.into() })
    }

    fn run(
        &self,
        program: &'static str,
        arguments: &[&str],
        mirror: &Mirror,
        progress: &dyn Progress,
    ) -> Result<Vec<String>> {
        let mut command: Command = host::bound(program)?;
        command.env("LC_ALL", "C.UTF-8").env("DEBIAN_FRONTEND", "noninteractive").current_dir(self.dir);
        for option in &self.options {
            command.args(["-o", option]);
        }
        command.args(arguments);
        let (mut lines, mut errors) = (Vec::new(), Vec::new());
        let result = host::run(&mut command, program, |line| {
            progress.line(line);
            if debian::is_error(line) {
                errors.push(line.to_owned());
            }
            lines.push(line.to_owned());
        });
        result.map_err(|error| debian::classify(error, &errors, mirror))?;
        Ok(lines)
    }
}

/// A line of `--print-uris`.
#[derive(Debug, PartialEq, Eq)]
struct Chosen {
    url: String,
    name: String,
    version: String,
    arch: String,
}

impl Chosen {
    /// `'http://…/a_1%3a2_all.deb' a_1%3a2_all.deb 1234 SHA256:…`
    fn read(line: &str) -> Option<Self> {
        let (url, rest) = line.strip_prefix('\'')?.split_once("' ")?;
        let mut parts = rest.split(' ').next()?.strip_suffix(".deb")?.split('_');
        let (name, version, arch) = (parts.next()?, parts.next()?, parts.next()?);
        let url = url.to_owned();
        let version = version.replace("%3a", ":").replace("%2b", "+").replace("%7e", "~");
        Some(Self { url, name: name.to_owned(), version, arch: arch.to_owned() })
    }
}

/// Joins what apt chose with what its indexes, which Debian signed, say of it.
fn match_up(chosen: &[Chosen], shown: &str, mirror: &Mirror) -> Result<Vec<Deb>> {
    let mut known = BTreeMap::new();
    for stanza in shown.split("\n\n") {
        let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        if let (Some(name), Some(version), Some(arch), Some(file), Some(size), Some(sha256)) = (
            field("Package"),
            field("Version"),
            field("Architecture"),
            field("Filename"),
            field("Size").and_then(|size| size.parse::<u64>().ok()),
            field("SHA256"),
        ) {
            known.entry((name, version, arch)).or_insert((file, size, sha256));
        }
    }
    let find = |deb: &Chosen| {
        let (file, size, sha256) = known.get(&(&*deb.name, &*deb.version, &*deb.arch))?;
        let archive = mirror.archive(&deb.url)?;
        Some(Deb {
            name: deb.name.clone(),
            version: deb.version.clone(),
            arch: deb.arch.clone(),
            sha256: (*sha256).to_owned(),
            size: *size,
            file: format!("{archive}/{file}"),
        })
    };
    let found = chosen.iter().map(|deb| {
        find(deb).ok_or_else(|| {
            Error::Invalid(format!("apt chose {} {} and knows no hash of it", deb.name, deb.version))
        })
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apt_chose_gets_the_hash_that_its_index_has() {
        let lines = [
            "Reading package lists...",
            "'http://deb.debian.org/debian-security/pool/updates/main/n/nginx/nginx_1.22.1-9%2bdeb12u1_amd64.deb' nginx_1.22.1-9+deb12u1_amd64.deb 8 SHA256:aa",
            "'http://deb.debian.org/debian/pool/main/d/dash/dash_1%3a0.5_all.deb' dash_1%3a0.5_all.deb 9 ",
        ];
        let chosen: Vec<_> = lines.iter().filter_map(|line| Chosen::read(line)).collect();
        let stanza = |name: &str, version: &str, arch: &str, file: &str| {
            format!(
                "Package: {name}\nVersion: {version}\nArchitecture: {arch}\nFilename: {file}\nSize: 7\nSHA256: {name}-hash\n\n"
            )
        };
        let shown = stanza(
            "nginx",
            "1.22.1-9+deb12u1",
            "amd64",
            "pool/updates/main/n/nginx/nginx_1.22.1-9+deb12u1_amd64.deb",
        ) + &stanza("dash", "1:0.5", "all", "pool/main/d/dash/dash_0.5_all.deb");
        let debs = match_up(&chosen, &shown, &Mirror::default()).expect("both are known");
        let told: Vec<_> = debs.iter().map(|deb| (&*deb.version, &*deb.sha256, &*deb.file)).collect();
        assert_eq!(
            told,
            [
                (
                    "1.22.1-9+deb12u1",
                    "nginx-hash",
                    "debian-security/pool/updates/main/n/nginx/nginx_1.22.1-9+deb12u1_amd64.deb"
                ),
                ("1:0.5", "dash-hash", "debian/pool/main/d/dash/dash_0.5_all.deb"),
            ]
        );
        assert!(match_up(&chosen, "", &Mirror::default()).is_err(), "no package without a hash");
    }
}
