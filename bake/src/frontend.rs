//! The built side of a service: what its lock file names and the build command, in a scratch folder outside the image, cached.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use kiln_image::Progress as _;
use serde::{Deserialize, Serialize};

use crate::bench::Bench;
use crate::failure::Failure;
use crate::host;
use crate::manifest::{Frontend, Service};
use crate::precompress;
use crate::report::{Outcome, Step};
use crate::sandbox::{CommandFailed, Sandbox};
use crate::sources::{self, Source};

/// Where a frontend is built; a constant, since bundlers write paths into their output.
const PLACE: &str = "/tmp/build";
/// Where a pinned npm, pnpm or Yarn is installed, and keeps what it downloads between the installation and the build.
const MANAGER: &str = "/tmp/manager";

/// The Node.js of this machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Node {
    /// `v22.12.0`.
    pub version: String,
    bin: PathBuf,
}

impl Node {
    /// Finds node and npm on the `PATH`.
    ///
    /// # Errors
    /// [`Failure::Missing`].
    pub fn find() -> anyhow::Result<Self> {
        let missing = |what: &str| Failure::Missing { what: format!("'{what}'"), remedy: remedy() };
        let node = host::find("node").ok_or_else(|| missing("node"))?;
        host::find("npm").ok_or_else(|| missing("npm"))?;
        let output = std::process::Command::new(&node).arg("--version").output();
        let output = output.with_context(|| format!("failed to run {} --version", node.display()))?;
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let bin = node.parent().unwrap_or(&node).to_owned();
        Ok(Self { version, bin })
    }

    /// A sandbox in which it runs; an installation outside `/usr` (nvm, for example) is shown where it is.
    fn sandbox(&self) -> Sandbox {
        let sandbox = Sandbox::host();
        let real = self.bin.join("node").canonicalize().unwrap_or_else(|_| self.bin.join("node"));
        match real.parent().and_then(Path::parent).filter(|prefix| !prefix.starts_with("/usr")) {
            Some(prefix) => sandbox.bind_ro(prefix, prefix).env("PATH", path(&prefix.join("bin"))),
            None => sandbox.env("PATH", path(&self.bin)),
        }
    }
}

/// Where programs are looked for: a package manager that was installed for the build first.
fn path(node: &Path) -> String {
    format!("{MANAGER}/node_modules/.bin:{}:/usr/bin:/bin", node.display())
}

fn remedy() -> String {
    "install Node.js 20.19 or newer with npm (Debian 12's own is older), see https://nodejs.org/en/download"
        .to_owned()
}

/// Decides whether a build can be taken from the cache: sources and lock file, the command, and what runs it.
pub fn key(service: &Service, frontend: &Frontend, sources_hash: &str, node: &Node) -> String {
    let Frontend { build, dist, .. } = frontend;
    let dist = dist.display();
    let parts = ["frontend 2", sources_hash, build, &dist.to_string(), &service.path, &node.version];
    sources::hash_bytes(parts.join("\0"))[..32].to_owned()
}

/// The files to serve, as a folder of the host's cache.
///
/// # Errors
/// npm or the build fails: [`CommandFailed`] with its last lines; Node.js is too old: [`Failure::Missing`].
pub fn build(
    bench: &Bench,
    app: &Path,
    service: &Service,
    frontend: &Frontend,
    (sources, key): &(Vec<Source>, String),
    node: &Node,
    progress: &Step<'_>,
) -> anyhow::Result<(PathBuf, Outcome)> {
    let target = bench.cache.join("web").join(key);
    if target.is_dir() {
        return Ok((target, Outcome::Cached));
    }
    let downloads = bench.cache_dir("npm")?;
    let builds = bench.cache_dir("build")?;
    remove_dead(&builds);
    let scratch = builds.join(format!("{key}.{}", std::process::id()));
    let scratch = bench.interrupt.scratch(&scratch).context("failed to make a scratch folder")?;
    let folder = scratch.path().join("app");
    sources::copy(&app.join(&frontend.dir), sources, &folder)?;
    let beside = scratch.path().join("manager");
    std::fs::create_dir(&beside).context("failed to make a scratch folder")?;
    let mut sandbox = node
        .sandbox()
        .bind(&folder, Path::new(PLACE))
        .bind(&beside, Path::new(MANAGER))
        .bind(&downloads, Path::new("/tmp/npm-cache"))
        .dir(Path::new(PLACE))
        .env("npm_config_cache", "/tmp/npm-cache")
        .env("npm_config_update_notifier", "false")
        .env("npm_config_color", "false")
        .env("npm_config_store_dir", format!("{MANAGER}/store"))
        .env("YARN_CACHE_FOLDER", format!("{MANAGER}/cache"))
        .env("YARN_GLOBAL_FOLDER", MANAGER)
        .env("YARN_ENABLE_TELEMETRY", "false")
        .env("NO_COLOR", "1")
        // The base under which the service's assets are reached; Vite's `base` in the starter.
        .env("BASE_PATH", &service.path);
    if let Some(home) = std::env::var_os("HOME") {
        sandbox = sandbox.bind_ro_try(&Path::new(&home).join(".npmrc"), Path::new("/tmp/.npmrc"));
    }
    let run = |sandbox: &Sandbox, shown: &str, command: &[&str]| {
        progress.message(&format!("{}: {shown}", service.name));
        let told = |error| too_old(crowded(error, &beside), node);
        sandbox.run(bench, command).map_err(told).with_context(|| {
            format!(
                "failed to build the frontend of service '{}' in {}",
                service.name,
                frontend.dir.display()
            )
        })
    };
    let online = sandbox.clone().network(Path::new("/"));
    let manager = frontend.manager;
    let package = manager.package(&app.join(&frontend.dir));
    if let Some(package) = &package {
        let get = ["npm", "install", "--prefix", MANAGER, "--no-save", "--no-audit", "--no-fund", package];
        run(&online, &format!("npm install {package}"), &get)?;
    }
    let install = manager.install(package.as_deref().unwrap_or(manager.name()));
    run(&online, &install[..2].join(" "), install)?;
    // No network: what the build uses is what the lock file names.
    run(&sandbox, &frontend.build, &["sh", "-c", &frontend.build])?;
    let dist = folder.join(&frontend.dist);
    if !dist.join("index.html").is_file() {
        let (build, dist) = (&frontend.build, frontend.dir.join(&frontend.dist));
        let error =
            anyhow!("'{build}' made no {}/index.html: name what it writes with 'dist'", dist.display());
        return Err(crowded(error, &beside));
    }
    let target = bench.entry("web", key, |dir| {
        let built = sources::everything(&dist)?;
        sources::copy(&dist, &built, dir)?;
        precompress::folder(dir)
    })?;
    Ok((target, Outcome::Built))
}

/// Removes what killed bakes left: the folders of processes that are no more.
fn remove_dead(builds: &Path) {
    for entry in std::fs::read_dir(builds).into_iter().flatten().flatten() {
        let id = entry.path().extension().map(|id| Path::new("/proc").join(id));
        if id.is_some_and(|process| !process.exists()) {
            // What cannot be removed now can be the next time.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// npm is content with files that it could not write whole; what fails afterwards fails for that.
fn crowded(error: anyhow::Error, at: &Path) -> anyhow::Error {
    /// A build that has less than this left has come to the end of the disk.
    const FEW: u64 = 8 << 20;
    match kiln_image::space::available(at) {
        Ok(free) if free < FEW => {
            error.context(format!("no space left on device: {} KiB are free", free >> 10))
        }
        _ => error,
    }
}

/// npm only warns of a Node.js that is too old; what fails afterwards fails for that.
fn too_old(error: anyhow::Error, node: &Node) -> anyhow::Error {
    let failed = error.downcast_ref::<CommandFailed>();
    let told = failed.is_some_and(|failed| failed.tail.iter().any(|line| line.contains("EBADENGINE")));
    if !told {
        return error;
    }
    let what = format!("a newer Node.js (this is {})", node.version);
    error.context(Failure::Missing { what, remedy: remedy() })
}
