//! `kiln.toml`: what to bake, checked.
//!
//! ```text
//! text ── file.rs (serde) ──▶ ManifestFile ── rules.rs (pure) ──▶ Manifest ── sources.rs (reads the app) ──▶ checked
//!             │                                   │                                  │
//!             └──────────────── Complaint: file:line:column, the line, a caret ──────┘
//! ```

mod builder;
mod complaint;
mod file;
mod manager;
mod publish;
mod rules;
mod sources;
mod statics;
mod tls;
mod userdata;
mod workers;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use crate::failure::Failure;

pub use builder::Builder;
pub use complaint::{Complaint, Complaints};
pub use manager::Manager;
pub use publish::Publish;
pub use tls::Tls;
pub use userdata::UserData;
pub use workers::Workers;

/// The manifest's file name.
pub const FILE: &str = "kiln.toml";

/// A checked manifest. Every path is relative to [`Self::dir`].
#[derive(Debug, Clone, Serialize)]
pub struct Manifest {
    /// The folder that holds `kiln.toml`: the app's repository.
    pub dir: PathBuf,
    /// What the image is.
    pub image: Image,
    /// The apps on it, in the manifest's order; at least one.
    pub services: Vec<Service>,
    /// `[aws] region`; the AWS environment decides where it is absent.
    pub region: Option<String>,
    /// What the image may hold besides Kiln's own.
    pub expect: Expect,
    /// What becomes of the image in AWS; not part of it.
    pub publish: Publish,
    /// The instance that `kiln bake --on instance` bakes on.
    pub builder: Option<Builder>,
    /// What a rehearsal asks for; not part of the image.
    pub rehearse: Rehearse,
    /// What instances are given at launch; not part of the image.
    pub userdata: UserData,
}

/// `[image]`.
#[derive(Debug, Clone, Serialize)]
pub struct Image {
    /// First part of the AMI's name.
    pub name: String,
    /// The base root: `debian-12`, `debian-13`, or the path of a root that another made.
    pub base: String,
    /// Debian packages over those of the base, sorted.
    pub packages: Vec<String>,
    /// The disk's size in GiB; EBS counts whole ones.
    pub size_gib: u32,
    /// Who runs the user data where the base has cloud-init: `take-over` or `wait`, as in `agent.toml`.
    pub cloud_init: String,
    /// Items of `crate::hardening` that are turned off, sorted.
    pub unhardened: Vec<String>,
    /// Certificates of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// `[[service]]`: one deployable web app.
#[derive(Debug, Clone, Serialize)]
pub struct Service {
    /// Names the user, the socket, the folder under `/srv`.
    pub name: String,
    /// `/` or `/movies/`: where it is reached.
    pub path: String,
    /// The Python side.
    pub backend: Option<Backend>,
    /// The built side.
    pub frontend: Option<Frontend>,
    /// Answers 200 when this service can serve; under `path`.
    pub health: Option<String>,
}

/// `[expect]`: what a package or the app brings on purpose; anything else of its kind fails the bake.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Expect {
    /// SUID and SGID files, absolute.
    pub set_id: Vec<String>,
    /// Files and folders that everybody may write, absolute.
    pub world_writable: Vec<String>,
    /// Addresses as the configuration writes them: `8080`, `127.0.0.1:5432`.
    pub ports: Vec<String>,
    /// Enabled units.
    pub units: Vec<String>,
    /// Users with a shell.
    pub shells: Vec<String>,
    /// What looks like a secret and is none.
    pub secrets: Vec<ExpectedSecret>,
}

/// A finding of the secrets scan that is no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExpectedSecret {
    /// The rule's id.
    pub rule: String,
    /// Absolute: a file, or everything below a folder that ends in `/`.
    pub path: String,
}

impl ExpectedSecret {
    /// Whether this is about a finding of `rule` in `path`.
    pub fn covers(&self, rule: &str, path: &str) -> bool {
        let below = self.path.ends_with('/') && path.starts_with(&self.path);
        self.rule == rule && (below || self.path == path)
    }
}

/// `[rehearse]`: URL paths as users see them.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Rehearse {
    /// Loaded in turn beside those that Kiln knows itself; each has to answer 200.
    pub paths: Vec<String>,
    /// A route that streams its answer over some seconds, to be in flight when the notice comes.
    pub stream: Option<String>,
    /// How a whole answer of that route ends.
    pub stream_ends: Option<String>,
}

/// A WSGI app in a folder with `requirements.txt`.
#[derive(Debug, Clone, Serialize)]
pub struct Backend {
    /// The folder.
    pub dir: PathBuf,
    /// `module:callable` or `module:factory()`, as gunicorn takes it.
    pub wsgi: String,
    /// What gunicorn runs it with.
    #[serde(skip_serializing_if = "Workers::is_default")]
    pub workers: Workers,
    /// Folders below `dir` that nginx serves by itself, by their URLs below the service's path: `/static/`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub statics: BTreeMap<String, PathBuf>,
}

/// A frontend in a folder with a lock file of npm, pnpm or Yarn.
#[derive(Debug, Clone, Serialize)]
pub struct Frontend {
    /// The folder.
    pub dir: PathBuf,
    /// The shell command that builds it.
    pub build: String,
    /// What the build writes, relative to the folder.
    pub dist: PathBuf,
    /// What installs its packages.
    pub manager: Manager,
}

impl Backend {
    /// The lock file: every requirement pinned with its hashes.
    pub fn lock(&self) -> PathBuf {
        self.dir.join("requirements.txt")
    }
}

impl Frontend {
    /// The lock file, which is installed as it is.
    pub fn lock(&self) -> PathBuf {
        self.dir.join(self.manager.lock())
    }
}

impl Manifest {
    /// Reads and checks the manifest of `dir` and the files that it names. No network.
    ///
    /// # Errors
    /// [`Failure::Manifest`] with every complaint found, each with its place.
    pub fn load(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(FILE);
        let text = std::fs::read_to_string(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::Manifest(Complaints::whole_file(
                &path,
                "there is no manifest here: make a starter with 'kiln init DIR', or name the app's folder with -C",
            ))
            .into(),
            _ => anyhow::Error::new(error).context(format!("failed to read {}", path.display())),
        })?;
        let dir = dir.canonicalize().with_context(|| format!("failed to resolve {}", dir.display()))?;
        let (mut manifest, places) = Self::parse(&text, &dir)?;
        for frontend in manifest.services.iter_mut().filter_map(|service| service.frontend.as_mut()) {
            frontend.manager = Manager::of(&dir.join(&frontend.dir));
        }
        sources::check(&manifest, &places, &text).map_err(Failure::Manifest)?;
        if let Err(refused) = manifest.userdata.compose(&dir) {
            manifest.userdata.explain(&refused, &text, &places).into_result().map_err(Failure::Manifest)?;
        }
        Ok(manifest)
    }

    /// Checks the text alone; reads nothing.
    ///
    /// # Errors
    /// [`Failure::Manifest`].
    pub fn parse(text: &str, dir: &Path) -> Result<(Self, Places), Failure> {
        let file = file::parse(text).map_err(Failure::Manifest)?;
        rules::check(file, text, dir).map_err(Failure::Manifest)
    }
}

/// Where in the text the paths of each service stand, for complaints about the files they name.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// Byte range of the image's `base`.
    pub base: std::ops::Range<usize>,
    /// Byte ranges of `backend`, by service.
    pub backend: Vec<std::ops::Range<usize>>,
    /// Byte ranges of `worker_class`, by service.
    pub worker_class: Vec<std::ops::Range<usize>>,
    /// Byte ranges of the folders of `static`, by service, in the order of their URLs.
    pub statics: Vec<Vec<std::ops::Range<usize>>>,
    /// Byte ranges of `frontend`, by service.
    pub frontend: Vec<std::ops::Range<usize>>,
    /// Byte range of `[userdata]`.
    pub userdata: std::ops::Range<usize>,
    /// Byte ranges of its `parts`.
    pub parts: Vec<std::ops::Range<usize>>,
}
