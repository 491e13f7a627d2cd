//! Operating systems that an app layer can be laid over, and what each calls things: one table.
//!
//! A root says in os-release which one it is; what is not in the table is refused by name.

use std::fs;
use std::path::Path;

use crate::error::{At, Error, Result};
use crate::suite::Suite;

/// An operating system, as far as Kiln has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Os {
    /// As a person calls it.
    pub name: &'static str,
    /// `ID` in os-release.
    id: &'static str,
    /// `VERSION_ID` in os-release.
    version: &'static str,
    /// What installs packages.
    pub manager: Manager,
    /// What an app layer cannot do without.
    pub runtime: &'static [Need],
    /// The Python that services run with.
    pub python: &'static str,
    /// Who nginx's workers are: reads the frontends, connects to the backends' sockets.
    pub web_user: &'static str,
    /// Where nginx's packages say which modules to load.
    pub nginx_modules: &'static str,
    /// Configuration files that Debian has elsewhere: there and here, relative to the root.
    moved: &'static [(&'static str, &'static str)],
    /// Whether there is a package of nginx's module for precompressed Brotli.
    pub brotli: bool,
    /// The Debian release that it is: its roots can be made into disks.
    pub suite: Option<&'static str>,
}

/// What installs packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// dpkg and apt-get.
    Apt,
    /// rpm and dnf.
    Dnf,
}

/// Something that has to be there, and the package that brings it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Relative to the root; it is there whichever package brought it.
    pub file: &'static str,
    /// Brings it.
    pub package: &'static str,
}

pub(crate) const fn need(file: &'static str, package: &'static str) -> Need {
    Need { file, package }
}

const CA: Need = need("etc/ssl/certs/ca-certificates.crt", "ca-certificates");
const PYTHON: Need = need("usr/bin/python3", "python3");
const PS: Need = need("usr/bin/ps", "procps");

/// Of a base of Kiln's own, too: see [`crate::suite`].
pub(crate) const DEBIAN: [Need; 5] = [
    CA,
    need("usr/lib/nginx/modules/ngx_http_brotli_static_module.so", "libnginx-mod-http-brotli-static"),
    need("usr/sbin/nginx", "nginx-light"),
    PS,
    PYTHON,
];
const UBUNTU: [Need; 4] = [CA, need("usr/sbin/nginx", "nginx"), PS, PYTHON];
const AMAZON: [Need; 4] = [
    need("etc/pki/tls/certs/ca-bundle.crt", "ca-certificates"),
    need("usr/sbin/nginx", "nginx"),
    need("usr/bin/ps", "procps-ng"),
    // python3 is 3.9 there, and stays it: the system's own tools need that one.
    need("usr/bin/python3.11", "python3.11"),
];

const BOOKWORM: Os = Os {
    name: "Debian 12",
    id: "debian",
    version: "12",
    manager: Manager::Apt,
    runtime: &DEBIAN,
    python: "/usr/bin/python3",
    web_user: "www-data",
    nginx_modules: "/etc/nginx/modules-enabled/*.conf",
    moved: &[],
    brotli: true,
    suite: Some("debian-12"),
};

/// Every operating system that is known.
pub static KNOWN: [Os; 4] = [
    BOOKWORM,
    Os { name: "Debian 13", version: "13", suite: Some("debian-13"), ..BOOKWORM },
    Os {
        name: "Ubuntu 24.04",
        id: "ubuntu",
        version: "24.04",
        runtime: &UBUNTU,
        brotli: false,
        suite: None,
        ..BOOKWORM
    },
    Os {
        name: "Amazon Linux 2023",
        id: "amzn",
        version: "2023",
        manager: Manager::Dnf,
        runtime: &AMAZON,
        python: "/usr/bin/python3.11",
        web_user: "nginx",
        nginx_modules: "/usr/share/nginx/modules/*.conf",
        moved: &[("etc/chrony/chrony.conf", "etc/chrony.conf")],
        brotli: false,
        suite: None,
    },
];

impl Os {
    /// What a base of Kiln's own is.
    pub fn of_suite(suite: &Suite) -> &'static Self {
        KNOWN.iter().find(|os| os.suite == Some(suite.name)).unwrap_or(&KNOWN[0])
    }

    /// What the root in `root` is.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a folder without os-release, and for what is not in the table, by name.
    pub fn of_root(root: &Path) -> Result<&'static Self> {
        // /etc/os-release is mostly a link to the other, and an absolute one would leave the root.
        let found = ["usr/lib/os-release", "etc/os-release"].map(|name| root.join(name));
        let Some(path) = found.iter().find(|path| path.is_file()) else {
            let shown = root.display();
            return Err(Error::Invalid(format!(
                "'{shown}' is no root of Linux: there is no usr/lib/os-release in it"
            )));
        };
        let text = fs::read_to_string(path).at("read", path)?;
        Self::of_release(&text).map_err(|other| {
            let known: Vec<_> = KNOWN.iter().map(|os| os.name).collect();
            let (shown, known) = (root.display(), known.join(", "));
            Error::Invalid(format!("'{shown}' is {other}, and Kiln knows what things are called in {known}"))
        })
    }

    /// The one that an os-release file means, or what that file calls itself.
    fn of_release(text: &str) -> Result<&'static Self, String> {
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='));
            value.map_or("", |value| value.trim_matches(['"', '\'']))
        };
        let (id, version) = (field("ID"), field("VERSION_ID"));
        let found = KNOWN.iter().find(|os| os.id == id && os.version == version);
        found.ok_or_else(|| {
            let pretty = Some(field("PRETTY_NAME")).filter(|name| !name.is_empty()).unwrap_or("nameless");
            format!("{pretty} (ID={id}, VERSION_ID={version})")
        })
    }

    /// `ID` and `VERSION_ID` in os-release.
    pub fn release(&self) -> (&'static str, &'static str) {
        (self.id, self.version)
    }

    /// Where a file is that Debian has at `path`.
    pub fn place<'a>(&self, path: &'a Path) -> &'a Path {
        let moved = self.moved.iter().find(|(there, _)| path == Path::new(there));
        moved.map_or(path, |(_, here)| Path::new(*here))
    }

    /// Packages that bring what is not in `root`, of `needs`.
    pub fn missing(root: &Path, needs: &[Need]) -> Vec<&'static str> {
        let there = |need: &Need| root.join(need.file).symlink_metadata().is_ok();
        needs.iter().filter(|need| !there(need)).map(|need| need.package).collect()
    }
}

impl Manager {
    /// What installs `packages`: one command after the other, none of which asks anything.
    pub fn install<'a>(self, packages: &[&'a str]) -> Vec<Vec<&'a str>> {
        // Another one on a live builder host may be at work for some minutes; dnf waits by itself.
        const WAIT: &str = "DPkg::Lock::Timeout=300";
        let mut install = match self {
            Self::Apt => vec!["apt-get", "-q", "-y", "--no-install-recommends", "-o", WAIT, "install"],
            Self::Dnf => vec!["dnf", "-y", "--setopt=install_weak_deps=False", "install"],
        };
        install.extend(packages);
        match self {
            Self::Apt => vec![vec!["apt-get", "-q", "-o", WAIT, "update"], install],
            Self::Dnf => vec![install],
        }
    }

    /// The same as a person types it.
    pub fn advice(self, packages: &[&str]) -> String {
        let install = match self {
            Self::Apt => "apt-get install --no-install-recommends",
            Self::Dnf => "dnf install",
        };
        format!("{install} {}", packages.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As these systems ship the file, shortened to what could be read.
    const RELEASES: [(&str, &str); 4] = [
        ("Debian 12", "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n"),
        (
            "Debian 13",
            "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nVERSION_ID=\"13\"\nDEBIAN_VERSION_FULL=13.2\nID=debian\n",
        ),
        (
            "Ubuntu 24.04",
            "PRETTY_NAME=\"Ubuntu 24.04.3 LTS\"\nNAME=\"Ubuntu\"\nVERSION_ID=\"24.04\"\nID=ubuntu\nID_LIKE=debian\n",
        ),
        (
            "Amazon Linux 2023",
            "NAME=\"Amazon Linux\"\nVERSION=\"2023\"\nID=\"amzn\"\nID_LIKE=\"fedora\"\nVERSION_ID=\"2023\"\nPLATFORM_ID=\"platform:al2023\"\n",
        ),
    ];

    fn root(release: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a scratch directory");
        fs::create_dir_all(dir.path().join("usr/lib")).expect("a folder");
        fs::write(dir.path().join("usr/lib/os-release"), release).expect("a file");
        dir
    }

    #[test]
    fn each_system_gets_its_own_commands_paths_and_names() {
        let table = [
            (
                "Debian 12",
                "apt-get -q -o DPkg::Lock::Timeout=300 update; apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 install ca-certificates libnginx-mod-http-brotli-static nginx-light procps python3",
                "/usr/bin/python3 www-data /etc/nginx/modules-enabled/*.conf brotli",
            ),
            (
                "Debian 13",
                "apt-get -q -o DPkg::Lock::Timeout=300 update; apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 install ca-certificates libnginx-mod-http-brotli-static nginx-light procps python3",
                "/usr/bin/python3 www-data /etc/nginx/modules-enabled/*.conf brotli",
            ),
            (
                "Ubuntu 24.04",
                "apt-get -q -o DPkg::Lock::Timeout=300 update; apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 install ca-certificates nginx procps python3",
                "/usr/bin/python3 www-data /etc/nginx/modules-enabled/*.conf -",
            ),
            (
                "Amazon Linux 2023",
                "dnf -y --setopt=install_weak_deps=False install ca-certificates nginx procps-ng python3.11",
                "/usr/bin/python3.11 nginx /usr/share/nginx/modules/*.conf -",
            ),
        ];
        for ((name, release), (row, commands, paths)) in RELEASES.iter().zip(table) {
            assert_eq!(*name, row);
            let root = root(release);
            let os = Os::of_root(root.path()).expect("it is in the table");
            assert_eq!(os.name, *name);
            let missing = Os::missing(root.path(), os.runtime);
            let told: Vec<_> = os.manager.install(&missing).iter().map(|words| words.join(" ")).collect();
            assert_eq!(told.join("; "), commands, "{name}");
            let Os { python, web_user, nginx_modules, brotli, .. } = os;
            let brotli = if *brotli { "brotli" } else { "-" };
            assert_eq!(format!("{python} {web_user} {nginx_modules} {brotli}"), paths, "{name}");
        }
    }

    #[test]
    fn a_file_is_where_the_system_looks_for_it() {
        let of = |id: &str, path| {
            let os = KNOWN.iter().find(|os| os.id == id).expect("it is in the table");
            os.place(Path::new(path)).display().to_string()
        };
        assert_eq!(of("debian", "etc/chrony/chrony.conf"), "etc/chrony/chrony.conf");
        assert_eq!(of("amzn", "etc/chrony/chrony.conf"), "etc/chrony.conf");
        assert_eq!(of("amzn", "etc/nginx/nginx.conf"), "etc/nginx/nginx.conf");
    }

    #[test]
    fn what_is_there_already_is_not_installed() {
        let (_, release) = RELEASES[3];
        let root = root(release);
        let os = Os::of_root(root.path()).expect("it is in the table");
        for need in &os.runtime[..3] {
            let path = root.path().join(need.file);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, "").expect("a file");
        }
        assert_eq!(Os::missing(root.path(), os.runtime), ["python3.11"]);
    }

    #[test]
    fn what_is_not_in_the_table_is_refused_by_name_with_what_is() {
        let root = root("ID=alpine\nVERSION_ID=3.20.1\nPRETTY_NAME=\"Alpine Linux v3.20\"\n");
        let told = Os::of_root(root.path()).expect_err("it is unknown").to_string();
        assert!(told.contains("is Alpine Linux v3.20 (ID=alpine, VERSION_ID=3.20.1)"), "{told}");
        assert!(told.ends_with("Debian 12, Debian 13, Ubuntu 24.04, Amazon Linux 2023"), "{told}");
        let nothing = tempfile::tempdir().expect("a scratch directory");
        let told = Os::of_root(nothing.path()).expect_err("there is nothing").to_string();
        assert!(told.ends_with("there is no usr/lib/os-release in it"), "{told}");
    }

    #[test]
    fn every_suite_is_in_the_table() {
        for suite in &crate::suite::SUITES {
            assert_eq!(Os::of_suite(suite).suite, Some(suite.name));
        }
    }
}
