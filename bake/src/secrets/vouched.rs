//! What packages vouch for by the sums of their own files: whatever looks like a secret in those is known to everybody who has
//! the package.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use md5::{Digest as _, Md5};
use sha2::Sha256;

/// The sum of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Sum {
    /// Debian's `md5sums`.
    Md5(u128),
    /// A wheel's `RECORD`, in its own letters.
    Sha256(String),
}

/// Sums by path.
#[derive(Debug, Default)]
pub(super) struct Vouched(HashMap<String, Sum>);

impl Vouched {
    /// By the Debian packages that are installed in `root`.
    pub(super) fn by_debs(root: &Path) -> Self {
        let lists = fs::read_dir(root.join("var/lib/dpkg/info")).into_iter().flatten().flatten();
        let lists = lists.filter(|list| list.path().extension().is_some_and(|kind| kind == "md5sums"));
        let mut sums = HashMap::new();
        for list in lists.filter_map(|list| fs::read_to_string(list.path()).ok()) {
            for (sum, path) in list.lines().filter_map(|line| line.split_once("  ")) {
                // Packages still say /bin and /lib, which are links to what is in /usr.
                let top = path.split('/').next().unwrap_or(path);
                let below_usr = root.join(top).is_symlink();
                let path = if below_usr { format!("usr/{path}") } else { path.to_owned() };
                sums.extend(u128::from_str_radix(sum, 16).map(|sum| (path, Sum::Md5(sum))));
            }
        }
        Self(sums)
    }

    /// By the wheels in the venvs of `root`, each of which the lock names with its hash.
    pub(super) fn by_wheels(root: &Path) -> Self {
        // srv/<service>/venvs/<lock hash>/lib/python3.<n>/site-packages/<wheel>.dist-info/RECORD
        let records = walkdir::WalkDir::new(root.join("srv")).min_depth(8).max_depth(8).into_iter().flatten();
        let mut sums = HashMap::new();
        for record in records.filter(|entry| entry.file_name() == "RECORD") {
            let home = record.path().ancestors().nth(2).and_then(|home| home.strip_prefix(root).ok());
            let (Some(home), Ok(text)) = (home, fs::read_to_string(record.path())) else { continue };
            sums.extend(
                text.lines()
                    .filter_map(recorded)
                    .map(|(path, sum)| (home.join(path).to_string_lossy().into_owned(), Sum::Sha256(sum))),
            );
        }
        Self(sums)
    }

    pub(super) fn knows(&self, path: &str, content: &[u8]) -> bool {
        match self.0.get(path) {
            Some(Sum::Md5(sum)) => *sum == md5(content),
            Some(Sum::Sha256(sum)) => *sum == sha256_of_record(content),
            None => false,
        }
    }

    /// Whether `path` is what Python compiled of a file that a package vouches for.
    pub(super) fn knows_source(&self, root: &Path, path: &str) -> bool {
        let source = path.strip_suffix(".pyc").and_then(|path| path.split_once("__pycache__/"));
        let source = source.and_then(|(dir, name)| Some(format!("{dir}{}.py", name.split_once('.')?.0)));
        source.is_some_and(|path| fs::read(root.join(&path)).is_ok_and(|content| self.knows(&path, &content)))
    }
}

/// A line of a `RECORD`: a path below the folder that the wheel was installed in, and its sum (the specification "recording
/// installed projects"). Not of what lies elsewhere, such as scripts, which the installation writes.
fn recorded(line: &str) -> Option<(String, String)> {
    let mut fields = line.rsplitn(3, ',');
    let (_size, sum, path) = (fields.next()?, fields.next()?, fields.next()?);
    let path = match path.strip_prefix('"').and_then(|path| path.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => path.to_owned(),
    };
    let below = Path::new(&path).components().all(|part| matches!(part, std::path::Component::Normal(_)));
    Some((path, sum.strip_prefix("sha256=")?.to_owned())).filter(|_| below)
}

pub(super) fn md5(content: &[u8]) -> u128 {
    u128::from_be_bytes(Md5::digest(content).into())
}

pub(super) fn sha256_of_record(content: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(content))
}
