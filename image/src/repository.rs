//! A Debian repository of exactly the packages of a lock, for one run of mmdebstrap: it cannot choose anything else.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::deb::Deb;
use crate::error::{At, Result};
use crate::host;

/// Writes it below `dir`; every package is in `cache` already. Returns its line for a `sources.list`.
///
/// It is not signed: Debian's signature was checked when the lock was made, and the hashes are the lock's.
pub(crate) fn write(dir: &Path, cache: &Path, suite: &str, debs: &[Deb]) -> Result<String> {
    host::need("dpkg-deb")?;
    let index = dir.join("dists").join(suite).join("main/binary-amd64");
    let pool = dir.join("pool");
    for folder in [&index, &pool] {
        fs::create_dir_all(folder).at("create", folder)?;
    }
    let mut packages = String::new();
    for deb in debs {
        let (from, name) = (deb.cached(cache), format!("pool/{}.deb", deb.sha256));
        let to = dir.join(&name);
        fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(drop)).at("link to", &to)?;
        let mut command = host::bound("dpkg-deb")?;
        host::run(command.arg("--field").arg(&from), "dpkg-deb", |line| {
            packages.push_str(line);
            packages.push('\n');
        })?;
        // Writing to a string cannot fail.
        let _ = write!(packages, "Filename: {name}\nSize: {}\nSHA256: {}\n\n", deb.size, deb.sha256);
    }
    let path = index.join("Packages");
    fs::write(&path, packages).at("write", &path)?;
    let release = dir.join("dists").join(suite).join("Release");
    let text = format!("Suite: {suite}\nCodename: {suite}\nArchitectures: amd64\nComponents: main\n");
    fs::write(&release, text).at("write", &release)?;
    Ok(format!("deb [trusted=yes] copy://{} {suite} main", url(dir)))
}

/// A path in a `sources.list`, which is split at blanks.
fn url(path: &Path) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-~".contains(&byte);
    let bytes = path.as_os_str().as_encoded_bytes();
    bytes
        .iter()
        .map(|byte| if plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02x}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_a_blank_is_one_word() {
        assert_eq!(url(Path::new("/a folder/größe")), "/a%20folder/gr%c3%b6%c3%9fe");
    }
}
