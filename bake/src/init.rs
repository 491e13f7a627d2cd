//! `kiln init DIR`: writes the starter app, which bakes as it is.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::failure::Failure;
use crate::manifest::Manifest;
use crate::template;

/// What was written.
#[derive(Debug)]
pub struct Written {
    /// Where.
    pub dir: PathBuf,
    /// Names the image and the service.
    pub name: String,
    /// How many files.
    pub files: usize,
}

/// Writes the starter into `dir`, which must be empty or not there. The name is the folder's unless one is given.
///
/// # Errors
/// [`Failure::Usage`] for a folder with something in it, or a name that no service can have.
pub fn init(dir: &Path, name: Option<&str>) -> anyhow::Result<Written> {
    let dir = std::path::absolute(dir).context("failed to resolve the folder")?;
    if fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::Usage(format!("{} is not empty: name a new folder", dir.display())).into());
    }
    let folder = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = name.map_or_else(|| from_folder(&folder), str::to_owned);
    let files = template::starter(&name);
    let manifest = files.iter().find(|file| file.path == Path::new(crate::manifest::FILE));
    let text = manifest.map(|file| String::from_utf8_lossy(&file.content).into_owned()).unwrap_or_default();
    if Manifest::parse(&text, &dir).is_err() {
        let message =
            format!("'{name}' names no service: give one with --name, of a-z, 0-9 and '-', 28 at most");
        return Err(Failure::Usage(message).into());
    }
    for file in &files {
        let path = dir.join(&file.path);
        let write = || {
            fs::create_dir_all(path.parent().unwrap_or(&dir))?;
            fs::write(&path, &file.content)
        };
        write().with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(Written { dir, name, files: files.len() })
}

/// `My App 2` becomes `my-app-2`.
fn from_folder(folder: &str) -> String {
    let plain: String = folder
        .to_lowercase()
        .chars()
        .map(|char| if char.is_ascii_alphanumeric() { char } else { '-' })
        .collect();
    let words: Vec<_> = plain.split('-').filter(|word| !word.is_empty()).collect();
    words.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_starter_is_accepted_by_check() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let app = dir.path().join("My Till");
        let written = init(&app, None).expect("the starter is written");
        assert_eq!(written.name, "my-till");
        let manifest = Manifest::load(&app).expect("the starter's manifest is valid");
        assert_eq!(
            (manifest.image.name.as_str(), manifest.services[0].name.as_str()),
            ("my-till", "my-till")
        );
        assert!(!app.join("frontend/node_modules").exists());
    }

    #[test]
    fn a_folder_with_something_in_it_is_left_alone() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        fs::write(dir.path().join("notes"), "mine").expect("a file is written");
        let error = init(dir.path(), Some("shop")).expect_err("it is refused");
        assert!(error.to_string().ends_with("is not empty: name a new folder"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).expect("it lists").count(), 1);
    }
}
