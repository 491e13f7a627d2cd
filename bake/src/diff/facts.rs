//! What a root is, read from its inventory: packages, owners, enabled units, users, privileges, ports.

use std::collections::{BTreeMap, BTreeSet};

use super::inventory::{Inventory, Kind};
use crate::{listens, sbom};

/// The owner of what packages and services write themselves.
pub(super) const STATE: &str = "state and caches";

/// A root's facts. Each map is compared by key and value.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// The entries by the path that both sides share (see [`shared`]).
    pub(super) inventory: Inventory,
    /// Version by name, in each world.
    pub(super) packages: BTreeMap<String, String>,
    /// Package by path.
    pub(super) owners: BTreeMap<String, String>,
    /// What wants a unit, or `masked`.
    pub(super) units: BTreeMap<String, String>,
    /// Users and groups with all that matters of them.
    pub(super) users: BTreeMap<String, String>,
    /// SUID, SGID and world-writable entries with mode and owner.
    pub(super) privileges: BTreeMap<String, String>,
    /// What listens, by the file that says so.
    pub(super) ports: BTreeMap<String, String>,
}

impl Facts {
    pub(super) fn of(read: Inventory) -> Self {
        let inventory = shared(read);
        Self {
            packages: packages(&inventory),
            owners: owners(&inventory),
            units: units(&inventory),
            users: users(&inventory),
            privileges: privileges(&inventory),
            ports: ports(&inventory),
            inventory,
        }
    }

    /// Whose a path is, for grouping: a package, a service, or nobody's.
    pub(super) fn owner(&self, path: &str) -> String {
        if let Some(package) = self.owners.get(path) {
            return package.clone();
        }
        match path.strip_prefix("srv/").and_then(|rest| rest.split('/').next()) {
            Some(service) => format!("service {service}"),
            None if is_state(path) => STATE.to_owned(),
            None => "no package".to_owned(),
        }
    }
}

/// What packages and services keep for themselves: databases, caches, logs.
fn is_state(path: &str) -> bool {
    path.starts_with("var/") || path == "etc/ld.so.cache"
}

/// Renames what differs by name only: a release's folder is named by its content, and `current` points to it.
fn shared(read: Inventory) -> Inventory {
    let mut renamed = Vec::new();
    for (path, entry) in &read.entries {
        let Some(service) = path.strip_prefix("srv/").and_then(|rest| rest.strip_suffix("/current")) else {
            continue;
        };
        if let Some(release) = entry.link.as_deref().and_then(|link| link.rsplit('/').next()) {
            renamed.push((format!("srv/{service}/releases/{release}"), format!("srv/{service}/current")));
        }
    }
    let name = |path: String| {
        let of = |(from, to): &(String, String)| {
            let rest = path.strip_prefix(from.as_str())?;
            (rest.is_empty() || rest.starts_with('/')).then(|| format!("{to}{rest}"))
        };
        renamed.iter().find_map(of).unwrap_or(path)
    };
    let current: BTreeSet<_> = renamed.iter().map(|(_, to)| to.clone()).collect();
    let Inventory { entries, texts } = read;
    Inventory {
        entries: entries
            .into_iter()
            .filter(|(path, _)| !current.contains(path))
            .map(|(path, entry)| (name(path), entry))
            .collect(),
        texts: texts.into_iter().map(|(path, text)| (name(path), text)).collect(),
    }
}

fn packages(inventory: &Inventory) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    if let Some(status) = inventory.text("var/lib/dpkg/status") {
        let installed = status.split("\n\n").filter_map(sbom::installed);
        found.extend(installed.map(|(name, version)| (name.to_owned(), version.to_owned())));
    }
    for (path, text) in &inventory.texts {
        if path.starts_with("srv/")
            && path.ends_with(".dist-info/METADATA")
            && let Some(package) = sbom::wheel(&String::from_utf8_lossy(text))
        {
            let service = path.split('/').nth(1).unwrap_or_default();
            found.insert(format!("{} (Python, {service})", package.name), package.version);
        }
    }
    found
}

fn owners(inventory: &Inventory) -> BTreeMap<String, String> {
    let mut owners = BTreeMap::new();
    for (path, text) in &inventory.texts {
        let Some(list) = path.strip_prefix("var/lib/dpkg/info/").and_then(|name| name.strip_suffix(".list"))
        else {
            continue;
        };
        let package = list.split(':').next().unwrap_or(list);
        for line in String::from_utf8_lossy(text).lines() {
            let path = line.trim_start_matches('/');
            // Packages still name files by the folders that were merged into /usr.
            let merged = ["bin/", "sbin/", "lib/", "lib64/"].iter().any(|top| path.starts_with(top));
            let path = if merged { format!("usr/{path}") } else { path.to_owned() };
            // Folders have many owners, none of whom explains a change.
            if inventory.entries.get(&path).is_some_and(|entry| entry.kind != Kind::Folder) {
                owners.insert(path, package.to_owned());
            }
        }
    }
    owners
}

fn units(inventory: &Inventory) -> BTreeMap<String, String> {
    let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, entry) in &inventory.entries {
        let (Some(rest), Some(link)) = (path.strip_prefix("etc/systemd/system/"), &entry.link) else {
            continue;
        };
        match rest.split_once('/') {
            None if link == "/dev/null" => {
                wanted.entry(rest.to_owned()).or_default().insert("masked".to_owned());
            }
            None => {
                wanted.entry(rest.to_owned()).or_default().insert(format!("alias of {link}"));
            }
            Some((folder, unit)) => {
                let by = ["wants", "requires", "upholds"].iter().find_map(|kind| {
                    Some(format!("{kind} of {}", folder.strip_suffix(&format!(".{kind}"))?))
                });
                if let Some(by) = by {
                    wanted.entry(unit.to_owned()).or_default().insert(by);
                }
            }
        }
    }
    let joined = |by: BTreeSet<String>| by.into_iter().collect::<Vec<_>>().join(", ");
    wanted.into_iter().map(|(unit, by)| (unit, joined(by))).collect()
}

fn users(inventory: &Inventory) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (file, kind) in [("etc/passwd", "user"), ("etc/group", "group")] {
        let Some(text) = inventory.text(file) else { continue };
        for line in text.lines() {
            let fields: Vec<_> = line.split(':').collect();
            match (kind, fields.as_slice()) {
                ("user", [name, _, uid, gid, _, home, shell]) => {
                    let way_in = password(inventory, name);
                    let told = format!("uid {uid}, gid {gid}, {home}, {shell}{way_in}");
                    found.insert(format!("user {name}"), told);
                }
                ("group", [name, _, gid, members]) => {
                    let members = if members.is_empty() { "no members" } else { members };
                    found.insert(format!("group {name}"), format!("gid {gid}, {members}"));
                }
                _ => {}
            }
        }
    }
    found
}

/// Whether a password opens an account; which one is shadow's secret.
fn password(inventory: &Inventory, name: &str) -> &'static str {
    let shadow = inventory.text("etc/shadow").unwrap_or_default();
    let field = shadow.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.split(':').next());
    match field {
        Some("") => ", no password asked for",
        Some(hash) if !hash.starts_with(['!', '*']) => ", with a password",
        _ => "",
    }
}

fn privileges(inventory: &Inventory) -> BTreeMap<String, String> {
    const SET_ID: u32 = 0o6000;
    const STICKY: u32 = 0o1000;
    const OTHERS_WRITE: u32 = 0o002;
    let mut found = BTreeMap::new();
    for (path, entry) in &inventory.entries {
        let set_id = entry.kind == Kind::File && entry.mode & SET_ID != 0;
        let open = matches!(entry.kind, Kind::File | Kind::Folder)
            && entry.mode & OTHERS_WRITE != 0
            && entry.mode & STICKY == 0;
        if set_id || open {
            let (mode, uid, gid) = (entry.mode, entry.uid, entry.gid);
            found.insert(format!("/{path}"), format!("mode {mode:04o}, owner {uid}:{gid}"));
        }
    }
    found
}

/// What the configuration listens on; no process is asked, so that an image can be read that was never booted.
fn ports(inventory: &Inventory) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let enabled = units(inventory);
    for (path, text) in &inventory.texts {
        let text = String::from_utf8_lossy(text);
        let name = path.rsplit('/').next().unwrap_or(path);
        let nginx = path.starts_with("etc/nginx/") && !path.contains("sites-available/");
        let socket =
            name.ends_with(".socket") && path.contains("systemd/system") && is_enabled(name, &enabled);
        let listens = match () {
            () if nginx => listens::nginx(&text),
            () if socket => listens::socket(&text),
            () if path.starts_with("etc/ssh/sshd_config") => listens::sshd(&text),
            () => continue,
        };
        if !listens.is_empty() {
            let each: Vec<_> = BTreeSet::from_iter(listens).into_iter().collect();
            found.insert(format!("/{path}"), each.join(", "));
        }
    }
    found
}

/// A template is enabled by its instances: `gunicorn@shop.socket` enables `gunicorn@.socket`.
fn is_enabled(unit: &str, enabled: &BTreeMap<String, String>) -> bool {
    enabled.iter().any(|(name, by)| {
        by != "masked"
            && (name == unit
                || unit.split_once('@').is_some_and(|(stem, suffix)| {
                    name.starts_with(&format!("{stem}@")) && name.ends_with(suffix)
                }))
    })
}
