//! Everything that determines an image but its base: collected once, hashed part by part.
//!
//! ```text
//! recipe · manifest · templates as rendered · agent
//! per service: sources, lock files, Node.js, assets of earlier releases ──▶ app digest ┐
//! base root, by content ───────────────────────────────────────────────────────────────┴▶ digest
//! ```

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use kiln_image::suite::SUITES;
use kiln_image::{Os, Suite};
use serde::{Deserialize, Serialize};

use crate::carried::Carried;
use crate::frontend::{self, Node};
use crate::hardening;
use crate::lockfile::Lockfile;
use crate::manifest::{Backend, Manifest, Service};
use crate::sources::{self, Source};
use crate::store::Store;
use crate::template::{self, Rendered, View};
use crate::{uv, venv};

/// Raised whenever Kiln does something else with the same inputs.
const RECIPE: u32 = 5;

/// The inputs of one image.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// Per service, in the manifest's order.
    pub services: Vec<ServiceInputs>,
    /// The rendered templates.
    pub files: Vec<Rendered>,
    /// The `kiln-agent` that goes onto the image.
    pub agent: PathBuf,
    /// What the root is that the app goes onto.
    pub os: &'static Os,
    /// What builds frontends; `None` if there are none.
    pub node: Option<Node>,
    /// Named hashes, for the receipt and for "what changed".
    pub parts: Vec<Part>,
    /// The hash of all parts.
    pub app: String,
}

/// The inputs of one service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServiceInputs {
    /// Names the folder under `releases/`.
    pub release: String,
    /// Of the backend: its files, and the hash that names the venv.
    pub backend: Option<(Vec<Source>, String)>,
    /// Of the frontend: its files, and its cache key.
    pub frontend: Option<(Vec<Source>, String)>,
    /// Assets of earlier releases that come along.
    #[serde(skip)]
    pub carried: Option<Carried>,
}

/// One named hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// `recipe`, `manifest`, `templates`, `agent`, `shop/backend` …
    pub part: String,
    /// In hex.
    pub sha256: String,
}

impl Inputs {
    /// Reads the app and the agent; `lock` where the base is to be Kiln's own.
    ///
    /// # Errors
    /// A source cannot be read; Node.js is needed and missing.
    pub fn collect(
        manifest: &Manifest,
        agent: &Path,
        lock: Option<&Lockfile>,
        os: &'static Os,
    ) -> anyhow::Result<Self> {
        let mut parts = vec![recipe(), manifest_part(manifest)?];
        parts.extend(lock.map(|lock| Part { part: "lock".into(), sha256: lock.sha256() }));
        let has_frontend = manifest.services.iter().any(|service| service.frontend.is_some());
        let node = if has_frontend { Some(Node::find()?) } else { None };
        let mut services = Vec::new();
        for service in &manifest.services {
            services.push(service_inputs(manifest, service, node.as_ref(), &mut parts)?);
        }
        let files = rendered(manifest, &services, os)?;
        parts.push(Part { part: "templates".into(), sha256: hash_files(&files) });
        let sha256 = sources::hash_file(agent).context("failed to hash kiln-agent")?;
        parts.push(Part { part: "agent".into(), sha256 });
        let app = combine(&parts);
        Ok(Self { services, files, agent: agent.to_owned(), os, node, parts, app })
    }

    /// The image's digest over a base whose tar has the hash `base`.
    pub fn digest(&self, base: &str) -> String {
        sources::hash_bytes(format!("image\0{base}\0{}", self.app))
    }

    /// The digest of an image that an instance of the AMI `base` becomes: what is in an AMI never changes.
    pub fn digest_on(&self, base: &str) -> String {
        sources::hash_bytes(format!("instance\0{base}\0{}", self.app))
    }
}

/// Every file that Kiln itself lays over a root, sorted.
///
/// # Errors
/// A fault of a template.
pub fn rendered(
    manifest: &Manifest,
    services: &[ServiceInputs],
    os: &'static Os,
) -> anyhow::Result<Vec<Rendered>> {
    let releases: Vec<String> = services.iter().map(|service| service.release.clone()).collect();
    let mut files = template::image(&View::new(manifest, &releases, os))?;
    files.extend(hardening::files(&manifest.image));
    for file in &mut files {
        file.path = os.place(&file.path).to_owned();
    }
    files.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(files)
}

/// What the manifest's base is.
pub fn os_of(manifest: &Manifest) -> &'static Os {
    // Any Debian will do for a root that is none of Kiln's own: its build refuses what is none.
    Os::of_suite(Suite::find(&manifest.image.base).unwrap_or(&SUITES[0]))
}

fn recipe() -> Part {
    let recipe = format!("{RECIPE}\0{}\0{}", env!("CARGO_PKG_VERSION"), uv::VERSION);
    Part { part: "recipe".into(), sha256: sources::hash_bytes(recipe) }
}

/// The manifest by meaning: comments, order of keys, and where the app lies do not count.
fn manifest_part(manifest: &Manifest) -> anyhow::Result<Part> {
    let counted = serde_json::to_vec(&(&manifest.image, &manifest.services, &manifest.expect));
    let counted = counted.context("failed to write the manifest as JSON")?;
    Ok(Part { part: "manifest".into(), sha256: sources::hash_bytes(counted) })
}

fn service_inputs(
    manifest: &Manifest,
    service: &Service,
    node: Option<&Node>,
    parts: &mut Vec<Part>,
) -> anyhow::Result<ServiceInputs> {
    let app = &manifest.dir;
    let first = parts.len();
    let mut backend_inputs = None;
    if let Some(backend) = &service.backend {
        let found = of_backend(app, backend)?;
        let sha256 = sources::hash(&app.join(&backend.dir), &found)?;
        parts.push(Part { part: format!("{}/backend", service.name), sha256 });
        let lock = app.join(backend.lock());
        let lock = std::fs::read(&lock).with_context(|| format!("failed to read {}", lock.display()))?;
        let lock_hash = venv::lock_hash(&manifest.image, &lock);
        parts.push(Part {
            part: format!("{}/requirements", service.name),
            sha256: sources::hash_bytes(&lock),
        });
        backend_inputs = Some((found, lock_hash));
    }
    let (mut frontend_inputs, mut carried) = (None, None);
    if let (Some(frontend), Some(node)) = (&service.frontend, node) {
        let found = sources::list(app, &frontend.dir, Some(&frontend.dist))?;
        let sha256 = sources::hash(&app.join(&frontend.dir), &found)?;
        let key = frontend::key(service, frontend, &sha256, node);
        parts.push(Part { part: format!("{}/frontend", service.name), sha256 });
        parts.push(Part {
            part: format!("{}/frontend-build", service.name),
            sha256: sources::hash_bytes(&key),
        });
        carried = Carried::find(&Store::of(app), &service.name, &key);
        parts.extend(carried.as_ref().map(|carried| Part {
            part: format!("{}/carried-assets", service.name),
            sha256: carried.sha256(),
        }));
        frontend_inputs = Some((found, key));
    }
    let release = combine(&parts[first..])[..12].to_owned();
    Ok(ServiceInputs { release, backend: backend_inputs, frontend: frontend_inputs, carried })
}

/// The files of a backend that go onto an instance.
///
/// # Errors
/// A folder cannot be read.
pub(crate) fn of_backend(app: &Path, backend: &Backend) -> anyhow::Result<Vec<Source>> {
    let mut found = sources::list(app, &backend.dir, None)?;
    found.retain(|source| ships(&source.path));
    Ok(found)
}

/// What of a backend's folder goes onto an instance: not its tests, nor what only a developer's machine needs.
fn ships(path: &Path) -> bool {
    let first = path.components().next().map(|first| first.as_os_str().to_string_lossy().into_owned());
    first.is_none_or(|first| {
        first != "tests" && !first.starts_with("requirements-dev") && !first.starts_with(".env")
    })
}

fn hash_files(files: &[Rendered]) -> String {
    let lines = files.iter().map(|file| {
        format!("{}\0{:o}\0{}\n", file.path.display(), file.mode, sources::hash_bytes(&file.content))
    });
    sources::hash_bytes(lines.collect::<String>())
}

fn combine(parts: &[Part]) -> String {
    let lines = parts.iter().map(|part| format!("{}\0{}\n", part.part, part.sha256));
    sources::hash_bytes(lines.collect::<String>())
}

/// Finds the agent that goes onto the image: the one named, or the one that was built or installed beside Kiln.
///
/// # Errors
/// There is none; says how to build it.
pub fn find_agent(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(named) = named {
        if named.is_file() {
            return named.canonicalize().with_context(|| format!("failed to resolve {}", named.display()));
        }
        return Err(crate::failure::Failure::Missing {
            what: format!("kiln-agent at '{}'", named.display()),
            remedy: build_agent().into(),
        }
        .into());
    }
    let kiln = std::env::current_exe().context("failed to find where kiln itself is")?;
    let beside = kiln.parent().unwrap_or(Path::new("/"));
    // In Cargo's target folder the shipped profile comes first: an image carries the small one.
    let candidates =
        ["../shipped/kiln-agent", "kiln-agent", "../lib/kiln/kiln-agent"].map(|path| beside.join(path));
    let found = candidates.iter().find(|path| path.is_file());
    let missing =
        || crate::failure::Failure::Missing { what: "kiln-agent".into(), remedy: build_agent().into() };
    let found = found.ok_or_else(missing)?;
    found.canonicalize().with_context(|| format!("failed to resolve {}", found.display()))
}

fn build_agent() -> &'static str {
    "build it with 'cargo build --profile shipped -p kiln-agent', or name one with --agent or KILN_AGENT"
}

#[cfg(test)]
mod tests {
    use kiln_image::os::KNOWN;

    use super::*;

    const SHOP: &str =
        "[image]\nname = \"shop\"\n[[service]]\nname = \"shop\"\npath = \"/\"\nfrontend = \"web\"\n";

    #[test]
    fn chrony_is_told_the_time_where_each_system_has_it_look() {
        let (manifest, _) = Manifest::parse(SHOP, Path::new("/app")).expect("the manifest is valid");
        let shop = ServiceInputs { release: "0".repeat(12), backend: None, frontend: None, carried: None };
        for os in &KNOWN {
            let files = rendered(&manifest, std::slice::from_ref(&shop), os).expect("every template renders");
            let expected = match os.name {
                "Amazon Linux 2023" => "etc/chrony.conf",
                _ => "etc/chrony/chrony.conf",
            };
            let found: Vec<_> = files.iter().filter(|file| file.path.ends_with("chrony.conf")).collect();
            assert_eq!(found.len(), 1, "{}", os.name);
            assert_eq!(found[0].path, Path::new(expected), "{}", os.name);
            assert!(String::from_utf8_lossy(&found[0].content).contains("server 169.254.169.123 "));
        }
    }
}
