//! Debian packages by what they are: name, version and hash; fetched into a cache that is addressed by the hash.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::debian::Mirror;
use crate::error::{At, Error, Result};
use crate::hash::Hashing;
use crate::progress::{Progress, Unit};
use crate::tools::remove;
use crate::{host, lock, space};

/// apt's own downloader: proxies, retries and several hosts are its affair.
const HELPER: &str = "/usr/lib/apt/apt-helper";
/// Keeps every version that Debian ever published, by the time at which it did.
const SNAPSHOT: &str = "http://snapshot.debian.org/archive";
/// Another bake fetches them in seconds to minutes; past this its mirror is stuck.
const WAIT: Duration = Duration::from_mins(15);

/// One package, as a lock file names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deb {
    /// `nginx-light`.
    pub name: String,
    /// `1.22.1-9+deb12u11`, with its epoch if it has one.
    pub version: String,
    /// `amd64` or `all`.
    pub arch: String,
    /// In hex.
    pub sha256: String,
    /// Bytes of the file.
    pub size: u64,
    /// Where it is in Debian, the archive's name first: `debian-security/pool/updates/main/n/nginx/….deb`.
    pub file: String,
}

impl Deb {
    /// In the cache: whatever has the right bytes is the right file.
    pub(crate) fn cached(&self, cache: &Path) -> PathBuf {
        cache.join("debs").join(format!("{}.deb", self.sha256))
    }

    /// Whether the cache has it, bytes and all.
    fn is_cached(&self, cache: &Path) -> Result<bool> {
        let path = self.cached(cache);
        Ok(path.is_file() && sha256(&path)? == self.sha256)
    }
}

/// Fetches what the cache lacks. What the mirror no longer has comes from Debian's archive of `since`
/// (`20261122T124300Z`), if that is known.
///
/// # Errors
/// [`Error::Changed`] when a mirror has other bytes, [`Error::Gone`] when nobody has the package any more.
pub fn fetch(
    cache: &Path,
    debs: &[Deb],
    mirror: &Mirror,
    since: Option<&str>,
    progress: &dyn Progress,
) -> Result<()> {
    let home = cache.join("debs");
    fs::create_dir_all(&home).at("create", &home)?;
    let _lock = lock::acquire(&home.join("lock"), WAIT, progress)?;
    let mut missing = Vec::new();
    for deb in debs {
        if !deb.is_cached(cache)? {
            // A damaged one must not pass for one that has come.
            let path = deb.cached(cache);
            fs::remove_file(&path).or_else(absent_is_fine).at("remove", &path)?;
            missing.push(deb);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    space::require(&home, "Debian packages", 2 * missing.iter().map(|deb| deb.size).sum::<u64>())?;
    progress.message(&format!("fetching {} Debian packages", missing.len()));
    // Whatever a killed run left: the lock says that nobody works in there.
    let part = home.join("partial");
    remove(&part)?;
    fs::create_dir(&part).at("create", &part)?;
    let result = from_anywhere(cache, &missing, mirror, since, &part, progress);
    remove(&part)?;
    result
}

fn from_anywhere(
    cache: &Path,
    missing: &[&Deb],
    mirror: &Mirror,
    since: Option<&str>,
    part: &Path,
    progress: &dyn Progress,
) -> Result<()> {
    let mut said = download(missing, |deb| mirror.url(&deb.file), part, progress)?;
    let mut changed = take(cache, missing, part, mirror)?;
    let absent = || missing.iter().copied().filter(|deb| !deb.cached(cache).is_file()).collect::<Vec<_>>();
    if let (false, Some(since)) = (absent().is_empty(), since) {
        progress.message(&format!("fetching {} Debian packages from {SNAPSHOT}", absent().len()));
        let from_archive = |deb: &Deb| {
            let (archive, file) = deb.file.split_once('/').unwrap_or(("debian", &deb.file));
            format!("{SNAPSHOT}/{archive}/{since}/{}", escaped(file))
        };
        let absent = absent();
        said.extend(download(&absent, from_archive, part, progress)?);
        let archive = Mirror { debian: SNAPSHOT.to_owned(), security: SNAPSHOT.to_owned() };
        changed = take(cache, &absent, part, &archive)?.or(changed);
    }
    match (absent().first(), changed) {
        (None, _) => Ok(()),
        (Some(_), Some(changed)) => Err(changed),
        (Some(deb), None) => {
            let (name, version) = (deb.name.clone(), deb.version.clone());
            let about = said.iter().find(|line| line.contains(&*escaped(&deb.file)));
            let detail = about.or(said.first()).map_or("no answer", |line| line.trim_start_matches("E: "));
            let (mirror, detail) = (mirror.of(&deb.file).to_owned(), detail.to_owned());
            Err(if is_gone(&detail) {
                Error::Gone { name, version, mirror, detail }
            } else {
                Error::Mirror { mirror, detail }
            })
        }
    }
}

/// Whether a mirror answered that it has no such file; anything else that apt says means that it did not answer.
fn is_gone(detail: &str) -> bool {
    ["404", "File not found"].iter().any(|said| detail.contains(said))
}

/// Returns what apt complained about; which files came is to be looked for.
fn download(
    debs: &[&Deb],
    url: impl Fn(&Deb) -> String,
    part: &Path,
    progress: &dyn Progress,
) -> Result<Vec<String>> {
    host::need_file(HELPER, "apt")?;
    let mut command = host::bound(HELPER)?;
    command.args(["-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3", "download-file"]);
    for deb in debs {
        command.arg(url(deb)).arg(part.join(&deb.sha256)).arg("");
    }
    command.env("LC_ALL", "C.UTF-8");
    let (mut done, total) = (0, Some(debs.len() as u64));
    let mut said = Vec::new();
    let result = host::run(&mut command, "apt-helper", |line| {
        progress.line(line);
        if line.starts_with("Get:") {
            done += 1;
            progress.position(done, total, Unit::Items);
        } else if line.starts_with("E: ") {
            said.push(line.to_owned());
        }
    });
    match result {
        // One that failed is among those that are looked for.
        Ok(()) | Err(Error::Tool { .. }) => Ok(said),
        Err(other) => Err(other),
    }
}

/// Moves what has the right bytes into the cache; the first that has not is returned as an error.
fn take(cache: &Path, debs: &[&Deb], part: &Path, mirror: &Mirror) -> Result<Option<Error>> {
    let mut changed = None;
    for deb in debs {
        let file = part.join(&deb.sha256);
        if !file.is_file() {
            continue;
        }
        // Of a mirror that is a folder here, apt hands out links, which would go with the mirror.
        if file.is_symlink() {
            let real = file.canonicalize().at("find", &file)?;
            fs::remove_file(&file).at("remove", &file)?;
            fs::copy(&real, &file).at("copy", &real)?;
        }
        let found = sha256(&file)?;
        if found == deb.sha256 {
            let home = deb.cached(cache);
            fs::rename(&file, &home).at("rename to", &home)?;
        } else if changed.is_none() {
            changed = Some(Error::Changed {
                name: deb.name.clone(),
                version: deb.version.clone(),
                locked: deb.sha256.clone(),
                found,
                mirror: mirror.of(&deb.file).to_owned(),
            });
            fs::remove_file(&file).at("remove", &file)?;
        }
    }
    Ok(changed)
}

/// A path as in a URL: `+` and `~` are what package versions have besides the plain characters.
pub(crate) fn escaped(path: &str) -> String {
    path.replace('%', "%25").replace('+', "%2b").replace(' ', "%20")
}

fn absent_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).at("open", path)?;
    let mut sink = Hashing::new(io::sink());
    io::copy(&mut file, &mut sink).at("read", path)?;
    Ok(sink.finish().1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    fn deb(sha256: &str, content: &str) -> Deb {
        Deb {
            name: "cup".into(),
            version: "1.0+b1".into(),
            arch: "all".into(),
            sha256: sha256.into(),
            size: content.len() as u64,
            file: "debian/pool/c/cup_1.0+b1_all.deb".into(),
        }
    }

    /// A mirror of one package, as a folder: apt reads `file:` like any other place.
    fn mirror(dir: &Path, content: &str) -> Mirror {
        let root = dir.join("mirror");
        fs::create_dir_all(root.join("pool/c")).expect("a folder");
        fs::write(root.join("pool/c/cup_1.0+b1_all.deb"), content).expect("a package");
        let url = format!("file://{}", root.display());
        Mirror { debian: url.clone(), security: url }
    }

    const CUP: &str = "5f84df4a6ce15b2df3f3ab0b2b4a1ac3a5cc6ac0ac4b6d4ef8f2a4b2d2f0a9e1";

    #[test]
    fn a_mirror_that_does_not_answer_is_told_from_one_that_has_dropped_a_package() {
        for (detail, gone) in [
            ("Failed to fetch http://m/pool/a.deb  404  Not Found [IP: 192.0.2.1 80]", true),
            ("Failed to fetch file:/mirror/pool/a.deb  File not found - /mirror/pool/a.deb", true),
            ("Failed to fetch http://m/pool/a.deb  Temporary failure resolving 'm'", false),
            ("Failed to fetch http://m/pool/a.deb  Could not connect to m:80 (192.0.2.1).", false),
            ("Failed to fetch http://m/pool/a.deb  503  Service Unavailable", false),
        ] {
            assert_eq!(is_gone(detail), gone, "{detail}");
        }
    }

    #[test]
    fn a_package_is_fetched_once_and_only_with_the_bytes_that_were_asked_for() {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let mirror = mirror(dir.path(), "a cup");
        let wrong = deb(CUP, "a cup");
        let error =
            fetch(dir.path(), std::slice::from_ref(&wrong), &mirror, None, &Silent).expect_err("other bytes");
        let Error::Changed { found, .. } = &error else { panic!("{error}") };
        let text = error.to_string();
        assert!(text.contains("'cup' 1.0+b1") && text.contains(CUP) && text.contains(found), "{text}");
        assert!(!wrong.cached(dir.path()).exists(), "what is wrong is not kept");

        let right = deb(found, "a cup");
        fetch(dir.path(), std::slice::from_ref(&right), &mirror, None, &Silent).expect("the right bytes");
        fs::remove_dir_all(dir.path().join("mirror")).expect("the mirror goes");
        fetch(dir.path(), std::slice::from_ref(&right), &mirror, None, &Silent).expect("it is cached");
        fs::write(right.cached(dir.path()), "a jug").expect("the cache is damaged");
        let error =
            fetch(dir.path(), &[right], &mirror, None, &Silent).expect_err("neither cached nor there");
        assert!(matches!(error, Error::Gone { .. }), "{error}");
    }
}
