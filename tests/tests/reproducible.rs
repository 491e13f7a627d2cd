//! One app, two machines: the same digest, and the same bytes of everything that ships.

use kiln_tests::programs::{agent, kiln, run};
use kiln_tests::starter::{bake, fresh};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Of the cache, what comes from Debian, npm and `PyPI` as it is; frontend and venv are built anew.
const DOWNLOADS: [&str; 5] = ["base", "tools", "npm", "uv", "uv-cache"];

#[test]
fn another_folder_user_locale_and_hostname_give_the_same_bytes() {
    let here = fresh();
    let first = bake(&here.path().join("app"));

    let there = fresh();
    let deep = there.path().join("a folder/of another/name");
    fs::create_dir_all(&deep).expect("make a folder");
    fs::rename(there.path().join("app"), deep.join("checkout")).expect("move the app");
    let cache = there.path().join("cache");
    fs::create_dir(&cache).expect("make a cache");
    for name in DOWNLOADS {
        symlink(shared_cache().join(name), cache.join(name)).expect("share what was downloaded");
    }
    let second = bake_elsewhere(&deep.join("checkout"), &cache);

    assert_eq!(first.receipt["digest"], second["digest"]);
    let image = PathBuf::from(second["dir"].as_str().expect("the receipt names the image's folder"));
    for name in ["root.tar", "disk.raw", "packages.spdx.json"] {
        let [first, second] = [&first.image, &image].map(|image| sha256(&image.join(name)));
        assert_eq!(first, second, "{name}");
    }
    assert_eq!(first.receipt["disk"]["sha256"].as_str(), Some(sha256(&first.disk()).as_str()));
    let built = |name: &str| {
        let steps = second["steps"].as_array().expect("the receipt lists the steps");
        steps.iter().any(|step| step["step"] == name && step["outcome"] == "built")
    };
    assert!(built("frontend") && built("venv"), "what was compared was taken from one cache: {second}");
}

/// A bake as another host and user would do it: hostname, umask, locale, time zone, home and cache are others.
fn bake_elsewhere(app: &Path, cache: &Path) -> Value {
    let script = r#"hostname elsewhere; umask 077; exec "$@""#;
    let mut command = Command::new("unshare");
    command.args(["--uts", "sh", "-c", script, "sh"]).arg(kiln()).args(["--json", "bake"]);
    command.current_dir(app).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("KILN_AGENT", agent()).env("KILN_CACHE", cache).env("HOME", app);
    command.env("LC_ALL", "tr_TR.UTF-8").env("TZ", "Pacific/Chatham").env("USER", "somebody");
    command.env("PYTHONHASHSEED", "7").env("HOSTNAME", "elsewhere");
    let ended = run(&mut command).expect_code(0);
    serde_json::from_str(&ended.stdout).expect("stdout carries the receipt alone")
}

/// Where the first bake put what it downloaded: the same rule as `kiln`'s.
fn shared_cache() -> PathBuf {
    let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    of("KILN_CACHE")
        .or_else(|| of("XDG_CACHE_HOME").map(|path| path.join("kiln")))
        .or_else(|| of("HOME").map(|path| path.join(".cache/kiln")))
        .expect("a place for the cache")
}

fn sha256(file: &Path) -> String {
    let output = Command::new("sha256sum").arg(file).output().expect("sha256sum of coreutils runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap_or_default().to_owned()
}
