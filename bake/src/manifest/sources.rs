//! The rules about the files that a manifest names: folders exist, and everything is locked.

use std::ops::Range;
use std::path::Path;

use kiln_image::exported::is_path;

use super::{Backend, Complaint, Complaints, Frontend, Manager, Manifest, Places};
use crate::lockfile::requirements;

pub(super) fn check(manifest: &Manifest, places: &Places, text: &str) -> Result<(), Complaints> {
    let mut complaints = Complaints::default();
    let base = &manifest.image.base;
    if is_path(base) && !manifest.dir.join(base).exists() {
        let message = format!("base '{base}' is not there: export a root to it, or use a Debian by its name");
        complaints.push(Complaint::at(text, places.base.clone(), message));
    }
    for (index, service) in manifest.services.iter().enumerate() {
        let place = |ranges: &[Range<usize>]| ranges.get(index).cloned().unwrap_or(0..0);
        if let Some(message) = service.backend.as_ref().and_then(|backend| backend_fault(manifest, backend)) {
            complaints.push(Complaint::at(text, place(&places.backend), message));
        } else if let Some(message) =
            service.backend.as_ref().and_then(|backend| class_fault(manifest, backend))
        {
            complaints.push(Complaint::at(text, place(&places.worker_class), message));
        }
        if let Some(message) =
            service.frontend.as_ref().and_then(|frontend| frontend_fault(manifest, frontend))
        {
            complaints.push(Complaint::at(text, place(&places.frontend), message));
        }
    }
    complaints.into_result()
}

fn backend_fault(manifest: &Manifest, backend: &Backend) -> Option<String> {
    let dir = backend.dir.display();
    if !manifest.dir.join(&backend.dir).is_dir() {
        return Some(format!("backend '{dir}' is not a folder here"));
    }
    let lock = backend.lock();
    let make = format!("make it with '{}'", relock(backend));
    match std::fs::read_to_string(manifest.dir.join(&lock)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Some(format!("the lock file {} is missing: {make}", lock.display()))
        }
        Err(error) => Some(format!("failed to read {}: {error}", lock.display())),
        Ok(text) => unlocked(&text).map(|requirement| {
            format!("{} does not lock '{requirement}' to a version and its hashes: {make}", lock.display())
        }),
    }
}

/// What writes the lock file.
fn relock(backend: &Backend) -> String {
    let (dir, lock) = (backend.dir.display(), backend.lock());
    format!("uv pip compile --generate-hashes {dir}/requirements.in -o {}", lock.display())
}

/// A worker class whose package is not locked; that it can be loaded is for the bake to prove.
fn class_fault(manifest: &Manifest, backend: &Backend) -> Option<String> {
    let package = backend.workers.package()?;
    let lock = backend.lock();
    let text = std::fs::read_to_string(manifest.dir.join(&lock)).unwrap_or_default();
    let locked = requirements("", &text).iter().any(|wheel| wheel.name == package);
    (!locked).then(|| {
        format!(
            "worker_class '{}' needs the package '{package}', which {} does not lock: add 'gunicorn[{package}]' to {}/requirements.in and run '{}'",
            backend.workers.class,
            lock.display(),
            backend.dir.display(),
            relock(backend)
        )
    })
}

fn frontend_fault(manifest: &Manifest, frontend: &Frontend) -> Option<String> {
    let dir = frontend.dir.display();
    if !manifest.dir.join(&frontend.dir).is_dir() {
        return Some(format!("frontend '{dir}' is not a folder here"));
    }
    if !manifest.dir.join(&frontend.dir).join("package.json").is_file() {
        return Some(format!("{dir}/package.json is missing: 'frontend' names the folder that holds it"));
    }
    let (folder, lock) = (manifest.dir.join(&frontend.dir), frontend.lock());
    let manager = frontend.manager;
    match &Manager::present(&folder)[..] {
        [] => {
            Some(format!("the lock file {} is missing: {}", lock.display(), manager.remedy(&dir.to_string())))
        }
        [_] if manager != Manager::Npm && manager.package(&folder).is_none() => Some(format!(
            "{dir}/package.json does not pin {0}, whose {1} is there: add \"packageManager\": \"{0}@…\" with the version to use",
            manager.name(),
            manager.lock()
        )),
        [Manager::Npm] => not_json(&manifest.dir.join(&lock))
            .map(|fault| format!("{} {fault}: {}", lock.display(), manager.remedy(&dir.to_string()))),
        [_] => None,
        several => {
            let names: Vec<_> = several.iter().map(|manager| manager.lock()).collect();
            Some(format!("{dir} has {}: keep the one that is right", names.join(" and ")))
        }
    }
}

fn not_json(path: &Path) -> Option<String> {
    match std::fs::read_to_string(path) {
        Err(error) => Some(format!("cannot be read ({error})")),
        Ok(text) => serde_json::from_str::<serde_json::Value>(&text)
            .err()
            .map(|error| format!("is not JSON ({error})")),
    }
}

/// The first requirement without `==` and `--hash`, in pip's requirements format.
fn unlocked(text: &str) -> Option<String> {
    let logical = text.replace("\\\r\n", " ").replace("\\\n", " ");
    logical
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#') && !line.starts_with("--"))
        .find(|line| !line.contains("==") || !line.contains("--hash=sha256:"))
        .map(|line| line.split_whitespace().next().unwrap_or(line).to_owned())
}

#[cfg(test)]
mod tests {
    use super::unlocked;

    #[test]
    fn a_requirement_without_hashes_is_found() {
        let locked =
            "# made by uv\nflask==3.1.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n    # via shop\n";
        assert_eq!(unlocked(locked), None);
        assert_eq!(unlocked(&format!("{locked}gunicorn==23.0\n")), Some("gunicorn==23.0".into()));
        assert_eq!(unlocked("flask>=3 --hash=sha256:aa"), Some("flask>=3".into()));
    }
}
