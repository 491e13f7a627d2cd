//! What a base root consists of: packages of a suite, the files of `templates/base`, and a finishing script.
//! All of it is in the key.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use include_dir::{Dir, File, include_dir};
use walkdir::WalkDir;

use crate::deb::Deb;
use crate::debian::Mirror;
use crate::error::{At, Error, Result};
use crate::exported::Exported;
use crate::suite::Suite;
use crate::{hash, ids};

/// Raised when a base has to be made anew though everything else in the key is the same.
const VERSION: &str = "4";

/// The same for what is done to a root that another made.
const EXPORTED: &str = "exported 2";

/// The files that every base gets; the path is the destination.
static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../templates/base");

/// Run at the end, with the root's path.
const FINISH: &str = include_str!("base_finish.sh");

/// What the base root comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Packages of Debian.
    Debian {
        /// The release.
        suite: &'static Suite,
        /// Every package, exactly.
        debs: Vec<Deb>,
    },
    /// A root that somebody else made.
    Exported(Exported),
}

/// What the base root is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseSpec {
    /// Packages or a root.
    pub origin: Origin,
    /// Where to fetch from; not part of the key.
    pub mirror: Mirror,
    /// When the mirrors had these packages (`20261122T124300Z`); not part of the key.
    pub since: Option<String>,
    /// Latest time stamp of any file (seconds since 1970).
    pub epoch: u64,
}

impl BaseSpec {
    /// `suite` with exactly `debs`, from Debian's own mirrors.
    pub fn new(suite: &'static Suite, debs: Vec<Deb>) -> Self {
        Self::from(Origin::Debian { suite, debs })
    }

    /// A root that somebody else made.
    pub fn exported(root: Exported) -> Self {
        Self::from(Origin::Exported(root))
    }

    fn from(origin: Origin) -> Self {
        Self { origin, mirror: Mirror::default(), since: None, epoch: ids::SOURCE_DATE_EPOCH }
    }

    /// Name of the cache entry: a hash of everything but where the packages come from.
    pub fn key(&self) -> String {
        let epoch = self.epoch.to_string();
        let (kind, debs): (_, &[Deb]) = match &self.origin {
            Origin::Debian { suite, debs } => (suite.codename.to_owned(), debs),
            Origin::Exported(root) => (format!("{EXPORTED} {}", root.sha256), &[]),
        };
        let mut parts = vec![VERSION.as_bytes(), kind.as_bytes(), epoch.as_bytes(), FINISH.as_bytes()];
        for deb in debs {
            parts.extend([&deb.name, &deb.version, &deb.sha256].map(String::as_bytes));
        }
        let files = files();
        for file in &files {
            parts.push(file.path().as_os_str().as_encoded_bytes());
            parts.push(file.contents());
        }
        hash::of_parts(parts)[..32].to_owned()
    }
}

/// How a root's kernel comes to its root file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// It has the drivers built in, as Debian's cloud kernel: no initrd on Nitro.
    Alone,
    /// By its initrd.
    Initrd,
}

impl Kernel {
    /// What Debian's `vmlinuz` and `initrd.img` at the top of `tree` lead to.
    pub(crate) fn of(tree: &Path) -> Result<Self> {
        let led = |name: &str| {
            let link = fs::read_link(tree.join(name)).unwrap_or_else(|_| name.into());
            tree.join(link.strip_prefix("/").unwrap_or(&link))
        };
        for name in ["vmlinuz", "initrd.img"] {
            if !led(name).is_file() {
                return Err(Error::Invalid(format!("'/{name}' of the root leads to no file")));
            }
        }
        let name = led("vmlinuz").file_name().unwrap_or_default().to_string_lossy().into_owned();
        let version = name.strip_prefix("vmlinuz-").unwrap_or_default();
        let config = fs::read_to_string(tree.join(format!("boot/config-{version}"))).unwrap_or_default();
        let built_in = |option: &str| config.lines().any(|line| line.strip_suffix("=y") == Some(option));
        let alone = built_in("CONFIG_BLK_DEV_NVME") && built_in("CONFIG_EXT4_FS");
        Ok(if alone { Self::Alone } else { Self::Initrd })
    }
}

/// Which machines GRUB gives an initrd to.
const XEN_ALONE: &str = "if [ \"$vendor\" = \"Xen\" ]; then";
const EVERY: &str = "if [ 1 = 1 ]; then";

/// Lays the base's files over a root that somebody else made; none of them gets out of it by a link.
pub(crate) fn lay(tree: &Path, kernel: Kernel) -> Result<()> {
    let tree = &tree.canonicalize().at("resolve", tree)?;
    for file in files() {
        let mut dir = tree.clone();
        for part in file.path().parent().unwrap_or(Path::new("")) {
            dir.push(part);
            if !dir.exists() {
                fs::create_dir(&dir).at("create", &dir)?;
                set_mode(&dir, 0o755)?;
            }
            if !dir.canonicalize().at("resolve", &dir)?.starts_with(tree) {
                let shown = dir.strip_prefix(tree).unwrap_or(&dir).display();
                return Err(Error::Invalid(format!("'/{shown}' of the root is a link that leads out of it")));
            }
        }
        let target = tree.join(file.path());
        if target.is_symlink() {
            fs::remove_file(&target).at("remove", &target)?;
        }
        let grub = file.path() == Path::new("boot/grub/grub.cfg") && kernel == Kernel::Initrd;
        let text = file.contents_utf8().filter(|_| grub).map(|text| text.replace(XEN_ALONE, EVERY));
        let contents = text.as_deref().map_or(file.contents(), str::as_bytes);
        put(&target, contents, mode(file.path()))?;
    }
    Ok(())
}

/// Writes the base's files below `dir`, and the finishing script to `script`. Modes are set one by one: the
/// root takes them over, and the caller's umask is not part of the recipe.
pub(crate) fn write(suite: &Suite, dir: &Path, script: &Path) -> Result<()> {
    for file in files() {
        put(&dir.join(file.path()), file.contents(), mode(file.path()))?;
    }
    // Debian's addresses, whichever mirror the build uses.
    let sources = Mirror::default().sources(suite.codename).join("\n") + "\n";
    put(&dir.join("etc/apt/sources.list"), sources.as_bytes(), 0o644)?;
    for entry in WalkDir::new(dir) {
        let entry = entry.at("read", dir)?;
        if entry.file_type().is_dir() {
            set_mode(entry.path(), 0o755)?;
        }
    }
    write_finish(script)
}

/// Writes the finishing script.
pub(crate) fn write_finish(script: &Path) -> Result<()> {
    put(script, FINISH.as_bytes(), 0o755)
}

fn put(path: &Path, contents: &[u8], mode: u32) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).at("create", parent)?;
    }
    fs::write(path, contents).at("write", path)?;
    set_mode(path, mode)
}

pub(crate) fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode)).at("set the mode of", path)
}

fn mode(path: &Path) -> u32 {
    if path.starts_with("usr/lib/kiln") || path.starts_with("usr/bin") { 0o755 } else { 0o644 }
}

/// All files of the base, in the order of their paths.
fn files() -> Vec<&'static File<'static>> {
    fn walk(dir: &'static Dir<'static>, into: &mut Vec<&'static File<'static>>) {
        into.extend(dir.files());
        dir.dirs().for_each(|dir| walk(dir, into));
    }
    let mut files = Vec::new();
    walk(&FILES, &mut files);
    files.sort_unstable_by_key(|file| file.path());
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &str) -> &'static str {
        FILES.get_file(path).and_then(File::contents_utf8).expect("a file of the base")
    }

    #[test]
    fn fstab_and_kernel_name_the_partition_that_the_disk_has() {
        assert!(text("etc/fstab").contains(&format!("PARTUUID={} / ext4", ids::ROOT_GUID)));
        assert!(text("boot/grub/grub.cfg").contains(&format!("root_guid={}", ids::ROOT_GUID)));
    }

    #[test]
    fn a_kernel_without_the_drivers_gets_its_initrd_on_every_machine() {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let tree = dir.path();
        fs::create_dir(tree.join("boot")).expect("a folder");
        for name in ["vmlinuz", "initrd.img"] {
            std::os::unix::fs::symlink(format!("boot/{name}-6.1"), tree.join(name)).expect("a link");
        }
        let told = Kernel::of(tree).expect_err("links that lead nowhere").to_string();
        assert!(told.contains("'/vmlinuz'"), "{told}");
        for name in ["vmlinuz-6.1", "initrd.img-6.1"] {
            fs::write(tree.join("boot").join(name), "").expect("a file");
        }
        for (config, kernel, condition) in [
            ("CONFIG_BLK_DEV_NVME=m\nCONFIG_EXT4_FS=m\n", Kernel::Initrd, EVERY),
            ("CONFIG_BLK_DEV_NVME=y\nCONFIG_EXT4_FS=y\n", Kernel::Alone, XEN_ALONE),
        ] {
            fs::write(tree.join("boot/config-6.1"), config).expect("a file");
            assert_eq!(Kernel::of(tree).expect("the links lead somewhere"), kernel, "{config}");
            lay(tree, kernel).expect("the files are laid");
            let grub = fs::read_to_string(tree.join("boot/grub/grub.cfg")).expect("a file");
            assert_eq!(grub.matches(condition).count(), 1, "{grub}");
        }
    }

    #[test]
    fn no_file_gets_out_of_the_root_by_a_link() {
        let (dir, outside) =
            (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("another"));
        std::os::unix::fs::symlink(outside.path(), dir.path().join("etc")).expect("a link");
        let told = lay(dir.path(), Kernel::Alone).expect_err("it leads out").to_string();
        assert_eq!(told, "'/etc' of the root is a link that leads out of it");
        assert_eq!(fs::read_dir(outside.path()).expect("it lists").count(), 0);
    }

    #[test]
    fn the_key_follows_what_is_built_and_not_where_from() {
        let deb = |sha256: &str| Deb {
            name: "jq".into(),
            version: "1.6".into(),
            arch: "amd64".into(),
            sha256: sha256.into(),
            size: 1,
            file: "debian/pool/jq.deb".into(),
        };
        let suite = Suite::find("debian-12").expect("the default");
        let spec = BaseSpec::new(suite, vec![deb("aa")]);
        let mut elsewhere = spec.clone();
        elsewhere.mirror.debian = "http://mirror.example/debian".to_owned();
        elsewhere.since = Some("20261122T124300Z".to_owned());
        assert_eq!(spec.key(), elsewhere.key());
        assert_ne!(spec.key(), BaseSpec::new(suite, vec![deb("bb")]).key());
        assert_ne!(spec.key(), BaseSpec::new(suite, vec![]).key());
    }
}
