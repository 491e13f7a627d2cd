//! Looks for secrets in every file of a root that no package vouches for, by the rules of [`rules`].
//!
//! ```text
//! base   what its packages' sums vouch for is known to the world; the rest is scanned once and kept by the base
//! layer  every file, on each bake, but what the wheels that the lock names brought along
//! ```

mod allow;
mod rules;
mod vouched;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use kiln_image::Base;
use serde::{Deserialize, Serialize};

use crate::manifest::Expect;

pub use rules::RuleSet;
use vouched::Vouched;

/// Raised when the same rules find something else in the same file.
const VERSION: u32 = 1;

/// What looks like a secret. Never holds it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Secret {
    /// Absolute inside the image, with `current` where a release's or venv's name would be.
    pub path: String,
    /// From 1; of the first of its rule in the file.
    pub line: usize,
    /// The rule's id.
    pub rule: String,
    /// How often the rule found something in the file.
    pub count: usize,
}

/// Why an image must not ship.
#[derive(Debug, thiserror::Error)]
pub struct Secrets {
    found: Vec<Secret>,
    by: String,
}

impl fmt::Display for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the image holds what looks like a secret to {} ({} findings):",
            self.by,
            self.found.len()
        )?;
        for Secret { path, line, rule, count } in &self.found {
            let more = if *count > 1 { format!(", and {} more", count - 1) } else { String::new() };
            write!(
                f,
                "\n  {path}:{line}: {rule}{more}; if it is none, write it to kiln.toml: [expect] secrets = [{{ rule = \"{rule}\", path = \"{path}\" }}]"
            )?;
        }
        Ok(())
    }
}

/// Looks at a base and at the layer over it, whose union is at `merged`. What the manifest does not expect fails.
///
/// # Errors
/// [`Secrets`], or a file cannot be read.
pub fn check(base: &Base, upper: &Path, merged: &Path, expect: &Expect) -> anyhow::Result<()> {
    let mut found = of_base(&base.tree(), base.dir())?;
    found.retain(|secret| {
        let path = secret.path.trim_start_matches('/');
        upper.join(path).symlink_metadata().is_err() && merged.join(path).exists()
    });
    found.append(&mut within(upper, &Vouched::by_wheels(upper))?);
    judge(found, expect)
}

/// What the base root holds. Kept beside the base, which never changes.
fn of_base(tree: &Path, kept_in: &Path) -> anyhow::Result<Vec<Secret>> {
    #[derive(Serialize, Deserialize)]
    struct Kept {
        rules: String,
        found: Vec<Secret>,
    }
    let rules = RuleSet::shipped()?;
    let (path, now) = (kept_in.join("secrets.json"), format!("{VERSION} {}", rules.sha256));
    let kept = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Kept>(&text).ok());
    if let Some(kept) = kept.filter(|kept| kept.rules == now) {
        return Ok(kept.found);
    }
    let found = within(tree, &Vouched::by_debs(tree))?;
    let text = serde_json::to_vec(&Kept { rules: now, found: found.clone() })
        .context("failed to write the findings")?;
    // Another bake may do the same at the same time: what appears is whole.
    let write = tempfile::NamedTempFile::new_in(kept_in).and_then(|file| {
        fs::write(file.path(), text)?;
        file.persist(&path).map(drop).map_err(Into::into)
    });
    write.with_context(|| format!("failed to write {}", path.display()))?;
    Ok(found)
}

/// Fails for everything that the manifest does not expect.
fn judge(mut found: Vec<Secret>, expect: &Expect) -> anyhow::Result<()> {
    found.retain(|secret| !expect.secrets.iter().any(|expected| expected.covers(&secret.rule, &secret.path)));
    found.sort();
    if found.is_empty() {
        return Ok(());
    }
    Err(Secrets { found, by: RuleSet::shipped()?.name.clone() }.into())
}

/// Everything below `root`, on every core.
fn within(root: &Path, vouched: &Vouched) -> anyhow::Result<Vec<Secret>> {
    let rules = RuleSet::shipped()?;
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(root) {
        let entry = entry.with_context(|| format!("failed to list {}", root.display()))?;
        if entry.file_type().is_file() {
            files.push(entry.into_path());
        }
    }
    let (next, found, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Mutex::new(None));
    let work = || {
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            match one(root, file, rules, vouched) {
                Ok(mut of_file) if !of_file.is_empty() => lock(&found).append(&mut of_file),
                Ok(_) => {}
                Err(error) => *lock(&failed) = Some(error),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    if let Some(error) = lock(&failed).take() {
        return Err(error);
    }
    let mut found = std::mem::take(&mut *lock(&found));
    found.sort();
    Ok(found)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn one(root: &Path, file: &PathBuf, rules: &RuleSet, vouched: &Vouched) -> anyhow::Result<Vec<Secret>> {
    let content = fs::read(file).with_context(|| format!("failed to read {}", file.display()))?;
    let path = file.strip_prefix(root).unwrap_or(file).to_string_lossy();
    if vouched.knows(&path, &content) || vouched.knows_source(root, &path) {
        return Ok(Vec::new());
    }
    let name = lasting(&path);
    let findings = rules.findings(&name, &content)?;
    let mut secrets: Vec<Secret> = Vec::new();
    for (rule, at) in findings {
        match secrets.iter_mut().find(|secret| secret.rule == rule) {
            Some(secret) => secret.count += 1,
            None => secrets.push(Secret {
                path: format!("/{name}"),
                line: content[..at].split(|byte| *byte == b'\n').count(),
                rule: rule.to_owned(),
                count: 1,
            }),
        }
    }
    Ok(secrets)
}

/// A path that the next release has, too: the names of releases and venvs are hashes.
fn lasting(path: &str) -> String {
    let parts: Vec<&str> = path.splitn(5, '/').collect();
    match parts[..] {
        ["srv", service, "releases", _, rest] => format!("srv/{service}/current/{rest}"),
        ["srv", service, "venvs", _, rest] => format!("srv/{service}/current/venv/{rest}"),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::ExpectedSecret;

    /// Put together here, so that no scan of this repository takes it for a key.
    fn key() -> String {
        ["AKIA", "Q3EGRIYVB2LKXMTZ"].concat()
    }

    fn put(root: &Path, path: &str, content: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("it has a parent")).expect("the folder is made");
        fs::write(path, content).expect("the file is written");
    }

    #[test]
    fn a_finding_names_file_line_and_rule_never_the_secret_and_expecting_it_is_enough() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let conf = format!("# two\nA = '{0}'\nB = '{0}'\n", key());
        put(dir.path(), "srv/shop/releases/0123/src/conf.py", &conf);
        put(dir.path(), "srv/shop/venvs/4567/lib/a/b.py", &conf);
        put(dir.path(), "opt/tool.conf", &conf);
        let found = within(dir.path(), &Vouched::default()).expect("it is readable");
        let error = judge(found.clone(), &Expect::default()).expect_err("three files").to_string();
        assert!(!error.contains(&key()), "{error}");
        for expected in [
            "(3 findings)",
            "/opt/tool.conf:2: aws-access-token, and 1 more; if it is none",
            "\n  /srv/shop/current/src/conf.py:2: aws-access-token",
            "[expect] secrets = [{ rule = \"aws-access-token\", path = \"/srv/shop/current/venv/lib/a/b.py\" }]",
        ] {
            assert!(error.contains(expected), "{expected} is not in {error}");
        }
        let expect = |rule: &str, paths: &[&str]| Expect {
            secrets: paths
                .iter()
                .map(|path| ExpectedSecret { rule: rule.into(), path: (*path).into() })
                .collect(),
            ..Expect::default()
        };
        let all = ["/opt/tool.conf", "/srv/shop/current/"];
        judge(found.clone(), &expect("aws-access-token", &all)).expect("all are expected");
        judge(found.clone(), &expect("github-pat", &all)).expect_err("of another rule");
        judge(found, &expect("aws-access-token", &all[1..])).expect_err("one is not");
    }

    #[test]
    fn a_wheel_vouches_for_what_it_brought_along_and_for_nothing_else() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let conf = format!("A = '{}'\n", key());
        let home = "srv/shop/venvs/4567/lib/python3.11/site-packages";
        for path in [
            "a/keys.py",
            "a/__pycache__/keys.cpython-311.pyc",
            "a/changed.py",
            "a/__pycache__/changed.cpython-311.pyc",
            "own.py",
        ] {
            put(dir.path(), &format!("{home}/{path}"), &conf);
        }
        put(dir.path(), "srv/shop/releases/0123/src/a/keys.py", &conf);
        let sum = vouched::sha256_of_record(conf.as_bytes());
        let record = format!(
            "\"a/keys.py\",sha256={sum},9\na/changed.py,sha256=AAAA,9\n../../../../../releases/0123/src/a/keys.py,sha256={sum},9\na/RECORD,,\n,\nno record"
        );
        put(dir.path(), &format!("{home}/a-1.0.dist-info/RECORD"), &record);
        let found = within(dir.path(), &Vouched::by_wheels(dir.path())).expect("it is readable");
        let paths: Vec<_> =
            found.iter().map(|secret| secret.path.trim_start_matches("/srv/shop/current/")).collect();
        let in_venv = "venv/lib/python3.11/site-packages";
        let expected = ["a/__pycache__/changed.cpython-311.pyc", "a/changed.py", "own.py"]
            .map(|path| format!("{in_venv}/{path}"));
        assert_eq!(paths, [&["src/a/keys.py".to_owned()][..], &expected[..]].concat());
    }

    #[test]
    fn a_package_vouches_for_its_own_bytes_alone_and_the_base_is_read_once() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (tree, kept_in) = (dir.path().join("tree"), dir.path());
        let conf = format!("A = '{}'\n", key());
        put(&tree, "usr/lib/a.py", &conf);
        put(&tree, "usr/lib/__pycache__/a.cpython-311.pyc", &conf);
        put(&tree, "usr/lib/b.py", &format!("{conf}# changed\n"));
        put(&tree, "usr/lib/__pycache__/b.cpython-311.pyc", &conf);
        std::os::unix::fs::symlink("usr/lib", tree.join("lib")).expect("a link");
        let sum = format!("{:032x}", vouched::md5(conf.as_bytes()));
        put(&tree, "var/lib/dpkg/info/a.md5sums", &format!("{sum}  lib/a.py\n{sum}  usr/lib/b.py\n"));
        let found = of_base(&tree, kept_in).expect("it is readable");
        assert_eq!(
            found.iter().map(|secret| secret.path.as_str()).collect::<Vec<_>>(),
            ["/usr/lib/__pycache__/b.cpython-311.pyc", "/usr/lib/b.py"]
        );
        fs::remove_dir_all(&tree).expect("the tree goes");
        assert_eq!(of_base(&tree, kept_in).expect("it is kept"), found);
        fs::write(kept_in.join("secrets.json"), r#"{"rules":"others","found":[]}"#).expect("other rules");
        of_base(&tree, kept_in).expect_err("what other rules found does not count");
    }
}
