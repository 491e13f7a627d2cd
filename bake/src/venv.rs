//! The Python side of a service: a venv at its final path, hash-locked, compiled, cached.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use kiln_image::Progress as _;

use crate::bench::Bench;
use crate::manifest::{Backend, Image, Service};
use crate::report::{Outcome, Step};
use crate::sandbox::Sandbox;
use crate::{sources, uv};

/// Names the venv's folder: the lock file's content, and what else decides the venv's.
pub fn lock_hash(image: &Image, lock: &[u8]) -> String {
    let lock = sources::hash_bytes(lock);
    sources::hash_bytes(format!("venv 1\0{}\0{}\0{lock}", image.base, uv::VERSION))[..12].to_owned()
}

/// `/srv/<service>/venvs/<lock hash>`: scripts in a venv hold its path, so it is made where it will be.
pub fn place(service: &Service, lock_hash: &str) -> PathBuf {
    Path::new("/srv").join(&service.name).join("venvs").join(lock_hash)
}

/// The venv of that lock file in the cache, for whichever Python of the base.
pub fn cached(cache: &Path, service: &Service, lock_hash: &str) -> Option<PathBuf> {
    let start = format!("{}-{lock_hash}-py", service.name);
    let entries = std::fs::read_dir(cache.join("venvs")).ok()?.flatten();
    let mut found = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&start));
    found.next().map(|entry| entry.path())
}

/// A root and the interpreter in it that will run the venv.
#[derive(Debug, Clone, Copy)]
pub struct Python<'a> {
    /// The root.
    pub root: &'a Path,
    /// A path in it, absolute.
    pub program: &'a str,
}

/// The venv as a folder of the host's cache.
///
/// # Errors
/// A requirement is not on the index with the locked hash, or has no wheel.
pub fn build(
    bench: &Bench,
    python: Python<'_>,
    app: &Path,
    service: &Service,
    backend: &Backend,
    lock_hash: &str,
    progress: &Step<'_>,
) -> anyhow::Result<(PathBuf, Outcome)> {
    let Python { root, program } = python;
    let version = Sandbox::root_read_only(root)
        .run(bench, &[program, "-c", "import platform; print(platform.python_version())"])
        .with_context(|| format!("failed to run the root's {program}"))?
        .pop()
        .unwrap_or_default();
    let key = format!("{}-{lock_hash}-py{version}", service.name);
    let target = bench.cache.join("venvs").join(&key);
    if target.is_dir() {
        return Ok((target.join(lock_hash), Outcome::Cached));
    }
    progress.message(&format!("{}: installing {}", service.name, backend.lock().display()));
    let uv = uv::ensure(bench, python)?;
    let wheels = bench.cache_dir("uv-cache")?;
    let place = place(service, lock_hash);
    let parent = place.parent().unwrap_or(&place);
    let inside = place.join("bin/python");
    bench
        .entry("venvs", &key, |dir| {
            let sandbox = Sandbox::root_read_only(root)
                .tmpfs("/srv")
                .bind(dir, parent)
                .bind_ro(&uv, Path::new("/tmp/bin/uv"))
                .bind(&wheels, Path::new("/tmp/uv-cache"))
                .bind_ro(&app.join(backend.lock()), Path::new("/tmp/requirements.txt"))
                .env("UV_CACHE_DIR", "/tmp/uv-cache")
                // The cache is on another file system than the venv, and is not shipped.
                .env("UV_LINK_MODE", "copy")
                .env("UV_NO_CONFIG", "1")
                .env("UV_NO_PROGRESS", "1")
                .env("UV_PYTHON_DOWNLOADS", "never");
            let place = place.to_string_lossy();
            let inside = inside.to_string_lossy();
            sandbox.run(bench, &["/tmp/bin/uv", "venv", "--python", program, "--no-project", &place])?;
            let install =
                ["/tmp/bin/uv", "pip", "install", "--python", &inside, "--require-hashes", "--only-binary"];
            let requirements = [":all:", "-r", "/tmp/requirements.txt"];
            sandbox.clone().network(root).run(bench, &[&install[..], &requirements[..]].concat())?;
            compile(bench, &sandbox, &inside, &[&format!("{place}/lib")])
        })
        .with_context(|| format!("failed to make the venv of service '{}'", service.name))?;
    Ok((target.join(lock_hash), Outcome::Built))
}

/// Bytecode beside each module. Unchecked hashes: the default embeds modification times, and a read-only tree
/// must never be tempted to write its own.
///
/// # Errors
/// A file cannot be compiled or written.
pub fn compile(bench: &Bench, sandbox: &Sandbox, python: &str, paths: &[&str]) -> anyhow::Result<()> {
    let command = [python, "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash"];
    sandbox.run(bench, &[&command[..], paths].concat()).context("failed to compile bytecode")?;
    Ok(())
}
