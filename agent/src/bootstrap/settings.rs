//! The `[agent]` tables of user data: judged together with the configuration, and left for the agent in `/run`.

use super::Failure;
use crate::config::{Config, Source, USER_DATA};
use crate::durable;
use kiln_userdata::{Leaf, UserData};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// Checks the configuration as it comes to be with `data`, and leaves the tables where [`Config::load`] reads them last.
/// Nothing is left of what is not valid.
pub(super) fn take_over(root: &Path, source: &Source, data: &UserData) -> Result<Config, Failure> {
    let (mut documents, mut tables) = (Vec::new(), Vec::new());
    for (label, leaf) in data.leaves() {
        if let Leaf::Kiln(document) = leaf
            && let Some(agent) = &document.agent
        {
            let name = label.map_or_else(|| "user-data".to_owned(), ToString::to_string);
            documents.push((document.text.0.as_str(), name));
            tables.push(agent.to_string());
        }
    }
    let config = source.load_with(&documents)?;
    leave(&root.join(USER_DATA), &tables).map_err(|(path, source)| Failure::Keep { path, source })?;
    Ok(config)
}

fn leave(folder: &Path, tables: &[String]) -> Result<(), (std::path::PathBuf, std::io::Error)> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err((folder.to_owned(), error)),
        _ => {}
    }
    for (index, table) in tables.iter().enumerate() {
        let path = folder.join(format!("user-data-{:02}.toml", index + 1));
        // The agent reads it, who is not root; secrets have no place in it.
        durable::write(&path, table.as_bytes(), 0o644).map_err(|error| (path, error))?;
    }
    Ok(())
}
