//! Two roots' facts → what differs. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Aspect;
use super::facts::Facts;
use super::inventory::{Entry, Kind};

/// What differs between two sides; the document of `kiln diff --json`.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// How the old side is called.
    pub old: String,
    /// How the new side is called.
    pub new: String,
    /// Debian packages and Python wheels, by version.
    pub packages: Changes,
    /// Enabled, aliased and masked units.
    pub units: Changes,
    /// Users and groups.
    pub users: Changes,
    /// SUID, SGID and world-writable entries.
    pub privileges: Changes,
    /// What the configuration listens on.
    pub ports: Changes,
    /// Files, by the package or service whose they are.
    pub files: BTreeMap<String, Changes>,
    /// Changed texts under /etc and of units, as unified diffs.
    pub config: Vec<Text>,
    /// Bytes of all files.
    pub size: Size,
    /// The disks, where both sides have one of the same size.
    pub blocks: Option<Blocks>,
}

/// Changes of one kind, by name.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Changes(pub Vec<Change>);

/// One thing that is new, gone, or another.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Its name.
    pub what: String,
    /// What it was; absent when it is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// What it is; absent when it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
}

/// A changed text.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Text {
    /// Absolute inside the root.
    pub path: String,
    /// Unified, three lines of context.
    pub diff: String,
}

/// Bytes of all files, and how many entries there are.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Size {
    /// Bytes in the old side's files.
    pub old_bytes: u64,
    /// Bytes in the new side's files.
    pub new_bytes: u64,
    /// Entries of the old side.
    pub old_entries: usize,
    /// Entries of the new side.
    pub new_entries: usize,
}

/// How much of a disk an upload over the old one's snapshot would send.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Blocks {
    /// Blocks of 512 KiB that differ.
    pub changed: u64,
}

impl Difference {
    /// Whether anything of this aspect differs.
    pub fn touches(&self, aspect: Aspect) -> bool {
        match aspect {
            Aspect::Packages => !self.packages.0.is_empty(),
            Aspect::Files => self.unexplained().next().is_some(),
            Aspect::Units => !self.units.0.is_empty(),
            Aspect::Users => !self.users.0.is_empty(),
            Aspect::Privileges => !self.privileges.0.is_empty(),
            Aspect::Ports => !self.ports.0.is_empty(),
            Aspect::Config => self
                .files
                .values()
                .flat_map(|changes| &changes.0)
                .any(|change| change.what.starts_with("/etc/")),
            Aspect::Any => !self.files.is_empty() || !self.packages.0.is_empty(),
        }
    }

    /// File changes that no change of their package's version explains.
    fn unexplained(&self) -> impl Iterator<Item = &Change> {
        let updated: BTreeSet<&str> = self.packages.0.iter().map(|change| change.what.as_str()).collect();
        let own = move |owner: &str| owner != super::facts::STATE && !updated.contains(owner);
        self.files.iter().filter(move |(owner, _)| own(owner)).flat_map(|(_, changes)| &changes.0)
    }
}

pub(super) fn compare(old_name: &str, old: &Facts, new_name: &str, new: &Facts) -> Difference {
    Difference {
        old: old_name.to_owned(),
        new: new_name.to_owned(),
        packages: changes(&old.packages, &new.packages),
        units: changes(&old.units, &new.units),
        users: changes(&old.users, &new.users),
        privileges: changes(&old.privileges, &new.privileges),
        ports: changes(&old.ports, &new.ports),
        files: files(old, new),
        config: config(old, new),
        size: Size {
            old_bytes: bytes(old),
            new_bytes: bytes(new),
            old_entries: old.inventory.entries.len(),
            new_entries: new.inventory.entries.len(),
        },
        blocks: None,
    }
}

fn bytes(facts: &Facts) -> u64 {
    facts.inventory.entries.values().map(|entry| entry.size).sum()
}

fn changes(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Changes {
    let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let differing = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    Changes(
        differing
            .map(|name| Change {
                what: name.clone(),
                old: old.get(name).cloned(),
                new: new.get(name).cloned(),
            })
            .collect(),
    )
}

fn files(old: &Facts, new: &Facts) -> BTreeMap<String, Changes> {
    let (before, after) = (&old.inventory.entries, &new.inventory.entries);
    let paths: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let mut found: BTreeMap<String, Changes> = BTreeMap::new();
    for path in paths {
        let (was, is) = (before.get(path), after.get(path));
        if was == is {
            continue;
        }
        let facts = if is.is_some() { new } else { old };
        let change = Change { what: format!("/{path}"), old: was.map(told), new: is.map(told) };
        found.entry(facts.owner(path)).or_default().0.push(change);
    }
    found
}

fn told(entry: &Entry) -> String {
    let (mode, uid, gid) = (entry.mode, entry.uid, entry.gid);
    let what = match (entry.kind, &entry.link, &entry.content) {
        (Kind::Folder, _, _) => "folder".to_owned(),
        (Kind::Device, _, _) => "device, socket or pipe".to_owned(),
        (Kind::Link, link, _) => return format!("link to {}", link.as_deref().unwrap_or("?")),
        (Kind::File, _, content) => {
            let [a, b, c, d, ..] = content.unwrap_or_default();
            format!("{} bytes, sha256 {a:02x}{b:02x}{c:02x}{d:02x}…", entry.size)
        }
    };
    format!("{what}, mode {mode:04o}, owner {uid}:{gid}")
}

fn config(old: &Facts, new: &Facts) -> Vec<Text> {
    let shown = |path: &str| {
        (path.starts_with("etc/") || path.contains("systemd/") || path.contains("sysusers.d/"))
            && !is_secret(path)
    };
    let (before, after) = (&old.inventory, &new.inventory);
    let paths: BTreeSet<_> =
        before.texts.keys().chain(after.texts.keys()).filter(|path| shown(path)).collect();
    let mut found = Vec::new();
    for path in paths {
        let (was, is) = (before.texts.get(path), after.texts.get(path));
        if was == is {
            continue;
        }
        let text = |bytes: Option<&Vec<u8>>| {
            std::str::from_utf8(bytes.map_or(&[][..], Vec::as_slice)).ok().map(str::to_owned)
        };
        let (Some(was), Some(is)) = (text(was), text(is)) else { continue };
        let held_back = |text: &str| text.contains('\0') || text.contains("PRIVATE KEY-----");
        if held_back(&was) || held_back(&is) {
            continue;
        }
        let diff = similar::TextDiff::from_lines(&was, &is).unified_diff().context_radius(3).to_string();
        found.push(Text { path: format!("/{path}"), diff });
    }
    found
}

/// Files whose content is nobody's to see in a report; that they changed is said.
fn is_secret(path: &str) -> bool {
    const SECRET: [&str; 6] = ["shadow", "private", "_key", ".key", "secret", "password"];
    SECRET.iter().any(|part| path.contains(part))
}
