//! `kiln gc --cache`: the bound is kept, and a cache that is in use is left alone.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output};

fn gc(cache: &Path, max: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    command.args(["--json", "gc", "--cache", "--max", max]).env("KILN_CACHE", cache);
    command.output().expect("kiln runs")
}

#[test]
fn what_is_over_the_bound_goes_unless_the_cache_is_in_use() {
    let cache = tempfile::tempdir().expect("a scratch folder");
    let file = cache.path().join("venvs/shop-1-py3/lib/module.py");
    fs::create_dir_all(file.parent().expect("a parent")).expect("a folder");
    fs::write(&file, [b'#'; 10_000]).expect("a file");

    let kept = gc(cache.path(), "1GiB");
    assert!(kept.status.success() && file.exists(), "{}", String::from_utf8_lossy(&kept.stderr));

    let in_use =
        File::options().read(true).write(true).open(cache.path().join("in-use")).expect("the cache's lock");
    in_use.lock_shared().expect("as a bake holds it");
    let refused = gc(cache.path(), "0GiB");
    assert_eq!(refused.status.code(), Some(75));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("in use by another kiln"));
    assert!(file.exists());

    drop(in_use);
    let swept = gc(cache.path(), "0GiB");
    let answer: serde_json::Value = serde_json::from_slice(&swept.stdout).expect("one JSON answer on stdout");
    assert_eq!(answer["removed"][0]["entry"], "venvs/shop-1-py3");
    assert_eq!(answer["after"], 0);
    assert!(!file.exists());
}
