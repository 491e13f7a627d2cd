//! The rules about the files that a manifest names: folders exist, and everything is locked.

use std::ops::Range;
use std::path::Path;

use kiln_image::exported::is_path;

use super::{Backend, Complaint, Complaints, Frontend, Manager, Manifest, Places};
use crate::inputs::of_backend;
use crate::lockfile::requirements;
use crate::sources::{Kind, Source};

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
        if let Some(backend) = &service.backend {
            let places = places.statics.get(index).into_iter().flatten();
            for (folder, place) in backend.statics.values().zip(places) {
                if let Some(message) = static_fault(manifest, backend, folder) {
                    complaints.push(Complaint::at(text, place.clone(), message));
                }
            }
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

/// A folder that has nothing to serve, or would show what is none of its own.
fn static_fault(manifest: &Manifest, backend: &Backend, folder: &Path) -> Option<String> {
    let dir = manifest.dir.join(&backend.dir);
    let (whole, shown) = (dir.join(folder), backend.dir.join(folder));
    let shown = shown.display();
    if !whole.is_dir() {
        return Some(format!("static folder '{shown}' is not a folder here"));
    }
    let real = dir.canonicalize().map(|dir| dir.join(folder)).unwrap_or_default();
    if whole.canonicalize().ok().as_deref() != Some(&*real) {
        return Some(format!("static folder '{shown}' is behind a symbolic link: name the folder itself"));
    }
    let found = match of_backend(&manifest.dir, backend) {
        Ok(found) => found.into_iter().filter(|source| source.path.starts_with(folder)).collect::<Vec<_>>(),
        Err(error) => return Some(format!("failed to list the static folder '{shown}': {error:#}")),
    };
    if found.is_empty() {
        return Some(format!(
            "no file of the static folder '{shown}' ships: it is empty, or a .gitignore leaves it out"
        ));
    }
    let inside = |path: &Path| dir.join(path).canonicalize().is_ok_and(|path| path.starts_with(&real));
    found.iter().find_map(|Source { path, kind }| match kind {
        Kind::Link(target) if target.is_absolute() || !inside(path) => Some(format!(
            "'{}' is a symbolic link to '{}', out of the static folder: nginx would show what is there; put a copy in its place",
            backend.dir.join(path).display(),
            target.display()
        )),
        _ if path.extension().is_some_and(|extension| extension == "py") => Some(format!(
            "static folder '{shown}' holds Python sources ('{}'), which nginx would show to everybody: move them out",
            path.display()
        )),
        _ => None,
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
    use std::fs;

    use super::unlocked;
    use crate::manifest::Manifest;

    #[test]
    fn a_requirement_without_hashes_is_found() {
        let locked =
            "# made by uv\nflask==3.1.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n    # via shop\n";
        assert_eq!(unlocked(locked), None);
        assert_eq!(unlocked(&format!("{locked}gunicorn==23.0\n")), Some("gunicorn==23.0".into()));
        assert_eq!(unlocked("flask>=3 --hash=sha256:aa"), Some("flask>=3".into()));
    }

    /// What `kiln check` says of an app whose backend has the requirements and, below `back`, the files and links.
    fn told(keys: &str, requirements: &str, files: &[(&str, &str)]) -> String {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            match text.strip_prefix("-> ") {
                Some(target) => std::os::unix::fs::symlink(target, path).expect("a link"),
                None => fs::write(path, text).expect("a file"),
            }
        };
        put(
            "kiln.toml",
            &format!(
                "[image]\nname = \"shop\"\n[[service]]\nname = \"shop\"\npath = \"/\"\nbackend = \"back\"\nwsgi = \"shop:app\"\n{keys}"
            ),
        );
        put("back/requirements.txt", requirements);
        for (path, text) in files {
            put(path, text);
        }
        Manifest::load(dir.path()).map_or_else(|error| error.to_string(), |_| "valid".to_owned())
    }

    #[test]
    fn a_worker_class_wants_its_package_locked() {
        let keys = "worker_class = \"gevent\"";
        let message = told(keys, "gunicorn==27.0.1 --hash=sha256:aa\n", &[]);
        for part in [
            "kiln.toml:8:16: worker_class 'gevent' needs the package 'gevent', which back/requirements.txt does not lock",
            "add 'gunicorn[gevent]' to back/requirements.in and run 'uv pip compile --generate-hashes back/requirements.in -o back/requirements.txt'",
        ] {
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(told(keys, "gevent==26.9.0 --hash=sha256:aa\n", &[]), "valid");
        assert_eq!(told("worker_class = \"sync\"", "", &[]), "valid");
    }

    #[test]
    fn a_static_folder_serves_its_own_files_and_nothing_else() {
        let keys = "static = { \"/static/\" = \"shop/static\" }";
        let page = ("back/shop/static/a.css", "a {}");
        let table: [(&[(&str, &str)], &str); 9] = [
            (&[page], "valid"),
            (&[page, ("back/shop/static/b.css", "-> a.css")], "valid"),
            (&[], "kiln.toml:8:25: static folder 'back/shop/static' is not a folder here"),
            (&[("back/shop/static", "-> ../other"), ("back/other/a.css", "")], "behind a symbolic link"),
            (
                &[page, ("back/.gitignore", "static/")],
                "no file of the static folder 'back/shop/static' ships",
            ),
            (
                &[page, ("back/shop/static/key", "-> ../../../secret"), ("secret", "")],
                "a symbolic link to '../../../secret'",
            ),
            (
                &[page, ("back/shop/static/etc", "-> /etc")],
                "'back/shop/static/etc' is a symbolic link to '/etc'",
            ),
            (
                &[page, ("back/shop/static/src", "-> ../views.py"), ("back/shop/views.py", "")],
                "out of the static folder",
            ),
            (
                &[page, ("back/shop/static/gone/views.py", "")],
                "holds Python sources ('shop/static/gone/views.py')",
            ),
        ];
        for (files, expected) in table {
            let message = told(keys, "", files);
            assert!(message.contains(expected), "{files:?}: {message}");
        }
    }
}
