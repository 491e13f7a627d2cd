//! One service's release in a root.
//!
//! ```text
//! /srv/<service>/venvs/<lock hash>/
//!               /releases/<release>/{src, web, venv -> ../../venvs/<lock hash>}
//!               /current -> releases/<release>
//! ```

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::bench::Bench;
use crate::inputs::ServiceInputs;
use crate::manifest::{Manifest, Service};
use crate::sandbox::Sandbox;
use crate::{precompress, sources, venv};

/// What was built for a service, as folders of the host's cache.
#[derive(Debug, Clone, Default)]
pub struct Built {
    /// The venv.
    pub venv: Option<PathBuf>,
    /// The frontend's output.
    pub web: Option<PathBuf>,
}

impl Built {
    /// Of each service its frontend and its venv.
    pub fn each(webs: Vec<Option<PathBuf>>, venvs: Vec<Option<PathBuf>>) -> Vec<Self> {
        webs.into_iter().zip(venvs).map(|(web, venv)| Self { venv, web }).collect()
    }
}

/// Lays the release into `root`; one that is already there is made anew.
///
/// # Errors
/// Files cannot be read or written; a source file does not compile.
pub fn install(
    bench: &Bench,
    root: &Path,
    manifest: &Manifest,
    service: &Service,
    inputs: &ServiceInputs,
    built: &Built,
) -> anyhow::Result<()> {
    let home = root.join("srv").join(&service.name);
    let release = home.join("releases").join(&inputs.release);
    remove(&release)?;
    fs::create_dir_all(&release).with_context(|| format!("failed to create {}", release.display()))?;
    if let (Some(backend), Some((found, lock_hash)), Some(cached)) =
        (&service.backend, &inputs.backend, &built.venv)
    {
        let place = venv::place(service, lock_hash);
        let venv = root.join(place.strip_prefix("/").unwrap_or(&place));
        remove(&venv)?;
        copy_tree(cached, &venv)?;
        sources::copy(&manifest.dir.join(&backend.dir), found, &release.join("src"))?;
        let python = place.join("bin/python");
        let source = format!("/srv/{}/releases/{}/src", service.name, inputs.release);
        venv::compile(bench, &Sandbox::root(root), &python.to_string_lossy(), &[&source])?;
        for folder in backend.statics.values() {
            precompress::folder(&release.join("src").join(folder))?;
        }
        link(&format!("../../venvs/{lock_hash}"), &release.join("venv"))?;
    }
    if let Some(web) = &built.web {
        let target = release.join("web");
        if let Some(url) = hidden(service, web) {
            bail!(
                "the frontend of service '{}' has files at '{url}', where 'static' in kiln.toml would hide them: take another URL",
                service.name
            );
        }
        sources::copy(web, &sources::everything(web)?, &target)?;
        if let Some(carried) = &inputs.carried {
            carried.add_to(&target).context("failed to carry along assets of the release before")?;
        }
    }
    open_to_all(&home)?;
    link(&format!("releases/{}", inputs.release), &home.join("current"))
}

/// A folder of the frontend's that nobody would see, since nginx has one of the backend's at its URL.
fn hidden<'a>(service: &'a Service, web: &Path) -> Option<&'a str> {
    let mut urls = service.backend.iter().flat_map(|backend| backend.statics.keys());
    urls.find(|url| web.join(url.trim_matches('/')).exists()).map(String::as_str)
}

/// Points `at` to `target` in one rename: a reader sees the old release or the new one.
fn link(target: &str, at: &Path) -> anyhow::Result<()> {
    let new = at.with_extension("new");
    let put = || {
        let _ = fs::remove_file(&new);
        symlink(target, &new)?;
        fs::rename(&new, at)
    };
    put().with_context(|| format!("failed to link {} to {target}", at.display()))
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

pub(crate) fn copy_tree(from: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.with_context(|| format!("failed to list {}", from.display()))?;
        let target = to.join(entry.path().strip_prefix(from).unwrap_or(entry.path()));
        let put = || -> std::io::Result<()> {
            let kind = entry.file_type();
            if kind.is_dir() {
                fs::create_dir_all(&target)
            } else if kind.is_symlink() {
                symlink(fs::read_link(entry.path())?, &target)
            } else {
                fs::copy(entry.path(), &target).map(|_| ())
            }
        };
        put()
            .with_context(|| format!("failed to copy {} to {}", entry.path().display(), target.display()))?;
    }
    Ok(())
}

/// Everything root's, readable by everybody, writable by nobody else, whatever the umask was.
fn open_to_all(home: &Path) -> anyhow::Result<()> {
    for entry in walkdir::WalkDir::new(home) {
        let entry = entry.with_context(|| format!("failed to list {}", home.display()))?;
        if entry.file_type().is_symlink() {
            continue;
        }
        let put = || -> std::io::Result<()> {
            let mode = entry.metadata().map_err(std::io::Error::from)?.permissions().mode();
            let wanted = if entry.file_type().is_dir() || mode & 0o100 != 0 { 0o755 } else { 0o644 };
            if mode & 0o7777 == wanted {
                Ok(())
            } else {
                fs::set_permissions(entry.path(), fs::Permissions::from_mode(wanted))
            }
        };
        put().with_context(|| format!("failed to set the mode of {}", entry.path().display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_the_frontend_that_a_static_one_would_hide_is_found() {
        let text = "[image]\nname = \"shop\"\n[[service]]\nname = \"shop\"\npath = \"/\"\nbackend = \"b\"\nwsgi = \"b:app\"\nfrontend = \"f\"\nstatic = { \"/brand/\" = \"a\", \"/static/js/\" = \"b\" }\n";
        let (manifest, _) = Manifest::parse(text, Path::new("/app")).expect("it is valid");
        let web = tempfile::tempdir().expect("a scratch folder");
        fs::create_dir(web.path().join("static")).expect("a folder");
        assert_eq!(hidden(&manifest.services[0], web.path()), None);
        fs::create_dir(web.path().join("static/js")).expect("a folder");
        assert_eq!(hidden(&manifest.services[0], web.path()), Some("/static/js/"));
    }
}
