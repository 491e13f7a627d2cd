//! `kiln update`: a new lock from what Debian's mirrors and the app's own lock files have now.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use kiln_image::resolve::{self, Wanted};
use kiln_image::{Deb, Exported, Suite, Tools, lock};
use serde::Serialize;

use super::{FILE, Lockfile, Move, VERSION, app, moves};
use crate::bench::Bench;
use crate::manifest::Manifest;
use crate::report::{Outcome, Saying, Step};
use crate::store::Store;

/// Another update asks two mirrors; past this it hangs.
const LOCK_WAIT: Duration = Duration::from_mins(10);

/// The steps, in order.
const STEPS: [&str; 3] = ["debian", "tools", "app"];

/// How much of a lock an update moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// What the app's own lock files say; Debian's packages stay. No network.
    App,
}

/// What an update did.
#[derive(Debug, Clone, Serialize)]
pub struct Updated {
    /// The lock.
    pub file: PathBuf,
    /// Debian packages of the base root.
    pub debian: usize,
    /// Debian packages of the disk tools.
    pub tools: usize,
    /// Requirements of backends.
    pub python: usize,
    /// Packages of frontends.
    pub npm: usize,
    /// Whether there was no lock before.
    pub first: bool,
    /// What differs from the lock before; everything in a first one.
    pub moved: Vec<Move>,
}

/// Writes the app's lock anew. A lock in which nothing moved stays the same file.
///
/// # Errors
/// The mirrors do not answer or lack a package; a lock file of the app cannot be read.
pub fn update(bench: &Bench, manifest: &Manifest, extent: Extent) -> anyhow::Result<Updated> {
    let _held = hold(bench, manifest)?;
    // One that cannot be read is no reason not to write a good one.
    let old = Lockfile::read(&manifest.dir).ok().flatten();
    let new = make(bench, manifest, old.as_ref(), extent)?;
    let moved = moves(old.as_ref(), &new);
    if old.as_ref() != Some(&new) {
        new.write(&manifest.dir)?;
    }
    Ok(Updated {
        file: manifest.dir.join(FILE),
        debian: new.deb.len(),
        tools: new.tool.len(),
        python: new.wheel.len(),
        npm: new.npm.len(),
        first: old.is_none(),
        moved,
    })
}

/// The app's lock, which has to fit; a first one is made where there is none.
///
/// # Errors
/// [`crate::failure::Failure::Lock`] for one that does not fit; those of [`update`] for a first one.
pub fn ensure(bench: &Bench, manifest: &Manifest) -> anyhow::Result<Lockfile> {
    if let Some(lock) = Lockfile::fitting(manifest)? {
        return Ok(lock);
    }
    let _held = hold(bench, manifest)?;
    if let Some(lock) = Lockfile::fitting(manifest)? {
        return Ok(lock);
    }
    bench.report.say(&format!("there is no {FILE} yet: locking what Debian has now"));
    let lock = make(bench, manifest, None, Extent::Whole)?;
    lock.write(&manifest.dir)?;
    bench.report.say(&format!(
        "wrote {FILE}: keep it under version control; later bakes take these packages until 'kiln update'"
    ));
    Ok(lock)
}

fn hold(bench: &Bench, manifest: &Manifest) -> anyhow::Result<lock::Lock> {
    let store = Store::of(&manifest.dir);
    store.create()?;
    Ok(lock::acquire(&store.lock_path(FILE), LOCK_WAIT, &Saying(&bench.report))?)
}

fn make(
    bench: &Bench,
    manifest: &Manifest,
    old: Option<&Lockfile>,
    extent: Extent,
) -> anyhow::Result<Lockfile> {
    let image = &manifest.image;
    let kept =
        old.filter(|old| extent == Extent::App && old.base == image.base && old.packages == image.packages);
    let (root, deb, tool) = if let Some(old) = kept {
        (old.root.clone(), old.deb.clone(), old.tool.clone())
    } else {
        let (deb, tool) = debian(bench, manifest)?;
        (root(bench, manifest)?, deb, tool)
    };
    // The day counts only for packages that are new: an update that moves none leaves the file as it is.
    let same = old.filter(|old| old.deb == deb && old.tool == tool);
    let now = || jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let step = bench.report.step(STEPS.len(), STEPS.len(), "app");
    let (wheel, npm) = (app::wheels(manifest)?, app::npm(manifest)?);
    step.done(Outcome::Built, format!("{} of Python, {} of npm", wheel.len(), npm.len()));
    Ok(Lockfile {
        version: VERSION,
        base: image.base.clone(),
        packages: image.packages.clone(),
        root,
        resolved: same.map_or_else(now, |old| old.resolved.clone()),
        deb,
        tool,
        wheel,
        npm,
    })
}

/// The hash of a base that another made.
fn root(bench: &Bench, manifest: &Manifest) -> anyhow::Result<Option<String>> {
    let base = &manifest.image.base;
    let exported = Suite::find(base).is_none().then(|| Exported::of(&manifest.dir.join(base), &bench.cache));
    Ok(exported.transpose()?.map(|root| root.sha256))
}

fn debian(bench: &Bench, manifest: &Manifest) -> anyhow::Result<(Vec<Deb>, Vec<Deb>)> {
    let image = &manifest.image;
    // A root that another made brings its packages itself.
    let mut deb = Vec::new();
    if let Some(suite) = Suite::find(&image.base) {
        let packages = suite.packages(image.packages.iter().cloned());
        let wanted = Wanted { suite: suite.codename, packages: &packages, whole: true };
        deb = asked(bench, 1, |scratch, step| Ok(resolve::resolve(&wanted, &bench.mirror, scratch, step)?))?;
    }
    let tool = asked(bench, 2, |scratch, step| Ok(Tools::resolve(&bench.mirror, scratch, step)?))?;
    Ok((deb, tool))
}

fn asked(
    bench: &Bench,
    number: usize,
    ask: impl FnOnce(&Path, &Step<'_>) -> anyhow::Result<Vec<Deb>>,
) -> anyhow::Result<Vec<Deb>> {
    bench.interrupt.check()?;
    let step = bench.report.step(number, STEPS.len(), STEPS[number - 1]);
    let scratch = bench.cache_dir("")?.join(format!("apt.{}", std::process::id()));
    let scratch = bench.interrupt.scratch(&scratch).context("failed to make a scratch folder")?;
    let debs = ask(scratch.path(), &step)?;
    step.done(Outcome::Built, format!("{} packages", debs.len()));
    Ok(debs)
}

impl fmt::Display for Updated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, debian, tools, python, npm, first, moved } = self;
        writeln!(f, "lock      {}", file.display())?;
        writeln!(
            f,
            "packages  {debian} of Debian, {tools} of the disk tools, {python} of Python, {npm} of npm"
        )?;
        if *first {
            return write!(f, "moved     everything: there was no lock before");
        }
        if moved.is_empty() {
            return write!(f, "moved     nothing");
        }
        for (index, Move { world, name, from, to }) in moved.iter().enumerate() {
            let label = if index == 0 { "moved" } else { "" };
            let versions = match (from, to) {
                (Some(from), Some(to)) if from == to => format!("{to}, with another hash"),
                (Some(from), Some(to)) => format!("{from} → {to}"),
                (None, Some(to)) => format!("{to}, new"),
                (from, None) => format!("{}, gone", from.as_deref().unwrap_or_default()),
            };
            let end = if index + 1 == moved.len() { "" } else { "\n" };
            write!(f, "{label:<8}  {world:<7} {name} {versions}{end}")?;
        }
        Ok(())
    }
}
