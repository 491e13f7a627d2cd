//! The app layer, applied to a root: the same code for an image under construction and for a live builder host.
//!
//! ```text
//! files (templates, agent, image.json) → users → releases → units → verified from inside
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use kiln_image::os::Manager;
use kiln_image::{Os, Progress};
use serde_json::json;

use crate::bench::Bench;
use crate::inputs::Inputs;
use crate::manifest::{Manifest, Service};
use crate::release::{self, Built};
use crate::report::{Outcome, Step, StepRecord};
use crate::sandbox::Sandbox;
use crate::venv::Python;
use crate::{frontend, hardening, packages, template, units, uv, venv, verify};

/// What is applied.
#[derive(Debug)]
pub struct Layer<'a> {
    /// The checked manifest.
    pub manifest: &'a Manifest,
    /// Its inputs.
    pub inputs: &'a Inputs,
    /// Per service, what was built for it.
    pub built: Vec<Built>,
    /// The image's digest; the app's alone where there is no image.
    pub digest: String,
    /// SHA-256 of the base's archive, where it is Kiln's own.
    pub base: Option<String>,
}

/// The steps of [`onto`], in order.
const STEPS: [&str; 4] = ["packages", "frontend", "venv", "provision"];

/// Provisions a root that is no image of Kiln's making, or that of a live builder host.
///
/// # Errors
/// Those of its steps; the root is then half provisioned, and the same command goes on with it.
pub fn onto(
    bench: &Bench,
    root: &Path,
    manifest: &Manifest,
    inputs: &Inputs,
) -> anyhow::Result<Vec<StepRecord>> {
    let number = |name: &str| STEPS.iter().position(|step| *step == name).map_or(0, |index| index + 1);
    let step = |name| bench.report.step(number(name), STEPS.len(), name);
    let progress = step("packages");
    fits(manifest, inputs.os)?;
    let installed = packages::ensure(bench, root, inputs.os, manifest, &progress)?;
    let outcome = if installed.is_empty() { Outcome::Cached } else { Outcome::Built };
    let mut steps = vec![progress.done(outcome, installed.join(", "))];
    let (built, parts) = build_parts(bench, manifest, inputs, Some(root), number, STEPS.len())?;
    steps.extend(parts);
    let progress = step("provision");
    let layer = Layer { manifest, inputs, built, digest: inputs.app.clone(), base: None };
    let detail = apply(bench, root, &layer, &progress)?;
    steps.push(progress.done(Outcome::Built, detail));
    Ok(steps)
}

/// Refuses what goes by the packages of another system.
fn fits(manifest: &Manifest, os: &Os) -> anyhow::Result<()> {
    if manifest.image.tls.is_some() && os.manager != Manager::Apt {
        bail!("[image.tls] goes by Debian's package of certbot, and this is {}: leave it out", os.name);
    }
    Ok(())
}

/// Names that a step of [`build_parts`] has in progress and receipt.
pub const PARTS: [&str; 2] = ["frontend", "venv"];

/// Builds what the services need, outside the root: frontends, then venvs. `root` has the Python that runs them; where
/// there is none, frontends alone.
///
/// # Errors
/// npm, the build, or uv fails.
pub fn build_parts(
    bench: &Bench,
    manifest: &Manifest,
    inputs: &Inputs,
    root: Option<&Path>,
    number: impl Fn(&str) -> usize,
    of: usize,
) -> anyhow::Result<(Vec<Built>, Vec<StepRecord>)> {
    let python = root.map(|root| Python { root, program: inputs.os.python });
    let mut built = vec![Built::default(); manifest.services.len()];
    let mut records = Vec::new();
    for part in PARTS.into_iter().filter(|part| *part == "frontend" || python.is_some()) {
        let progress = bench.report.step(number(part), of, part);
        let mut outcomes = Vec::new();
        for ((service, inputs_of), built) in manifest.services.iter().zip(&inputs.services).zip(&mut built) {
            let result = match python.filter(|_| part == "venv") {
                None => web(bench, manifest, inputs, service, inputs_of.frontend.as_ref(), &progress)?,
                Some(python) => {
                    python_side(bench, manifest, python, service, inputs_of.backend.as_ref(), &progress)?
                }
            };
            if let Some((path, outcome)) = result {
                outcomes.push((service.name.as_str(), outcome));
                *(if part == "frontend" { &mut built.web } else { &mut built.venv }) = Some(path);
            }
        }
        records.push(finish(progress, &outcomes));
    }
    Ok((built, records))
}

fn finish(step: Step<'_>, outcomes: &[(&str, Outcome)]) -> StepRecord {
    let names: Vec<_> = outcomes.iter().map(|(name, _)| *name).collect();
    let outcome = match outcomes {
        [] => Outcome::Skipped,
        all if all.iter().all(|(_, outcome)| *outcome == Outcome::Cached) => Outcome::Cached,
        _ => Outcome::Built,
    };
    step.done(outcome, names.join(", "))
}

type PartResult = anyhow::Result<Option<(std::path::PathBuf, Outcome)>>;

fn web(
    bench: &Bench,
    manifest: &Manifest,
    inputs: &Inputs,
    service: &Service,
    found: Option<&(Vec<crate::sources::Source>, String)>,
    progress: &Step<'_>,
) -> PartResult {
    match (&service.frontend, &inputs.node, found) {
        (Some(frontend), Some(node), Some(found)) => {
            frontend::build(bench, &manifest.dir, service, frontend, found, node, progress).map(Some)
        }
        _ => Ok(None),
    }
}

fn python_side(
    bench: &Bench,
    manifest: &Manifest,
    python: Python<'_>,
    service: &Service,
    found: Option<&(Vec<crate::sources::Source>, String)>,
    progress: &Step<'_>,
) -> PartResult {
    match (&service.backend, found) {
        (Some(backend), Some((_, lock_hash))) => {
            venv::build(bench, python, &manifest.dir, service, backend, lock_hash, progress).map(Some)
        }
        _ => Ok(None),
    }
}

/// Applies the layer to `root`, and proves from inside that it holds together.
///
/// # Errors
/// A package, a file, a unit or the app is not right; the root is then half provisioned.
pub fn apply(bench: &Bench, root: &Path, layer: &Layer<'_>, progress: &Step<'_>) -> anyhow::Result<String> {
    let Layer { manifest, inputs, .. } = layer;
    progress.message("files and users");
    write_files(root, inputs)?;
    write_image_json(root, layer)?;
    Sandbox::root(root).run(bench, &["systemd-sysusers"]).context("failed to make the users")?;
    for ((service, inputs), built) in manifest.services.iter().zip(&inputs.services).zip(&layer.built) {
        progress.message(&format!("release {} of {}", inputs.release, service.name));
        release::install(bench, root, manifest, service, inputs, built)?;
    }
    progress.message("units");
    let units = units::wanted(manifest, &inputs.files);
    units::enable(bench, root, &units)?;
    units::mask(bench, root, &hardening::masks(&manifest.image).0)?;
    progress.message("verifying from inside");
    verify::all(bench, root, manifest, &units)?;
    Ok(format!("{} files, {} units", inputs.files.len(), units.len()))
}

fn write_files(root: &Path, inputs: &Inputs) -> anyhow::Result<()> {
    for file in &inputs.files {
        put(root, &file.path, file.mode, &file.content)?;
    }
    let agent =
        fs::read(&inputs.agent).with_context(|| format!("failed to read {}", inputs.agent.display()))?;
    put(root, Path::new("usr/bin/kiln-agent"), 0o755, &agent)
}

fn write_image_json(root: &Path, layer: &Layer<'_>) -> anyhow::Result<()> {
    let Layer { manifest, inputs, digest, base, .. } = layer;
    let parts: BTreeMap<_, _> = inputs.parts.iter().map(|part| (&part.part, &part.sha256)).collect();
    let services = manifest.services.iter().zip(&inputs.services).map(|(service, inputs)| {
        json!({ "name": service.name, "path": service.path, "health": service.health, "release": inputs.release, "user": template::user(service) })
    });
    let image = json!({
        "name": manifest.image.name,
        "digest": digest,
        "created_by": format!("kiln {}", env!("CARGO_PKG_VERSION")),
        // What it was made of, by hash: the same names and hashes as in the receipt.
        "base": { "name": manifest.image.base, "sha256": base },
        "inputs": parts,
        "tools": { "uv": uv::VERSION, "node": inputs.node.as_ref().map(|node| &node.version) },
        "services": services.collect::<Vec<_>>(),
    });
    let text = serde_json::to_string_pretty(&image).context("failed to write image.json")? + "\n";
    put(root, Path::new("etc/kiln/image.json"), 0o644, text.as_bytes())
}

/// Writes beside and renames: on a live host, a program that runs goes on with its old bytes.
fn put(root: &Path, path: &Path, mode: u32, content: &[u8]) -> anyhow::Result<()> {
    let target = root.join(path);
    let write = || -> std::io::Result<()> {
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        let new = target
            .with_file_name(format!(".{}.kiln", path.file_name().unwrap_or_default().to_string_lossy()));
        fs::write(&new, content)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(mode))?;
        fs::rename(&new, &target)
    };
    write().with_context(|| format!("failed to write {}", target.display()))
}

#[cfg(test)]
mod tests {
    use kiln_image::os::KNOWN;

    use super::*;

    #[test]
    fn certificates_are_for_systems_with_debian_s_packages() {
        let refused = |tls: &str| -> Vec<&str> {
            let text = format!(
                "[image]\nname = \"shop\"\n{tls}[[service]]\nname = \"shop\"\npath = \"/\"\nfrontend = \"f\"\n"
            );
            let (manifest, _) = Manifest::parse(&text, Path::new("/app")).expect("it is valid");
            KNOWN.iter().filter(|os| fits(&manifest, os).is_err()).map(|os| os.name).collect()
        };
        assert_eq!(refused(""), [""; 0]);
        assert_eq!(refused("[image.tls]\ndomains = [\"a.org\"]\n"), ["Amazon Linux 2023"]);
    }
}
