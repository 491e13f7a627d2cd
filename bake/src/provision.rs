//! The app layer, applied to a root: the same code for an image under construction and for a live builder host.
//!
//! ```text
//! files (templates, agent, image.json) → users → releases → units → verified from inside
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

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
    let progress = step("frontend");
    let (webs, outcome, detail) = frontends(bench, manifest, inputs, &progress)?;
    steps.push(progress.done(outcome, detail));
    let progress = step("venv");
    let (venvs, outcome, detail) = venvs(bench, manifest, inputs, root, &progress)?;
    steps.push(progress.done(outcome, detail));
    let built = Built::each(webs, venvs);
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

/// Per service, what was built for it; what the step tells of it.
pub type Parts = (Vec<Option<PathBuf>>, Outcome, String);

/// Builds the frontends, outside of any root.
///
/// # Errors
/// npm or a build fails.
pub fn frontends(
    bench: &Bench,
    manifest: &Manifest,
    inputs: &Inputs,
    step: &Step<'_>,
) -> anyhow::Result<Parts> {
    parts(manifest, |number, service| {
        match (&service.frontend, &inputs.node, &inputs.services[number].frontend) {
            (Some(frontend), Some(node), Some(found)) => {
                frontend::build(bench, &manifest.dir, service, frontend, found, node, step).map(Some)
            }
            _ => Ok(None),
        }
    })
}

/// Makes the venvs, for the Python of `root`.
///
/// # Errors
/// uv fails.
pub fn venvs(
    bench: &Bench,
    manifest: &Manifest,
    inputs: &Inputs,
    root: &Path,
    step: &Step<'_>,
) -> anyhow::Result<Parts> {
    let python = Python { root, program: inputs.os.python };
    parts(manifest, |number, service| match (&service.backend, &inputs.services[number].backend) {
        (Some(backend), Some((_, lock_hash))) => {
            venv::build(bench, python, &manifest.dir, service, backend, lock_hash, step).map(Some)
        }
        _ => Ok(None),
    })
}

fn parts(
    manifest: &Manifest,
    make: impl Fn(usize, &Service) -> anyhow::Result<Option<(PathBuf, Outcome)>>,
) -> anyhow::Result<Parts> {
    let (mut paths, mut names) = (Vec::new(), Vec::new());
    let mut whole = Outcome::Skipped;
    for (number, service) in manifest.services.iter().enumerate() {
        let built = make(number, service)?;
        if let Some((_, outcome)) = &built {
            names.push(service.name.as_str());
            whole = if whole == Outcome::Built { whole } else { *outcome };
        }
        paths.push(built.map(|(path, _)| path));
    }
    Ok((paths, whole, names.join(", ")))
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
