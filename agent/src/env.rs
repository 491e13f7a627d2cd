//! The `[env]` of user data as the services' environment files: `/run/kiln/env/<service>.env`.
//!
//! ```text
//!  #kiln documents ─▶ plan (who gets what) ─▶ sources (literals, SSM, Secrets Manager) ─▶ file per service, 0600, on tmpfs
//!                                                                                             │
//!                              systemd reads it as root: EnvironmentFile=-/run/kiln/env/%i.env ◀┘
//! ```
//!
//! `/run` is empty after each boot, so this is done on each. Values are in memory and in those files alone: nothing here
//! logs one, shows one in `Debug`, or hands one to a process but the service's own.

mod file;
mod plan;
mod refresh;
mod secret;
mod sources;
#[cfg(test)]
mod tests;

pub use refresh::{Refreshed, compare, refresh};
pub use secret::Secret;
pub(crate) use sources::NAMES;

use crate::aws::Aws;
use crate::durable;
use kiln_userdata::{EnvValue, Leaf, UserData};
use plan::{Plan, Variables};
use sources::Values;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where the files lie under a root.
pub const FOLDER: &str = "run/kiln/env";
/// What names the image's services; `kiln` writes it.
const IMAGE: &str = "etc/kiln/image.json";

/// What was written.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The services that have a file now.
    pub services: Vec<String>,
    /// The variables of `[env]` itself, for who runs a `[[run]]`: commands see what every service sees.
    pub shared: Vec<(String, Secret)>,
}

/// The names of what the documents keep elsewhere, each once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sources<'a> {
    pub(crate) parameters: Vec<&'a str>,
    pub(crate) secrets: Vec<&'a str>,
}

/// What user data's `[env]` and `[service.<name>.env]` are read from; pure.
pub(crate) fn sources(data: &UserData) -> Sources<'_> {
    let documents = data.leaves().into_iter().filter_map(|(_, leaf)| match leaf {
        Leaf::Kiln(document) => Some(document),
        _ => None,
    });
    let mut sources = Sources::default();
    for document in documents {
        let own = document.service_env.iter().flat_map(|(_, variables)| variables);
        for (_, value) in document.env.iter().chain(own) {
            sources.add(value);
        }
    }
    sources
}

impl<'a> Sources<'a> {
    fn add(&mut self, value: &'a EnvValue) {
        let (list, name) = match value {
            EnvValue::Literal(_) => return,
            EnvValue::Ssm(name) => (&mut self.parameters, name.as_str()),
            EnvValue::Secret { id, .. } => (&mut self.secrets, id.as_str()),
        };
        if !list.contains(&name) {
            list.push(name);
        }
    }
}

/// Why the environment is not as the user data says; the files are then as they were.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image does not say what its services are.
    #[error(
        "failed to read '{}', which names the services that [env] is for: provision the image with kiln: {reason}",
        path.display()
    )]
    Image {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A `[service.<name>.env]` of no service.
    #[error("user data has [service.{name}.env], and the image's services are {known}")]
    UnknownService {
        /// The name.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// A source that is not read.
    #[error("failed to read variable '{variable}' from {origin}: {reason}")]
    Source {
        /// The variable.
        variable: String,
        /// Where it is kept.
        origin: String,
        /// Why not.
        reason: String,
    },
    /// A value that systemd would drop, and with it the whole file.
    #[error("variable '{variable}' holds {problem}, which no environment file can carry")]
    Value {
        /// The variable.
        variable: String,
        /// What it holds.
        problem: &'static str,
    },
    /// A file cannot be written.
    #[error("failed to write '{}': {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
}

/// Writes the environment of each service on the image, and takes away files that nothing asks for any more.
///
/// All or nothing: the first file is written when every value is known. Asks AWS for what is kept there and for nothing
/// else; sources that do not answer are asked again for a minute.
pub async fn write(root: &Path, data: &UserData, aws: &Aws) -> Result<Written, Error> {
    let rendered = Rendered::of(root, data, aws).await?;
    let folder = root.join(FOLDER);
    prepare(&folder, &rendered.files)?;
    for (service, text) in &rendered.files {
        put(&folder, service, text)?;
    }
    let services: Vec<String> = rendered.files.into_iter().map(|(service, _)| service).collect();
    if !services.is_empty() {
        tracing::info!(services = services.join(" "), "environment written");
    }
    Ok(Written { services, shared: rendered.shared })
}

/// What the files have to hold, by service.
struct Rendered {
    files: Vec<(String, Secret)>,
    shared: Variables<Secret>,
}

impl Rendered {
    async fn of(root: &Path, data: &UserData, aws: &Aws) -> Result<Self, Error> {
        let plan = Plan::new(data);
        let services = if plan.is_empty() { Vec::new() } else { services(root)? };
        plan.knows(&services)?;
        let values = Values::fetch(&plan, aws).await?;
        let known = plan.resolve(&services, |name, source| values.of(name, source))?;
        let files =
            known.services.into_iter().map(|(service, variables)| Ok((service, file::write(&variables)?)));
        Ok(Self { files: files.collect::<Result<_, Error>>()?, shared: known.shared })
    }
}

fn path(folder: &Path, service: &str) -> PathBuf {
    folder.join(format!("{service}.env"))
}

fn put(folder: &Path, service: &str, text: &Secret) -> Result<(), Error> {
    let path = path(folder, service);
    durable::write(&path, text.expose().as_bytes(), 0o600).map_err(|source| Error::File { path, source })
}

/// The names of the services on the image.
fn services(root: &Path) -> Result<Vec<String>, Error> {
    #[derive(serde::Deserialize)]
    struct Image {
        services: Vec<Named>,
    }
    #[derive(serde::Deserialize)]
    struct Named {
        name: String,
    }
    let path = root.join(IMAGE);
    let broken = |reason: String| Error::Image { path: path.clone(), reason };
    let text = std::fs::read(&path).map_err(|error| broken(error.to_string()))?;
    let image: Image = serde_json::from_slice(&text).map_err(|error| broken(error.to_string()))?;
    let names: Vec<String> = image.services.into_iter().map(|service| service.name).collect();
    // A name becomes a file's and a unit's.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    match names.iter().find(|name| name.is_empty() || !name.bytes().all(plain)) {
        Some(name) => Err(broken(format!("'{name}' is no name of a service"))),
        None => Ok(names),
    }
}

/// The folder, open to root alone, with none but the wanted files.
fn prepare(folder: &Path, wanted: &[(String, Secret)]) -> Result<(), Error> {
    if wanted.is_empty() && !folder.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::set_permissions(folder, PermissionsExt::from_mode(0o700)))
        .map_err(|source| Error::File { path: folder.to_owned(), source })?;
    for (_, path) in stale(folder, wanted) {
        std::fs::remove_file(&path).map_err(|source| Error::File { path, source })?;
    }
    Ok(())
}

/// Files of services that are not to have one, each with the service.
fn stale(folder: &Path, wanted: &[(String, Secret)]) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries
        .filter(|path| path.extension().is_some_and(|kind| kind == "env"))
        .filter_map(|path| Some((path.file_stem()?.to_str()?.to_owned(), path)))
        .filter(|(service, _)| !wanted.iter().any(|(name, _)| name == service))
        .collect()
}
