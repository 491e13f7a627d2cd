//! The files of an app that count: what is copied, and what its digest covers.
//!
//! `.gitignore` files of the app are honoured, in a repository or not; what builds and editors leave is never a source.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use ignore::WalkBuilder;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Folders that no build may take from the developer's machine.
const NEVER: [&str; 14] = [
    ".git",
    ".hg",
    ".svn",
    ".kiln",
    ".venv",
    "venv",
    "node_modules",
    "__pycache__",
    ".pytest_cache",
    ".mypy_cache",
    ".ruff_cache",
    ".tox",
    ".vite",
    ".cache",
];

/// A file or symbolic link of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Relative to the part's folder.
    pub path: PathBuf,
    /// What is there.
    pub kind: Kind,
}

/// What a [`Source`] is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A regular file; whether it may be executed.
    File {
        /// Of its owner's bits.
        executable: bool,
    },
    /// A symbolic link and its target, as written.
    Link(PathBuf),
}

/// The sources under `part` of the app at `app`, sorted; `built` is what the build itself writes there.
///
/// # Errors
/// A folder cannot be read.
pub fn list(app: &Path, part: &Path, built: Option<&Path>) -> anyhow::Result<Vec<Source>> {
    let root = app.join(part);
    let skip = built.map(|built| root.join(built));
    let wanted = root.clone();
    let walk = WalkBuilder::new(app)
        .hidden(false)
        .parents(false)
        .git_global(false)
        .git_exclude(false)
        .require_git(false)
        .filter_entry(move |entry| {
            let path = entry.path();
            let on_the_way = path.starts_with(&wanted) || wanted.starts_with(path);
            let never = NEVER.iter().any(|name| entry.file_name() == *name) && !wanted.starts_with(path);
            on_the_way && !never && skip.as_deref() != Some(path)
        })
        .build();
    let mut sources = Vec::new();
    for entry in walk {
        let entry = entry.with_context(|| format!("failed to list {}", root.display()))?;
        let Ok(path) = entry.path().strip_prefix(&root) else {
            continue;
        };
        let kind = match entry.file_type() {
            Some(kind) if kind.is_file() => {
                let mode =
                    entry.metadata().with_context(|| format!("failed to stat {}", entry.path().display()))?;
                Kind::File { executable: mode.permissions().mode() & 0o100 != 0 }
            }
            Some(kind) if kind.is_symlink() => Kind::Link(fs::read_link(entry.path())?),
            _ => continue,
        };
        if path.extension().is_none_or(|extension| extension != "pyc") {
            sources.push(Source { path: path.to_owned(), kind });
        }
    }
    sources.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(sources)
}

/// Every file under `root`, whatever a `.gitignore` says: what a build wrote.
///
/// # Errors
/// A folder cannot be read.
pub fn everything(root: &Path) -> anyhow::Result<Vec<Source>> {
    let mut sources = Vec::new();
    for entry in walkdir::WalkDir::new(root).sort_by_file_name() {
        let entry = entry.with_context(|| format!("failed to list {}", root.display()))?;
        if entry.file_type().is_file() {
            let path = entry.path().strip_prefix(root).unwrap_or(entry.path()).to_owned();
            sources.push(Source { path, kind: Kind::File { executable: false } });
        }
    }
    Ok(sources)
}

/// A hash of names, kinds and contents; modification times and owners do not count.
///
/// # Errors
/// A file cannot be read.
pub fn hash(root: &Path, sources: &[Source]) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    for source in sources {
        let path = source.path.to_string_lossy();
        match &source.kind {
            Kind::File { executable } => {
                let content = hash_file(&root.join(&source.path))?;
                hash.update(format!("file\0{path}\0{executable}\0{content}\n"));
            }
            Kind::Link(target) => hash.update(format!("link\0{path}\0{}\n", target.display())),
        }
    }
    Ok(hex(&hash.finalize()))
}

/// Copies `sources` to the new folder `to`, modes normalised, times kept.
///
/// # Errors
/// A file cannot be read or written.
pub fn copy(root: &Path, sources: &[Source], to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("failed to create {}", to.display()))?;
    for source in sources {
        let (from, to) = (root.join(&source.path), to.join(&source.path));
        let put = || -> std::io::Result<()> {
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent)?;
            }
            match &source.kind {
                Kind::File { executable } => {
                    fs::copy(&from, &to)?;
                    let time = fs::metadata(&from)?.modified()?;
                    fs::File::options().append(true).open(&to)?.set_modified(time)?;
                    let mode = if *executable { 0o755 } else { 0o644 };
                    fs::set_permissions(&to, fs::Permissions::from_mode(mode))
                }
                Kind::Link(target) => std::os::unix::fs::symlink(target, &to),
            }
        };
        put().with_context(|| format!("failed to copy {} to {}", from.display(), to.display()))?;
    }
    Ok(())
}

/// SHA-256 of a file, in hex.
///
/// # Errors
/// The file cannot be read.
pub fn hash_file(path: &Path) -> anyhow::Result<String> {
    let mut file = fs::File::open(path).with_context(|| format!("failed to open {}", path.display()))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = std::io::Read::read(&mut file, &mut buffer)
            .with_context(|| format!("failed to read {}", path.display()))?;
        if read == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&buffer[..read]);
    }
}

/// SHA-256 of bytes, in hex.
pub fn hash_bytes(bytes: impl AsRef<[u8]>) -> String {
    hex(&Sha256::digest(bytes.as_ref()))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let put = |path: &str, content: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("it has a parent")).expect("the folder is made");
            fs::write(path, content).expect("the file is written");
        };
        put(".gitignore", "*.log\n/backend/local\n");
        put("backend/shop.py", "app = 1\n");
        put("backend/debug.log", "noise");
        put("backend/local/x", "noise");
        put("backend/__pycache__/shop.pyc", "noise");
        put("backend/.env.example", "A=1\n");
        put("frontend/dist/index.html", "noise");
        put("frontend/src/main.ts", "let a\n");
        dir
    }

    #[test]
    fn what_builds_and_gitignore_leave_out_is_no_source() {
        let app = app();
        let names = |part: &str, built: Option<&str>| -> Vec<String> {
            let sources = list(app.path(), Path::new(part), built.map(Path::new)).expect("it lists");
            sources.iter().map(|source| source.path.display().to_string()).collect()
        };
        assert_eq!(names("backend", None), [".env.example", "shop.py"]);
        assert_eq!(names("frontend", Some("dist")), ["src/main.ts"]);
    }

    #[test]
    fn the_hash_follows_content_name_and_mode_and_nothing_else() {
        let app = app();
        let root = app.path().join("backend");
        let now = || {
            hash(&root, &list(app.path(), Path::new("backend"), None).expect("it lists")).expect("it hashes")
        };
        let first = now();
        fs::write(root.join("shop.py"), "app = 1\n").expect("the file is touched");
        assert_eq!(now(), first, "a new modification time is no change");
        fs::set_permissions(root.join("shop.py"), fs::Permissions::from_mode(0o755))
            .expect("the mode changes");
        let executable = now();
        assert_ne!(executable, first);
        fs::write(root.join("shop.py"), "app = 2\n").expect("the file changes");
        assert_ne!(now(), executable);
    }
}
