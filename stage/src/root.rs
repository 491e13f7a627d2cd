//! An instance's root: a folder of its own, or an overlay over one that many share.
//!
//! An overlay keeps what is written in memory, in the mount namespace of this process: both go with it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Where an instance's root comes from.
#[derive(Debug, Clone)]
pub enum Root {
    /// This very folder, extracted, owned by root: the boot writes to it.
    Own(PathBuf),
    /// This folder, left as it is: each instance gets an overlay over it.
    Shared(PathBuf),
}

/// A file that is put into the root before the first boot.
#[derive(Debug, Clone)]
pub struct Prop {
    /// The absolute path in the instance.
    pub path: PathBuf,
    /// What stands in it.
    pub content: String,
    /// Whether it is a program.
    pub executable: bool,
}

impl Prop {
    /// A file to read.
    pub fn file(path: impl Into<PathBuf>, content: impl Into<String>) -> Self {
        Self { path: path.into(), content: content.into(), executable: false }
    }

    /// A program.
    pub fn program(path: impl Into<PathBuf>, content: impl Into<String>) -> Self {
        Self { path: path.into(), content: content.into(), executable: true }
    }
}

/// The root of one instance, ready to boot.
#[derive(Debug)]
pub(crate) struct Mounted {
    path: PathBuf,
    /// Lower folder and the instance's own folder.
    overlay: Option<(PathBuf, PathBuf)>,
    props: Vec<Prop>,
}

impl Mounted {
    /// Makes it, with `props` in it; what belongs to an overlay goes below `folder`, which exists.
    pub(crate) fn make(root: &Root, folder: &Path, props: &[Prop]) -> Result<Self> {
        let mounted = match root {
            Root::Own(path) => Self { path: path.clone(), overlay: None, props: props.to_vec() },
            Root::Shared(lower) => {
                let mounted = Self {
                    path: folder.join("root"),
                    overlay: Some((lower.clone(), folder.to_owned())),
                    props: props.to_vec(),
                };
                mounted.lay()?;
                mounted
            }
        };
        mounted.dress()?;
        Ok(mounted)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A fresh root in place of the old one, as from a new volume. The instance has to be off.
    pub(crate) fn renew(&self) -> Result<()> {
        let Some((_, folder)) = &self.overlay else { bail!("only a shared root can be made anew") };
        umount2(&self.path, MntFlags::MNT_DETACH).context("failed to unmount the old root")?;
        umount2(&folder.join("own"), MntFlags::MNT_DETACH).context("failed to drop the old root")?;
        self.lay()?;
        self.dress()
    }

    fn lay(&self) -> Result<()> {
        let Some((lower, folder)) = &self.overlay else { return Ok(()) };
        let own = folder.join("own");
        for path in [&own, &self.path] {
            fs::create_dir_all(path).with_context(|| format!("failed to make {}", path.display()))?;
        }
        mount(Some("tmpfs"), &own, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
            .with_context(|| format!("failed to mount a tmpfs on {}", own.display()))?;
        let (upper, work) = (own.join("upper"), own.join("work"));
        for path in [&upper, &work] {
            fs::create_dir(path).with_context(|| format!("failed to make {}", path.display()))?;
        }
        let options =
            format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
        mount(Some("overlay"), &self.path, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
            .with_context(|| format!("failed to mount an overlay over {}", lower.display()))
    }

    fn dress(&self) -> Result<()> {
        for prop in &self.props {
            let path = self.path.join(prop.path.strip_prefix("/").unwrap_or(&prop.path));
            let what = || format!("failed to write {}", path.display());
            fs::create_dir_all(path.parent().context("a file without a folder")?).with_context(what)?;
            fs::write(&path, &prop.content).with_context(what)?;
            let mode = if prop.executable { 0o755 } else { 0o644 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).with_context(what)?;
        }
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some((_, folder)) = &self.overlay {
            // The namespace takes along what is still busy.
            let _ = umount2(&self.path, MntFlags::MNT_DETACH);
            let _ = umount2(&folder.join("own"), MntFlags::MNT_DETACH);
        }
    }
}
