//! uv, which installs the Python side: one pinned version, from a Python index, checked by its hash.
//!
//! The host's own uv is left alone: a bake's bytes must not depend on which version a machine happens to have,
//! and the wheel costs two seconds once.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::bench::Bench;
use crate::sandbox::Sandbox;
use crate::venv::Python;

/// Part of every digest.
pub const VERSION: &str = "0.13.9";

/// Architecture, wheel, and its SHA-256 as `PyPI` lists them.
const WHEELS: [(&str, &str, &str); 2] = [
    (
        "x86_64",
        "uv-0.13.9-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19",
    ),
    (
        "aarch64",
        "uv-0.13.9-py3-none-manylinux_2_28_aarch64.whl",
        "ecb6028d79dc96fbeafffe5c8af62a7099487ebc05a701e76714eebcffd06375",
    ),
];

const PYPI: &str = "https://pypi.org/simple";

/// The program in the host's cache, fetched if it is not there by `python`.
///
/// # Errors
/// The index does not answer, or has other bytes than the pinned.
pub fn ensure(bench: &Bench, python: Python<'_>) -> anyhow::Result<PathBuf> {
    let Python { root, program: interpreter } = python;
    let program = bench.cache.join("uv").join(VERSION).join("uv");
    if program.is_file() {
        return Ok(program);
    }
    let Some((_, wheel, sha256)) = WHEELS.iter().find(|(arch, ..)| *arch == std::env::consts::ARCH) else {
        bail!("there is no uv for the architecture {}", std::env::consts::ARCH);
    };
    let index = std::env::var("UV_INDEX_URL").unwrap_or_else(|_| PYPI.to_owned());
    bench.entry("uv", VERSION, |dir| {
        let script = dir.join("fetch_uv.py");
        fs::write(&script, include_str!("fetch_uv.py")).context("failed to write a script")?;
        let inside = Path::new("/tmp/uv");
        Sandbox::root_read_only(root)
            .network(root)
            .bind(dir, inside)
            .run(bench, &[interpreter, "/tmp/uv/fetch_uv.py", &index, wheel, sha256, "/tmp/uv/uv"])
            .context("failed to fetch uv")?;
        fs::remove_file(script).context("failed to remove a script")?;
        fs::set_permissions(dir.join("uv"), fs::Permissions::from_mode(0o755))
            .context("failed to make uv executable")
    })?;
    Ok(program)
}
