//! `kiln rehearse`: the image's root boots on a stage and lives one life; a broken promise is exit code 1.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use kiln_image::{Progress as _, Unit};
use kiln_stage::{Ground, LifeConfig, Observer, Rehearsal, StreamRoute};
use serde::Deserialize;

use crate::bench::Bench;
use crate::interrupt::stat_field;
use crate::manifest::Rehearse;
use crate::report::Outcome;
use crate::store::{Found, Store};

/// What to play, beside the image itself.
#[derive(Debug, Clone, Default)]
pub struct Script {
    /// `[rehearse]` of the manifest, if there is one here.
    pub wishes: Rehearse,
    /// A file with user data for the instance.
    pub user_data: Option<PathBuf>,
}

/// Where a rehearsal's results are.
#[derive(Debug)]
pub struct Played {
    /// All of it.
    pub rehearsal: Rehearsal,
    /// `rehearsal.json`.
    pub json: PathBuf,
    /// `rehearsal.html`.
    pub html: PathBuf,
}

/// The part of `/etc/kiln/image.json` that a rehearsal needs.
#[derive(Debug, Deserialize)]
struct ImageFile {
    name: String,
    digest: String,
    services: Vec<ImageService>,
}

#[derive(Debug, Deserialize)]
struct ImageService {
    name: String,
    path: String,
    health: Option<String>,
}

/// Extracts the image's root, plays `life`, and writes the results beside the image.
///
/// # Errors
/// The stage cannot be set up or fails; a broken promise is no error.
pub async fn rehearse(
    bench: &Arc<Bench>,
    ground: &Ground,
    store: &Store,
    found: Found,
    script: &Script,
) -> anyhow::Result<Played> {
    let user_data = match &script.user_data {
        Some(file) => Some(
            fs::read(file).with_context(|| format!("failed to read user data from {}", file.display()))?,
        ),
        None => None,
    };
    let scratch = Scratch::make(bench, store)?;
    let root = scratch.root.path().to_owned();
    let (worker, tar, into) = (Arc::clone(bench), found.root_tar.clone(), root.clone());
    let extracted = tokio::task::spawn_blocking(move || extract(&worker, &tar, &into));
    extracted.await.context("the thread that extracts the root is gone")??;
    let image = fs::read(root.join("etc/kiln/image.json"))
        .context("this root has no /etc/kiln/image.json: Kiln did not make it")?;
    let image: ImageFile =
        serde_json::from_slice(&image).context("failed to understand the root's image.json")?;
    let mut config = LifeConfig::new(&root, scratch.stage.path());
    config.subject = format!("{} {}", image.name, image.digest.get(..12).unwrap_or(&image.digest));
    config.user_data = user_data;
    config.paths = paths(&root, &image.services, &script.wishes);
    config.stream = script
        .wishes
        .stream
        .clone()
        .map(|path| StreamRoute { path, ends_with: script.wishes.stream_ends.clone() });
    let teller = Arc::clone(bench);
    let observer: Observer = Arc::new(move |event| {
        teller.report.happened(event.at, event.who.name(), &event.text);
    });
    let rehearsal = kiln_stage::play(ground, &config, observer).await?;
    let (json, html) = (found.dir.join("rehearsal.json"), found.dir.join("rehearsal.html"));
    let text = serde_json::to_vec_pretty(&rehearsal).context("failed to write the rehearsal as JSON")?;
    fs::write(&json, text).with_context(|| format!("failed to write {}", json.display()))?;
    let page = kiln_stage::html::render(&rehearsal)?;
    fs::write(&html, page).with_context(|| format!("failed to write {}", html.display()))?;
    Ok(Played { rehearsal, json, html })
}

/// Every service's page, one hashed asset of it, its health, and what the manifest adds.
fn paths(root: &Path, services: &[ImageService], wishes: &Rehearse) -> Vec<String> {
    let mut paths = Vec::new();
    for service in services {
        let prefix = service.path.trim_end_matches('/');
        let web = root.join("srv").join(&service.name).join("current/web");
        if web.join("index.html").is_file() {
            paths.push(service.path.clone());
        }
        paths.extend(asset(&web.join("assets")).map(|name| format!("{prefix}/assets/{name}")));
        paths.extend(service.health.as_ref().map(|health| format!("{prefix}{health}")));
    }
    paths.extend(wishes.paths.iter().cloned());
    paths
}

fn asset(dir: &Path) -> Option<String> {
    let names =
        fs::read_dir(dir).ok()?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "js")).min()
}

fn extract(bench: &Bench, tar: &Path, into: &Path) -> anyhow::Result<()> {
    let step = bench.report.step(1, 2, "root");
    let file = fs::File::open(tar).with_context(|| format!("failed to open {}", tar.display()))?;
    let total = file.metadata().context("failed to stat root.tar")?.len();
    kiln_image::space::require(into, "the rehearsal's root", total)?;
    step.message("extracting root.tar");
    let mut archive = tar::Archive::new(std::io::BufReader::with_capacity(1 << 20, file));
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(true);
    archive.set_unpack_xattrs(true);
    for entry in archive.entries().context("failed to read root.tar")? {
        bench.interrupt.check()?;
        let mut entry = entry.context("failed to read root.tar")?;
        step.position(entry.raw_file_position(), Some(total), Unit::Bytes);
        entry.unpack_in(into).context("failed to extract root.tar")?;
    }
    step.done(Outcome::Built, format!("{} MiB extracted", total >> 20));
    Ok(())
}

struct Scratch {
    root: crate::interrupt::Scratch,
    stage: crate::interrupt::Scratch,
}

/// Begins the name of every folder below; the process's id and start time follow.
const NAME: &str = "kiln-rehearsal-";

/// When a process started, in the kernel's ticks: tells it from a later one with the same id.
const START: usize = 19;

impl Scratch {
    /// Two folders of this process: the root beside the images, the stage's sockets under a short path.
    fn make(bench: &Bench, store: &Store) -> anyhow::Result<Self> {
        store.create()?;
        let short = std::env::temp_dir();
        for parent in [&store.rehearsals(), &short] {
            remove_stale(parent);
        }
        let id = nix::unistd::getpid().as_raw();
        let name = format!("{NAME}{id}-{}", stat_field(id, START).unwrap_or_default());
        let folder = |path: PathBuf| {
            bench.interrupt.scratch(&path).with_context(|| format!("failed to create {}", path.display()))
        };
        Ok(Self { root: folder(store.rehearsals().join(&name))?, stage: folder(short.join(&name))? })
    }
}

/// Removes the folders of processes that are no more.
fn remove_stale(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((id, start)) = name.strip_prefix(NAME).and_then(|rest| rest.split_once('-')) else {
            continue;
        };
        let alive =
            id.parse().ok().and_then(|id| stat_field(id, START)).is_some_and(|now| now.to_string() == start);
        if !alive {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The verdict, for people; with colours where a terminal shows it.
pub fn table(rehearsal: &Rehearsal, color: bool) -> String {
    let paint = |code: &str, text: &str| {
        if color { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    };
    let mut lines = Vec::new();
    for promise in &rehearsal.promises {
        let (mark, code) = match (promise.kept, promise.reached) {
            (true, _) => ("kept", "32"),
            (false, true) => ("BROKEN", "1;31"),
            (false, false) => ("-", "2"),
        };
        lines.push(format!("{} {}", paint(code, &format!("{mark:<7}")), promise.promise));
        // Broken ones stand out; those that the life did not reach have nothing to say.
        if promise.reached {
            lines.push(format!("        {}", paint(if promise.kept { "2" } else { "1" }, &promise.evidence)));
        }
    }
    let load = &rehearsal.load;
    let p99 = if load.by_instance > 0 {
        format!("p99 {:.0} ms", load.latency.p99)
    } else {
        "none by the instance".to_owned()
    };
    lines.push(format!(
        "load    {} requests, {} failed, {p99}; {:.0} s in all",
        load.sent, load.failed, rehearsal.seconds
    ));
    lines.join("\n")
}
