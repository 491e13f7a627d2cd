//! A lock against the app as it is, and against the lock before. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{FILE, Lockfile, Npm, Wheel};
use crate::manifest::Manifest;

/// As many as a person reads.
const SHOWN: usize = 8;

/// What of the app the lock does not know: a line each.
pub(super) fn faults(lock: &Lockfile, manifest: &Manifest, wheels: &[Wheel], npm: &[Npm]) -> Vec<String> {
    let mut faults = Vec::new();
    if lock.base != manifest.image.base {
        faults.push(format!(
            "the base is '{}' in kiln.toml and '{}' in {FILE}",
            manifest.image.base, lock.base
        ));
    }
    let pairs = [
        (&manifest.image.packages, &lock.packages, "kiln.toml", FILE),
        (&lock.packages, &manifest.image.packages, FILE, "kiln.toml"),
    ];
    for (some, others, there, absent) in pairs {
        let lacking = some.iter().filter(|name| !others.contains(name));
        faults.extend(lacking.map(|name| format!("package '{name}' is in {there} and not in {absent}")));
    }
    let file = |service: &str, of: fn(&crate::manifest::Service) -> Option<std::path::PathBuf>| {
        let service = manifest.services.iter().find(|known| known.name == service);
        service.and_then(of).map_or_else(|| "the app".to_owned(), |path| path.display().to_string())
    };
    let requirements =
        |service: &str| file(service, |known| known.backend.as_ref().map(crate::manifest::Backend::lock));
    let tree =
        |service: &str| file(service, |known| known.frontend.as_ref().map(crate::manifest::Frontend::lock));
    faults.extend(differences(&pythons(&lock.wheel), &pythons(wheels), "Python package", requirements));
    faults.extend(differences(&nodes(&lock.npm), &nodes(npm), "npm package", tree));
    faults
}

/// The message of a bake that does not begin.
pub(super) fn told(faults: &[String]) -> String {
    let mut lines: Vec<String> = faults.iter().take(SHOWN).map(|fault| format!("\n  {fault}")).collect();
    if faults.len() > SHOWN {
        lines.push(format!("\n  and {} more", faults.len() - SHOWN));
    }
    format!(
        "{FILE} does not fit the app:{}\n'kiln update --app' takes over what the app's own lock files say and leaves Debian's packages alone; 'kiln update' moves both",
        lines.concat()
    )
}

/// Service and package, with the version and hash of each.
type Known<'a> = BTreeMap<(&'a str, &'a str), Vec<(&'a str, String)>>;

fn pythons(wheels: &[Wheel]) -> Known<'_> {
    let mut known = Known::new();
    for Wheel { service, name, version, sha256 } in wheels {
        let hash = format!("sha256:{}", sha256.join(",sha256:"));
        known.entry((service, name)).or_default().push((version, hash));
    }
    known
}

fn nodes(packages: &[Npm]) -> Known<'_> {
    let mut known = Known::new();
    for Npm { service, name, version, integrity } in packages {
        known.entry((service, name)).or_default().push((version, integrity.clone()));
    }
    known
}

fn differences(lock: &Known<'_>, app: &Known<'_>, what: &str, file: impl Fn(&str) -> String) -> Vec<String> {
    let versions = |found: &[(&str, String)]| {
        found.iter().map(|(version, _)| *version).collect::<Vec<_>>().join(" and ")
    };
    let mut told = Vec::new();
    for (key @ (service, name), here) in app {
        match lock.get(key) {
            Some(locked) if locked == here => {}
            // Of several versions in a tree only those that differ are worth a look.
            Some(locked) => {
                let without = |some: &[(&str, String)], others: &[(&str, String)]| {
                    let some = some.iter().filter(|one| !others.contains(one));
                    let some: Vec<_> =
                        some.map(|(version, hash)| format!("{version} ({})", own(hash, others))).collect();
                    if some.is_empty() { "no other".to_owned() } else { some.join(" and ") }
                };
                let (locked, here) = (without(locked, here), without(here, locked));
                told.push(format!("{what} '{name}' is {here} in {} and {locked} in {FILE}", file(service)));
            }
            None => told.push(format!(
                "{what} '{name}' {} is in {} and not in {FILE}",
                versions(here),
                file(service)
            )),
        }
    }
    let gone = lock.iter().filter(|(key, _)| !app.contains_key(*key));
    told.extend(gone.map(|((service, name), locked)| {
        format!("{what} '{name}' {} is in {FILE} and not in {}", versions(locked), file(service))
    }));
    told
}

/// The hashes that none of the others has; of a wheel for each platform there may be dozens.
fn own(hashes: &str, others: &[(&str, String)]) -> String {
    const SHOWN: usize = 2;
    let known = |hash: &&str| others.iter().any(|(_, others)| others.split(',').any(|other| other == *hash));
    let own: Vec<_> = hashes.split(',').filter(|hash| !known(hash)).collect();
    match own.len() {
        0 => "none that is its own".to_owned(),
        count if count <= SHOWN => own.join(","),
        count => format!("{} and {} more", own[..SHOWN].join(","), count - SHOWN),
    }
}

/// One package that an update moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Move {
    /// `root`, `debian`, `tool`, `python` or `npm`.
    pub world: &'static str,
    /// The package.
    pub name: String,
    /// Version before; `None` when it is new.
    pub from: Option<String>,
    /// Version now; `None` when it is gone. The same as before when only the hash is another.
    pub to: Option<String>,
}

/// Everything that differs between two locks, by world and name.
pub fn moves(old: Option<&Lockfile>, new: &Lockfile) -> Vec<Move> {
    let (then, now) = (old.map(worlds).unwrap_or_default(), worlds(new));
    let mut moves = Vec::new();
    for (world, name) in then.keys().chain(now.keys().filter(|key| !then.contains_key(*key))) {
        let key = &(*world, *name);
        let (before, after) = (then.get(key), now.get(key));
        if before != after {
            let versions = |found: Option<&Vec<(&str, String)>>| {
                Some(found?.iter().map(|(version, _)| *version).collect::<Vec<_>>().join(", "))
            };
            moves.push(Move { world, name: (*name).to_owned(), from: versions(before), to: versions(after) });
        }
    }
    moves.sort_by(|left, right| (left.world, &left.name).cmp(&(right.world, &right.name)));
    moves
}

fn worlds(lock: &Lockfile) -> BTreeMap<(&'static str, &str), Vec<(&str, String)>> {
    let mut worlds: BTreeMap<_, Vec<_>> = BTreeMap::new();
    if let Some(root) = &lock.root {
        worlds.entry(("root", &*lock.base)).or_default().push((&root[..12.min(root.len())], root.clone()));
    }
    for (world, debs) in [("debian", &lock.deb), ("tool", &lock.tool)] {
        for deb in debs {
            worlds.entry((world, &*deb.name)).or_default().push((&*deb.version, deb.sha256.clone()));
        }
    }
    for (world, known) in [("python", pythons(&lock.wheel)), ("npm", nodes(&lock.npm))] {
        for ((_, name), mut found) in known {
            worlds.entry((world, name)).or_default().append(&mut found);
        }
    }
    for found in worlds.values_mut() {
        found.sort();
        found.dedup();
    }
    worlds
}

#[cfg(test)]
mod tests {
    use super::super::tests::lock;
    use super::*;
    use std::path::Path;

    fn manifest(image: &str) -> Manifest {
        let text = format!(
            "[image]\nname = \"shop\"\n{image}\n[[service]]\nname = \"shop\"\npath = \"/\"\nbackend = \"back\"\nwsgi = \"shop:app\"\nfrontend = \"front\"\n"
        );
        Manifest::parse(&text, Path::new("/app")).expect("a valid manifest").0
    }

    #[test]
    fn a_lock_that_fits_has_no_fault() {
        let lock = lock();
        assert_eq!(faults(&lock, &manifest("packages = [\"jq\"]"), &lock.wheel, &lock.npm), [""; 0]);
    }

    #[test]
    fn a_mismatch_names_package_both_hashes_and_the_way_out() {
        let lock = lock();
        let (mut wheels, mut npm) = (lock.wheel.clone(), lock.npm.clone());
        wheels[0].version = "3.1.1".into();
        wheels[0].sha256 = vec!["99".into()];
        npm[0].integrity = "sha512-00==".into();
        let told = told(&faults(&lock, &manifest("packages = [\"curl\"]"), &wheels, &npm));
        for expected in [
            "package 'curl' is in kiln.toml and not in kiln.lock",
            "package 'jq' is in kiln.lock and not in kiln.toml",
            "Python package 'flask' is 3.1.1 (sha256:99) in back/requirements.txt and 3.1.0 (sha256:dd,sha256:ee) in kiln.lock",
            "npm package '@types/node' is 3.1.0 (sha512-00==) in front/package-lock.json and 3.1.0 (sha512-ff==) in kiln.lock",
            "'kiln update --app'",
        ] {
            assert!(told.contains(expected), "{expected} is not in {told}");
        }
        let told = faults(&lock, &manifest("packages = [\"jq\"]"), &[], &lock.npm);
        assert_eq!(told, ["Python package 'flask' 3.1.0 is in kiln.lock and not in back/requirements.txt"]);
        let mut wheels = lock.wheel.clone();
        wheels[0].sha256 = ["dd", "00", "11", "22", "33"].map(str::to_owned).into();
        let told = faults(&lock, &manifest("packages = [\"jq\"]"), &wheels, &lock.npm);
        assert_eq!(
            told,
            [
                "Python package 'flask' is 3.1.0 (sha256:00,sha256:11 and 2 more) in back/requirements.txt and 3.1.0 (sha256:ee) in kiln.lock"
            ]
        );
    }

    #[test]
    fn an_update_tells_what_moved_came_and_went() {
        let (old, mut new) = (lock(), lock());
        new.deb[1].version = "2.1".into();
        new.tool[0].sha256 = "00".into();
        new.npm.clear();
        new.wheel.push(Wheel { name: "rich".into(), ..new.wheel[0].clone() });
        let told: Vec<_> = moves(Some(&old), &new)
            .into_iter()
            .map(|moved| format!("{} {} {:?} {:?}", moved.world, moved.name, moved.from, moved.to))
            .collect();
        assert_eq!(
            told,
            [
                "debian nginx Some(\"1:2.0-3+deb12u1\") Some(\"2.1\")",
                "npm @types/node Some(\"3.1.0\") None",
                "python rich None Some(\"3.1.0\")",
                "tool e2fsprogs Some(\"1:2.0-3+deb12u1\") Some(\"1:2.0-3+deb12u1\")",
            ]
        );
        assert!(moves(Some(&old), &old).is_empty());
    }
}
