//! What a security team asks of an instance, on unless the manifest says otherwise: `[image.hardening] mounts = false`.
//!
//! The tree is the files: `templates/hardening/<item>/` mirrors the image's root.

use include_dir::{Dir, include_dir};

use crate::manifest::Image;
use crate::template::{self, Rendered};

static FILES: Dir<'_> = include_dir!("$OUT_DIR/templates/hardening");

/// One thing that can be turned off by itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Item {
    /// Its key in `[image.hardening]`, and its folder.
    pub key: &'static str,
    /// What it does.
    pub does: &'static str,
    /// Why.
    pub reason: &'static str,
    /// Units that never start with it; without it they do.
    pub masks: &'static [&'static str],
}

/// Every item.
pub static ITEMS: [Item; 9] = [
    Item {
        key: "ssh",
        does: "keys alone, not as root, no forwarding of X11, agents, ports; 3 tries in 30 s",
        reason: "passwords are guessed, and an instance is no way into the network behind it",
        masks: &[],
    },
    Item {
        key: "kernel",
        does: "hides addresses and messages, no ptrace, BPF, perf, user namespaces or kexec for users",
        reason: "an app that was broken into stays the app's user",
        masks: &[],
    },
    Item {
        key: "network",
        does: "no redirects, no source routes, reverse path filter, SYN cookies",
        reason: "an instance is no router, and takes no advice on routes",
        masks: &[],
    },
    Item {
        key: "modules",
        does: "rare protocols and file systems, and USB disks, are never loaded",
        reason: "the kernel loads them for any user who asks, and their bugs come along",
        masks: &[],
    },
    Item {
        key: "mounts",
        does: "/tmp in memory; no programs, devices or SUID in it, nor in /dev/shm",
        reason: "what everybody may write is where an attacker puts a program",
        masks: &[],
    },
    Item {
        key: "coredumps",
        does: "none is written, by systemd's limit, PAM's and the kernel's",
        reason: "a dump holds the process's secrets",
        masks: &[],
    },
    Item {
        key: "upgrades",
        does: "apt's daily timers never start",
        reason: "images are replaced; an instance that changes by itself is not the one that was rehearsed",
        masks: &["apt-daily-upgrade.timer", "apt-daily.timer"],
    },
    Item {
        key: "time",
        does: "chrony follows 169.254.169.123 alone, and answers nobody",
        reason: "signatures and logs need the time, and it is there without a route out",
        masks: &[],
    },
    Item {
        key: "audit",
        does: "the kernel's audit records go to the journal",
        reason: "logins, sudo's commands and refused system calls can be asked for later",
        masks: &[],
    },
];

impl Item {
    /// Whether it is in the image.
    pub fn is_on(&self, image: &Image) -> bool {
        !image.unhardened.iter().any(|key| key == self.key)
    }
}

/// The files of all that is on.
pub fn files(image: &Image) -> Vec<Rendered> {
    let of = |item: &Item| {
        let dir = FILES.get_dir(item.key).into_iter().flat_map(template::files);
        dir.filter_map(|(path, content)| {
            let path = path.strip_prefix(item.key).ok()?;
            Some(Rendered { path: path.to_owned(), mode: 0o644, content: content.to_vec() })
        })
        .collect::<Vec<_>>()
    };
    ITEMS.iter().filter(|item| item.is_on(image)).flat_map(of).collect()
}

/// The units that are to be masked, and those that start since their item is off.
pub fn masks(image: &Image) -> (Vec<&'static str>, Vec<&'static str>) {
    let (on, off): (Vec<&Item>, Vec<&Item>) = ITEMS.iter().partition(|item| item.is_on(image));
    let units = |items: Vec<&Item>| items.into_iter().flat_map(|item| item.masks.iter().copied()).collect();
    (units(on), units(off))
}

/// Keys of what is on.
pub fn on(image: &Image) -> Vec<&'static str> {
    ITEMS.iter().filter(|item| item.is_on(image)).map(|item| item.key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the README lists it.
    fn row(item: &Item) -> String {
        let files = FILES.get_dir(item.key).into_iter().flat_map(template::files);
        let files =
            files.filter_map(|(path, _)| Some(format!("`/{}`", path.strip_prefix(item.key).ok()?.display())));
        let masked = item.masks.iter().map(|unit| format!("`{unit}` masked"));
        let by: Vec<_> = files.chain(masked).collect();
        format!("| `{}` | {} | {} | {} |", item.key, item.does, item.reason, by.join(", "))
    }

    #[test]
    fn the_readme_lists_every_item_as_it_is() {
        let readme = std::fs::read_to_string("../README.md").expect("the repository has a README");
        for item in &ITEMS {
            assert!(
                readme.lines().any(|line| line == row(item)),
                "the README lacks this line:\n{}",
                row(item)
            );
        }
    }

    #[test]
    fn every_folder_is_an_item_and_an_item_that_is_off_brings_nothing() {
        let folders: Vec<_> = FILES.dirs().map(|dir| dir.path().display().to_string()).collect();
        assert!(folders.iter().all(|folder| ITEMS.iter().any(|item| item.key == folder)), "{folders:?}");
        let mut image = Image {
            name: "shop".into(),
            base: "debian-12".into(),
            packages: vec![],
            size_gib: 2,
            cloud_init: "take-over".into(),
            unhardened: vec![],
            tls: None,
        };
        let all = files(&image);
        for item in &ITEMS {
            image.unhardened = vec![item.key.to_owned()];
            let (less, (masked, started)) = (files(&image).len(), masks(&image));
            let brings = all.len() - less + item.masks.len();
            assert!(brings > 0 && started == item.masks, "{} does nothing", item.key);
            assert!(!masked.iter().any(|unit| item.masks.contains(unit)), "{}", item.key);
        }
    }
}
