//! The Debian releases that a base can be made of, and the packages that each is asked for.

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
pub static SUITES: [Suite; 1] = [Suite { name: "debian-12", codename: "bookworm", own: &[] }];

/// A machine that boots on EC2 and in a container, and what Flask and React apps need at run time.
const PACKAGES: [&str; 17] = [
    // The system.
    "systemd",
    "systemd-sysv",
    "systemd-resolved",
    "dbus",
    "udev",
    "kmod",
    "sudo",
    "zstd",
    // The machine: kernel, disk, network, clock, EC2's device names.
    "linux-image-cloud-amd64",
    "initramfs-tools",
    "e2fsprogs",
    "iproute2",
    "chrony",
    "amazon-ec2-utils",
    "openssh-server",
    // The run time, with RUNTIME.
    "curl",
    "tzdata",
];

/// Of the base's packages, those that an app layer cannot do without: a foreign root has to get them.
pub const RUNTIME: [&str; 5] =
    ["ca-certificates", "libnginx-mod-http-brotli-static", "nginx-light", "procps", "python3"];

impl Suite {
    /// The release that a manifest calls `name`.
    pub fn find(name: &str) -> Option<&'static Self> {
        SUITES.iter().find(|suite| suite.name == name)
    }

    /// What a base with `extra` is asked to have, sorted; dependencies not counted.
    pub fn packages(&self, extra: impl IntoIterator<Item = String>) -> Vec<String> {
        let own = PACKAGES.iter().chain(&RUNTIME).chain(self.own).map(|name| (*name).to_owned());
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
