//! What a builder instance fetches: the programs, the manifest, the sources that ship, and what was built of the others.
//!
//! ```text
//! bin/{kiln, kiln-agent, bwrap}   bundle.json   app/<backend>/…   cache/{web, venvs}/…
//! ```
//!
//! The same inputs make the same bytes. No Node.js, no frontend's sources and nothing of `[userdata]` travels: the instance
//! decides nothing, it applies what was packed.

use std::fs::{self, File};
use std::io::BufReader;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use flate2::Compression;
use flate2::write::GzEncoder;
use kiln_image::Os;
use kiln_image::ids::SOURCE_DATE_EPOCH;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde::{Deserialize, Serialize};
use tar::{EntryType, Header};

use crate::bench::Bench;
use crate::failure::Failure;
use crate::frontend::Node;
use crate::inputs::{self, Inputs, Part, ServiceInputs};
use crate::manifest::{self, Manifest};
use crate::release::Built;
use crate::sources::Kind;
use crate::{clean, host, residue};

/// Tables of the manifest that are part of an image.
const CARRIED_TABLES: [&str; 3] = ["image", "service", "expect"];
const CONTENTS: &str = "bundle.json";
/// Where the root file system alone is looked at; in memory, and gone with the namespace.
const SEALED: &str = "/run/kiln-sealed";

/// `bundle.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Contents {
    manifest: String,
    services: Vec<ServiceInputs>,
    node: Option<Node>,
    parts: Vec<Part>,
    app: String,
}

/// Packs what `inputs` and `built` come to.
///
/// # Errors
/// A file cannot be read or written.
pub fn pack(bench: &Bench, manifest: &Manifest, inputs: &Inputs, built: &[Built]) -> anyhow::Result<Vec<u8>> {
    let bwrap = host::find("bwrap").ok_or_else(|| Failure::Missing {
        what: "'bwrap'".to_owned(),
        remedy: "install with 'apt-get install bubblewrap'".to_owned(),
    })?;
    let mut archive = Archive::new();
    let kiln = std::env::current_exe().context("failed to find kiln itself")?;
    for (from, name) in [(&kiln, "kiln"), (&inputs.agent, "kiln-agent"), (&bwrap, "bwrap")] {
        archive.file(from, &Path::new("bin").join(name), true)?;
    }
    let contents = Contents {
        manifest: carried(&manifest.dir)?,
        services: inputs.services.clone(),
        node: inputs.node.clone(),
        parts: inputs.parts.clone(),
        app: inputs.app.clone(),
    };
    let contents = serde_json::to_vec(&contents).context("failed to write the bundle's contents")?;
    archive.bytes(&contents, Path::new(CONTENTS))?;
    for ((service, inputs), built) in manifest.services.iter().zip(&inputs.services).zip(built) {
        if let (Some(backend), Some((sources, lock_hash))) = (&service.backend, &inputs.backend) {
            for source in sources {
                let path = backend.dir.join(&source.path);
                match &source.kind {
                    Kind::File { executable } => {
                        archive.file(
                            &manifest.dir.join(&path),
                            &Path::new("app").join(&path),
                            *executable,
                        )?;
                    }
                    Kind::Link(target) => archive.link(target, &Path::new("app").join(&path))?,
                }
            }
            // Without it, or for another Python, the instance makes its own by the same lock.
            if let Some(venv) = crate::venv::cached(&bench.cache, service, lock_hash) {
                archive.folder(&venv, &below_cache(&bench.cache, &venv)?)?;
            }
        }
        if let Some(web) = &built.web {
            let place = below_cache(&bench.cache, web)?;
            archive.folder(web, &place)?;
            if let Some(carried) = &inputs.carried {
                // Of the same path the later entry counts.
                let older = tempfile::tempdir().context("failed to make a folder")?;
                crate::release::copy_tree(web, older.path())?;
                carried.add_to(older.path()).context("failed to carry along assets of the release before")?;
                archive.folder(older.path(), &place)?;
            }
        }
    }
    archive.finish()
}

/// The place in the bundle of something in the cache.
fn below_cache(cache: &Path, path: &Path) -> anyhow::Result<PathBuf> {
    let inside = path.strip_prefix(cache).context("what was built is not in the cache")?;
    Ok(Path::new("cache").join(inside))
}

/// The manifest, with what counts for an image alone.
fn carried(dir: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(dir.join(manifest::FILE)).context("failed to read the manifest")?;
    let mut table: toml::Table = text.parse().context("failed to read the manifest")?;
    table.retain(|key, _| CARRIED_TABLES.contains(&key));
    toml::to_string(&table).context("failed to write the manifest")
}

/// What an instance of the system `os` that has unpacked a bundle in `dir` is to apply.
///
/// # Errors
/// It is not whole, or was packed for another system: its digest would be of other files.
pub fn open(dir: &Path, os: &'static Os) -> anyhow::Result<(Manifest, Inputs)> {
    let path = dir.join(CONTENTS);
    let text = fs::read(&path).with_context(|| format!("'{}' is no bundle", dir.display()))?;
    let Contents { manifest, services, node, parts, app } =
        serde_json::from_slice(&text).with_context(|| format!("failed to read {}", path.display()))?;
    let (manifest, _) = Manifest::parse(&manifest, &dir.join("app"))?;
    let planned = inputs::os_of(&manifest);
    if os.name != planned.name {
        bail!(
            "this is {}, and image.base is '{}': name one and the same system",
            os.name,
            manifest.image.base
        );
    }
    let files = inputs::rendered(&manifest, &services, os)?;
    let agent = dir.join("bin/kiln-agent");
    Ok((manifest, Inputs { services, files, agent, os, node, parts, app }))
}

/// Removes from the provisioned `root` what no image may carry, and looks whether anything is left. In a mount namespace
/// of its own: what is mounted in the root is not in its file system, and is left alone.
///
/// # Errors
/// [`residue::Residue`] with every finding.
pub fn seal(root: &Path) -> anyhow::Result<usize> {
    let sealed = Path::new(SEALED);
    fs::create_dir_all(sealed).with_context(|| format!("failed to make {SEALED}"))?;
    mount(Some(root), sealed, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("failed to mount {} at {SEALED}", root.display()))?;
    let checked = clean::root(sealed).and_then(|()| residue::check(sealed, |_, _| ()));
    umount2(sealed, MntFlags::MNT_DETACH).with_context(|| format!("failed to unmount {SEALED}"))?;
    checked
}

/// A compressed archive whose bytes depend on nothing but what is in it.
struct Archive {
    tar: tar::Builder<GzEncoder<Vec<u8>>>,
}

impl Archive {
    fn new() -> Self {
        Self { tar: tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast())) }
    }

    fn header(kind: EntryType, mode: u32, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(SOURCE_DATE_EPOCH);
        header
    }

    fn file(&mut self, from: &Path, to: &Path, executable: bool) -> anyhow::Result<()> {
        let what = || format!("failed to pack {}", from.display());
        let file = File::open(from).with_context(what)?;
        let size = file.metadata().with_context(what)?.len();
        let mut header = Self::header(EntryType::Regular, if executable { 0o755 } else { 0o644 }, size);
        self.tar.append_data(&mut header, to, BufReader::new(file)).with_context(what)
    }

    fn bytes(&mut self, bytes: &[u8], to: &Path) -> anyhow::Result<()> {
        let mut header = Self::header(EntryType::Regular, 0o644, bytes.len() as u64);
        self.tar
            .append_data(&mut header, to, bytes)
            .with_context(|| format!("failed to pack {}", to.display()))
    }

    fn link(&mut self, target: &Path, to: &Path) -> anyhow::Result<()> {
        let mut header = Self::header(EntryType::Symlink, 0o777, 0);
        self.tar
            .append_link(&mut header, to, target)
            .with_context(|| format!("failed to pack {}", to.display()))
    }

    fn folder(&mut self, from: &Path, to: &Path) -> anyhow::Result<()> {
        for entry in walkdir::WalkDir::new(from).sort_by_file_name() {
            let entry = entry.with_context(|| format!("failed to list {}", from.display()))?;
            let to = to.join(entry.path().strip_prefix(from).unwrap_or(entry.path()));
            let kind = entry.file_type();
            if kind.is_symlink() {
                let target = fs::read_link(entry.path());
                self.link(
                    &target.with_context(|| format!("failed to read {}", entry.path().display()))?,
                    &to,
                )?;
            } else if kind.is_dir() {
                let mut header = Self::header(EntryType::Directory, 0o755, 0);
                self.tar
                    .append_data(&mut header, &to, std::io::empty())
                    .context("failed to pack a folder")?;
            } else if kind.is_file() {
                let found = entry.metadata().with_context(|| format!("failed to stat {}", to.display()))?;
                self.file(entry.path(), &to, found.permissions().mode() & 0o100 != 0)?;
            } else {
                bail!("{} is neither a file nor a folder nor a link", entry.path().display());
            }
        }
        Ok(())
    }

    fn finish(self) -> anyhow::Result<Vec<u8>> {
        self.tar.into_inner().and_then(GzEncoder::finish).context("failed to end the bundle")
    }
}
