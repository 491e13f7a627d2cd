//! What a finished root may hold of privileges, open files, ports, units and shells: Kiln's own, and what the manifest
//! expects besides. Anything else is a surprise, and fails the bake.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use crate::listens;
use crate::manifest::Expect;

/// SUID and SGID programs of the base root: logging in, mounting, sudo.
const SET_ID: [&str; 15] = [
    "/usr/bin/chage",
    "/usr/bin/chfn",
    "/usr/bin/chsh",
    "/usr/bin/expiry",
    "/usr/bin/gpasswd",
    "/usr/bin/mount",
    "/usr/bin/newgrp",
    "/usr/bin/passwd",
    "/usr/bin/ssh-agent",
    "/usr/bin/su",
    "/usr/bin/sudo",
    "/usr/bin/umount",
    "/usr/lib/dbus-1.0/dbus-daemon-launch-helper",
    "/usr/lib/openssh/ssh-keysign",
    "/usr/sbin/unix_chkpwd",
];

/// Units that the base root enables; those of the app layer are told by the caller.
const UNITS: [&str; 12] = [
    "chrony.service",
    "fstrim.timer",
    "getty@tty1.service",
    "kiln-hostkeys.service",
    "remote-fs.target",
    "ssh.service",
    "systemd-network-generator.service",
    "systemd-networkd-wait-online.service",
    "systemd-networkd.service",
    "systemd-networkd.socket",
    "systemd-pstore.service",
    "systemd-resolved.service",
];

/// nginx for everybody, its status page for the agent, SSH.
const PORTS: [&str; 4] = ["127.0.0.1:9181", "22", "80", "[::]:80"];

/// Who has a shell; without a key or a password nobody gets one.
const SHELLS: [&str; 1] = ["root"];

/// What a root holds, by what the keys of `[expect]` list.
#[derive(Debug, Default)]
pub struct Found {
    /// Mode by path.
    set_id: BTreeMap<String, String>,
    /// Mode by path.
    world_writable: BTreeMap<String, String>,
    /// The file that says so by address.
    ports: BTreeMap<String, String>,
    /// What wants it by unit.
    units: BTreeMap<String, String>,
    /// The shell by user.
    shells: BTreeMap<String, String>,
}

/// Why an image is not what it was meant to be.
#[derive(Debug, thiserror::Error)]
pub struct Surprises(Vec<String>);

impl fmt::Display for Surprises {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the image holds what nobody expects ({} surprises):", self.0.len())?;
        self.0.iter().try_for_each(|surprise| write!(f, "\n  {surprise}"))
    }
}

impl Found {
    /// Takes note of one entry of the root; `path` is relative to it.
    pub fn see(&mut self, path: &str, found: &Metadata) {
        const SET_ID: u32 = 0o6000;
        const STICKY: u32 = 0o1000;
        const OTHERS_WRITE: u32 = 0o002;
        let (mode, kind) = (found.mode(), found.file_type());
        let told = || (format!("/{path}"), format!("mode {:04o}", mode & 0o7777));
        // Of a folder the bit means that files in it are its group's.
        if kind.is_file() && mode & SET_ID != 0 {
            self.set_id.extend([told()]);
        }
        let device = kind.is_char_device() || kind.is_block_device();
        if !kind.is_symlink() && !device && mode & OTHERS_WRITE != 0 && mode & STICKY == 0 {
            self.world_writable.extend([told()]);
        }
    }

    /// Reads what configuration says of units, ports and users.
    pub fn read(&mut self, root: &Path) {
        self.units = units(root);
        self.ports = ports(root, &self.units);
        let passwd = fs::read_to_string(root.join("etc/passwd")).unwrap_or_default();
        for line in passwd.lines() {
            let fields: Vec<_> = line.split(':').collect();
            let (Some(user), Some(shell)) = (fields.first(), fields.get(6)) else { continue };
            let none = ["nologin", "false", "sync"].iter().any(|end| shell.ends_with(&format!("/{end}")));
            if !none {
                // An empty field is a shell, too: passwd(5) makes it /bin/sh.
                self.shells.insert((*user).to_owned(), (*shell).to_owned());
            }
        }
    }

    /// Fails for everything that neither Kiln (`units` are those of the app layer) nor the manifest expects.
    ///
    /// # Errors
    /// [`Surprises`], each with its place and the key that would expect it.
    pub fn judge(&self, expect: &Expect, units: &[String]) -> Result<(), Surprises> {
        let units = UNITS.iter().copied().chain(units.iter().map(String::as_str)).collect();
        let rows = [
            ("set_id", "is SUID or SGID", &self.set_id, SET_ID.into(), &expect.set_id),
            (
                "world_writable",
                "can be written by everybody",
                &self.world_writable,
                BTreeSet::new(),
                &expect.world_writable,
            ),
            ("ports", "is listened on", &self.ports, PORTS.into(), &expect.ports),
            ("units", "is enabled", &self.units, units, &expect.units),
            ("shells", "may log in", &self.shells, SHELLS.into(), &expect.shells),
        ];
        let mut surprises = Vec::new();
        for (key, what, found, own, expected) in rows {
            for (name, detail) in found {
                if !own.contains(name.as_str()) && !expected.contains(name) {
                    surprises.push(format!(
                        "{name} {what} ({detail}); if it has to be, write it to kiln.toml: [expect] {key} = [\"{name}\"]"
                    ));
                }
            }
        }
        if surprises.is_empty() { Ok(()) } else { Err(Surprises(surprises)) }
    }
}

/// Enabled units with what wants each; a masked one starts never.
fn units(root: &Path) -> BTreeMap<String, String> {
    let home = root.join("etc/systemd/system");
    let mut found = BTreeMap::new();
    for folder in fs::read_dir(&home).into_iter().flatten().flatten() {
        let name = folder.file_name().to_string_lossy().into_owned();
        let wanted =
            ["wants", "requires", "upholds"].iter().find_map(|kind| name.strip_suffix(&format!(".{kind}")));
        let Some(by) = wanted else { continue };
        for unit in fs::read_dir(folder.path()).into_iter().flatten().flatten() {
            let unit = unit.file_name().to_string_lossy().into_owned();
            let masked = fs::read_link(home.join(&unit)).is_ok_and(|link| link == Path::new("/dev/null"));
            if !masked {
                found.insert(unit, format!("wanted by {by}"));
            }
        }
    }
    found
}

/// Addresses that the configuration of nginx, sshd and of enabled sockets listens on. Of other daemons their units tell.
fn ports(root: &Path, units: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let nginx = ["etc/nginx/nginx.conf", "etc/nginx/conf.d", "etc/nginx/kiln.d", "etc/nginx/sites-enabled"];
    for (path, text) in nginx.iter().flat_map(|top| texts(root, top)) {
        found.extend(listens::nginx(&text).into_iter().map(|address| (address, path.clone())));
    }
    if units.contains_key("ssh.service") {
        let texts = ["etc/ssh/sshd_config", "etc/ssh/sshd_config.d"].iter().flat_map(|top| texts(root, top));
        let named = |(path, text): (String, String)| {
            listens::sshd(&text).into_iter().map(move |address| (address, path.clone()))
        };
        let named: Vec<_> = texts.flat_map(named).collect();
        let default = || vec![("22".to_owned(), "/etc/ssh/sshd_config".to_owned())];
        found.extend(if named.is_empty() { default() } else { named });
    }
    for unit in units.keys().filter(|unit| unit.ends_with(".socket")) {
        let file = unit.split_once('@').map_or(unit.clone(), |(stem, _)| format!("{stem}@.socket"));
        for folder in ["etc/systemd/system", "usr/lib/systemd/system"] {
            for (path, text) in texts(root, &format!("{folder}/{file}")) {
                found.extend(listens::socket(&text).into_iter().map(|address| (address, path.clone())));
            }
        }
    }
    found
}

/// The texts of a file, or of every file in a folder, by path.
fn texts(root: &Path, top: &str) -> Vec<(String, String)> {
    let files = walkdir::WalkDir::new(root.join(top)).sort_by_file_name().into_iter().flatten();
    let read = |file: walkdir::DirEntry| {
        let path = file.path().strip_prefix(root).ok()?.display().to_string();
        Some((format!("/{path}"), fs::read_to_string(file.path()).ok()?))
    };
    files.filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn found(root: &Path) -> Found {
        let mut found = Found::default();
        for entry in walkdir::WalkDir::new(root).min_depth(1) {
            let entry = entry.expect("it lists");
            let path = entry.path().strip_prefix(root).expect("below the root").display().to_string();
            found.see(&path, &entry.metadata().expect("it is there"));
        }
        found.read(root);
        found
    }

    fn put(root: &Path, path: &str, text: &str, mode: u32) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
    }

    fn root() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let root = dir.path();
        put(root, "etc/passwd", "root:x:0:0:root:/root:/bin/bash\nweb:x:9:9::/:/usr/sbin/nologin\n", 0o644);
        put(root, "usr/bin/sudo", "", 0o4755);
        put(root, "etc/nginx/nginx.conf", "http {\n    listen 80 default_server;\n}\n", 0o644);
        put(root, "etc/systemd/system/multi-user.target.wants/ssh.service", "", 0o644);
        put(root, "etc/systemd/system/multi-user.target.wants/gone.service", "", 0o644);
        symlink("/dev/null", root.join("etc/systemd/system/gone.service")).expect("a masked unit");
        dir
    }

    #[test]
    fn what_kiln_brings_is_no_surprise() {
        found(root().path()).judge(&Expect::default(), &[]).expect("nothing is there but Kiln's own");
    }

    #[test]
    fn every_surprise_is_named_with_the_key_that_would_expect_it_and_expecting_it_is_enough() {
        let dir = root();
        let root = dir.path();
        put(root, "opt/tool", "", 0o2755);
        put(root, "opt/open", "", 0o666);
        put(root, "etc/systemd/system/sockets.target.wants/db.socket", "", 0o644);
        put(
            root,
            "usr/lib/systemd/system/db.socket",
            "[Socket]\nListenStream=5432\nListenStream=/run/db\n",
            0o644,
        );
        put(root, "etc/passwd", "eve:x:0:0::/:/bin/sh\nempty:x:1:1::/:\n", 0o644);
        let found = found(root);
        let told = found.judge(&Expect::default(), &[]).expect_err("six surprises").to_string();
        for expected in [
            "(6 surprises)",
            "/opt/tool is SUID or SGID (mode 2755); if it has to be, write it to kiln.toml: [expect] set_id = [\"/opt/tool\"]",
            "/opt/open can be written by everybody (mode 0666)",
            "5432 is listened on (/usr/lib/systemd/system/db.socket)",
            "db.socket is enabled (wanted by sockets.target)",
            "[expect] shells = [\"eve\"]",
            "empty may log in",
        ] {
            assert!(told.contains(expected), "{expected} is not in {told}");
        }
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let expect = Expect {
            set_id: list(&["/opt/tool"]),
            world_writable: list(&["/opt/open"]),
            ports: list(&["5432"]),
            units: vec![],
            shells: list(&["empty", "eve"]),
            secrets: vec![],
        };
        found.judge(&expect, &["db.socket".to_owned()]).expect("all is expected");
    }
}
