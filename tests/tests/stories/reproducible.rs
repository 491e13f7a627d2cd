//! One app and one lock, two machines: the same digest, and the same bytes of everything that ships.

use kiln_tests::programs::{agent, kiln, repository, run};
use kiln_tests::starter::{self, bake, fresh};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// Of the cache, what comes from Debian, npm and `PyPI` as it is; base, tools, frontend and venv are made anew.
const DOWNLOADS: [&str; 4] = ["debs", "npm", "uv", "uv-cache"];

/// In seconds, eight days: another day, now and then another month, and the registries' certificates are still good.
const LATER: u64 = 8 * 86_400;

#[test]
fn another_folder_user_locale_hostname_and_day_give_the_same_bytes() {
    let here = fresh();
    let first = bake(&here.path().join("app"));

    let there = fresh();
    let deep = there.path().join("a folder/of another/name");
    fs::create_dir_all(&deep).expect("make a folder");
    fs::rename(there.path().join("app"), deep.join("checkout")).expect("move the app");
    let cache = there.path().join("cache");
    fs::create_dir(&cache).expect("make a cache");
    for name in DOWNLOADS {
        symlink(starter::cache().join(name), cache.join(name)).expect("share what was downloaded");
    }
    let second = bake_elsewhere(&deep.join("checkout"), &cache, &later(there.path()));

    assert_eq!(first.receipt["digest"], second["digest"]);
    let image = PathBuf::from(second["dir"].as_str().expect("the receipt names the image's folder"));
    for name in ["root.tar", "disk.raw", "packages.spdx.json"] {
        let [first, second] = [&first.image, &image].map(|image| sha256(&image.join(name)));
        assert_eq!(first, second, "{name}");
    }
    assert_eq!(first.receipt["disk"]["sha256"].as_str(), Some(sha256(&first.disk()).as_str()));
    // By the program, too; the other side as an instance would send it.
    let mut sent = Command::new("sh");
    sent.args(["-c", r#"tar -c --one-file-system -C "$1" . | "$0" --json diff --fail-on any "$2" -"#])
        .arg(kiln());
    let ended = run(sent.arg(first.root()).arg(&image)).expect_code(0);
    let difference: Value = serde_json::from_str(&ended.stdout).expect("stdout carries the answer alone");
    assert_eq!((&difference["new"], &difference["files"]), (&json!("standard input"), &json!({})));
    let built = |name: &str| {
        let steps = second["steps"].as_array().expect("the receipt lists the steps");
        steps.iter().any(|step| step["step"] == name && step["outcome"] == "built")
    };
    let anew = ["tools", "base", "frontend", "venv"].iter().all(|name| built(name));
    assert!(anew, "what was compared was taken from one cache: {second}");
}

/// A folder with a `bwrap` that shows another day to whatever a bake runs. (mmdebstrap and mke2fs are told a time by the
/// bake; they see that of this machine, in which no two bakes begin in the same second.)
fn later(folder: &Path) -> PathBuf {
    let programs = folder.join("programs");
    fs::create_dir(&programs).expect("make a folder");
    let clock = programs.join("later.so");
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&clock).arg(repository().join("tests/clock/later.c"));
    run(&mut compile).expect_code(0);
    let script = format!(
        "#!/bin/bash\nbefore=()\nwhile [ \"$1\" != -- ]; do before+=(\"$1\"); shift; done\n\
         exec /usr/bin/bwrap \"${{before[@]}}\" --ro-bind '{}' /tmp/.later.so \
         --setenv LD_PRELOAD /tmp/.later.so --setenv KILN_LATER {LATER} \"$@\"\n",
        clock.display()
    );
    let bwrap = programs.join("bwrap");
    fs::write(&bwrap, script).expect("write the program");
    fs::set_permissions(&bwrap, fs::Permissions::from_mode(0o755)).expect("make it a program");
    let mut asked = Command::new(&bwrap);
    asked.args(["--ro-bind", "/", "/", "--tmpfs", "/tmp", "--", "date", "+%s"]);
    let told: u64 = run(&mut asked).expect_code(0).stdout.trim().parse().expect("date prints a number");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs();
    assert!(told > now + LATER - 60, "the clock inside is not another: {told}");
    programs
}

/// A bake as another host and user would do it: hostname, umask, locale, time zone, home, cache and day are others.
fn bake_elsewhere(app: &Path, cache: &Path, programs: &Path) -> Value {
    let script = r#"hostname elsewhere; umask 077; exec "$@""#;
    let mut command = Command::new("unshare");
    command.args(["--uts", "sh", "-c", script, "sh"]).arg(kiln()).args(["--json", "bake"]);
    let mut path = programs.as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    command.current_dir(app).env_clear().env("PATH", path);
    command.env("KILN_AGENT", agent()).env("KILN_CACHE", cache).env("HOME", app);
    command.env("LC_ALL", "tr_TR.UTF-8").env("TZ", "Pacific/Chatham").env("USER", "somebody");
    command.env("PYTHONHASHSEED", "7").env("HOSTNAME", "elsewhere");
    let ended = run(&mut command).expect_code(0);
    serde_json::from_str(&ended.stdout).expect("stdout carries the receipt alone")
}

fn sha256(file: &Path) -> String {
    let output = Command::new("sha256sum").arg(file).output().expect("sha256sum of coreutils runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap_or_default().to_owned()
}
