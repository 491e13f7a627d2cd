//! The Debian releases that a base can be made of, and the packages that each is asked for.

use crate::os::{DEBIAN, Need, need};

/// A release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suite {
    /// As in a manifest: `debian-12`.
    pub name: &'static str,
    /// Debian's code name: `bookworm`.
    pub codename: &'static str,
    /// What only this release has as packages of their own.
    own: &'static [&'static str],
}

/// Every release, the default first.
pub static SUITES: [Suite; 2] = [
    Suite { name: "debian-12", codename: "bookworm", own: &[] },
    // systemd-repart, which grows the root at boot, is a package of its own there.
    Suite { name: "debian-13", codename: "trixie", own: &["systemd-repart"] },
];

/// A machine that boots on EC2 and in a container, and what Flask and React apps need at run time.
const PACKAGES: [&str; 18] = [
    // The system.
    "systemd",
    "systemd-sysv",
    "systemd-resolved",
    "dbus",
    "udev",
    "kmod",
    "sudo",
    // In place of usrmerge, which brings all of Perl: the base begins with the links that usrmerge would make.
    "usr-is-merged",
    "zstd",
    // The machine: kernel, disk, network, clock, EC2's device names.
    "linux-image-cloud-amd64",
    "initramfs-tools",
    "e2fsprogs",
    "iproute2",
    "chrony",
    "amazon-ec2-utils",
    "openssh-server",
    // The run time, with what every operating system needs for it: see `os`.
    "curl",
    "tzdata",
];

/// What a disk's root cannot do without, in whichever package: `templates/base` configures it.
const DISK: [Need; 9] = [
    need("initrd.img", "initramfs-tools"),
    need("usr/bin/dbus-daemon", "dbus"),
    need("usr/lib/systemd/systemd-networkd", "systemd"),
    need("usr/lib/systemd/systemd-resolved", "systemd-resolved"),
    need("usr/sbin/chronyd", "chrony"),
    need("usr/sbin/init", "systemd-sysv"),
    need("usr/sbin/resize2fs", "e2fsprogs"),
    need("usr/sbin/sshd", "openssh-server"),
    need("vmlinuz", "linux-image-cloud-amd64"),
];

impl Suite {
    /// The release that a manifest calls `name`.
    pub fn find(name: &str) -> Option<&'static Self> {
        SUITES.iter().find(|suite| suite.name == name)
    }

    /// What a root of this release that another made has to have for a disk, besides the run time.
    pub(crate) fn needs(&self) -> Vec<Need> {
        let package = self.own.iter().find(|name| **name == "systemd-repart").unwrap_or(&"systemd");
        DISK.into_iter().chain([need("usr/bin/systemd-repart", package)]).collect()
    }

    /// What a base with `extra` is asked to have, sorted; dependencies not counted.
    pub fn packages(&self, extra: impl IntoIterator<Item = String>) -> Vec<String> {
        let runtime = DEBIAN.iter().map(|need| need.package);
        let own = PACKAGES.into_iter().chain(runtime).chain(self.own.iter().copied()).map(str::to_owned);
        let mut packages: Vec<String> = own.chain(extra).collect();
        packages.sort_unstable();
        packages.dedup();
        packages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extra_that_the_base_has_anyway_is_no_change() {
        let suite = Suite::find("debian-12").expect("the default");
        assert_eq!(suite.packages(["curl".to_owned()]), suite.packages([]));
        assert!(suite.packages(["jq".to_owned()]).contains(&"jq".to_owned()));
    }
}
