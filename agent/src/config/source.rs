//! Where a configuration is read from: one file, the fragments beside it, and what user data asks for.

use super::fragment::Fragment;
use super::{Config, Error};
use std::path::{Path, PathBuf};

/// The folder under a root where bootstrap leaves the `[agent]` tables of user data; `/run`, so for one boot.
pub const USER_DATA: &str = "run/kiln/agent.d";

/// A configuration's places.
#[derive(Debug, Clone)]
pub struct Source {
    /// The main file; fragments lie beside it in `<stem>.d/`.
    path: PathBuf,
    /// A missing file is an error only when it was named by a person: an instance without one runs on defaults.
    named: bool,
    /// User data's, read last.
    user_data: PathBuf,
}

impl Source {
    /// The places for the file at `path`, on the machine whose root is `root`.
    pub fn new(path: &Path, named: bool, root: &Path) -> Self {
        Self { path: path.to_owned(), named, user_data: root.join(USER_DATA) }
    }

    /// Reads it all, in order.
    pub fn load(&self) -> Result<Config, Error> {
        let mut merged = self.own()?;
        for fragment in fragments(&self.user_data)? {
            merged.merge(read(&fragment)?);
        }
        Config::check(merged)
    }

    /// Reads the machine's own, and the `[agent]` tables of `documents`, texts with the names that errors call them,
    /// in place of what user data left before.
    pub fn load_with(&self, documents: &[(&str, String)]) -> Result<Config, Error> {
        let mut merged = self.own()?;
        for (text, name) in documents {
            merged.merge(Fragment::parse_agent(text, name).map_err(Error::Syntax)?);
        }
        Config::check(merged)
    }

    fn own(&self) -> Result<Fragment, Error> {
        let mut merged = Fragment::default();
        if self.named || self.path.exists() {
            merged.merge(read(&self.path)?);
        }
        for fragment in fragments(&self.path.with_extension("d"))? {
            merged.merge(read(&fragment)?);
        }
        Ok(merged)
    }
}

fn read(path: &Path) -> Result<Fragment, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.into(), source })?;
    Fragment::parse(&text, &path.display().to_string()).map_err(Error::Syntax)
}

fn fragments(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(Error::Read { path: folder.into(), source });
        }
    };
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    found.sort();
    Ok(found)
}
