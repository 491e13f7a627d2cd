//! One app and one lock, two machines: the same digest, and the same bytes of everything that ships.

use kiln_tests::programs::{agent, kiln, kiln_command, repository, run};
use kiln_tests::starter::{self, Baked, bake, fresh};
use serde_json::{Value, json};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// Of the cache, what comes from Debian, npm and `PyPI` as it is; base, tools, frontend and venv are made anew.
const DOWNLOADS: [&str; 4] = ["debs", "npm", "uv", "uv-cache"];

/// In seconds, eight days: another day, now and then another month, and the registries' certificates are still good.
const LATER: u64 = 8 * 86_400;
/// The library that shows it.
const CLOCK: &str = "libkiln-later.so";

/// How another machine is set up: host name, umask, locale, time zone.
const ELSEWHERE: [[&str; 4]; 3] = [
    ["elsewhere", "077", "tr_TR.UTF-8", "Pacific/Chatham"],
    ["build-7", "002", "C", "America/New_York"],
    ["ip-10-0-0-9", "027", "de_DE.UTF-8", "Asia/Kolkata"],
];

/// What ships.
const FILES: [&str; 3] = ["root.tar", "disk.raw", "packages.spdx.json"];

/// One bake elsewhere; `make identical COUNT=10 BASE=debian-13` makes so many, every second one with this machine's own
/// settings, on that base.
#[test]
fn another_folder_user_locale_hostname_and_day_give_the_same_bytes() {
    let told = |name: &str| std::env::var(name).ok();
    let count: usize = told("KILN_IDENTICAL").map_or(1, |count| count.parse().expect("a number"));
    let here = fresh();
    let app = here.path().join("app");
    if let Some(base) = told("KILN_IDENTICAL_BASE") {
        starter::rebase(&app, &base);
        starter::lock(&app);
    }
    let first = bake(&app);
    let hashes = FILES.map(|name| sha256(&first.image.join(name)));
    assert_eq!(first.receipt["disk"]["sha256"].as_str(), Some(hashes[1].as_str()));
    for number in 0..count {
        let there = tempfile::Builder::new().prefix("kiln-story-").tempdir().expect("make a folder");
        let deep = there.path().join(format!("a folder/of another/name {number}"));
        starter::init(&deep);
        for name in ["kiln.toml", "kiln.lock"] {
            fs::copy(app.join(name), deep.join(name)).expect("copy the manifest and the lock");
        }
        let cache = there.path().join("cache");
        fs::create_dir(&cache).expect("make a cache");
        for name in DOWNLOADS {
            symlink(starter::cache().join(name), cache.join(name)).expect("share what was downloaded");
        }
        let elsewhere = (number % 2 == 0).then(|| ELSEWHERE[number / 2 % ELSEWHERE.len()]);
        let receipt = match elsewhere {
            Some(settings) => bake_elsewhere(&deep, &cache, settings, there.path()),
            None => receipt(kiln_command(["--json", "bake"]).current_dir(&deep).env("KILN_CACHE", &cache)),
        };
        assert_eq!(first.receipt["digest"], receipt["digest"]);
        let built = |name: &str| {
            let steps = receipt["steps"].as_array().expect("the receipt lists the steps");
            steps.iter().any(|step| step["step"] == name && step["outcome"] == "built")
        };
        let anew = ["tools", "base", "frontend", "venv"].iter().all(|name| built(name));
        assert!(anew, "what was compared was taken from one cache: {receipt}");
        let image = PathBuf::from(receipt["dir"].as_str().expect("the receipt names the image's folder"));
        for (name, first) in FILES.iter().zip(&hashes) {
            let second = sha256(&image.join(name));
            let host = elsewhere.map_or("here", |[host, ..]| host);
            let line = format!("{} of {count}, {host}: {name} {second}\n", number + 1);
            // The harness shows standard error; the lint knows no harness.
            let _ = std::io::stderr().write_all(line.as_bytes());
            assert_eq!(*first, second, "{name}");
        }
        if number == 0 {
            told_alike(&first, &image);
        }
    }
}

/// Asks `kiln diff`, too; the other side comes as an instance would send it.
fn told_alike(first: &Baked, image: &Path) {
    let mut sent = Command::new("sh");
    sent.args(["-c", r#"tar -c --one-file-system -C "$1" . | "$0" --json diff --fail-on any "$2" -"#])
        .arg(kiln());
    let ended = run(sent.arg(first.root()).arg(image)).expect_code(0);
    let difference: Value = serde_json::from_str(&ended.stdout).expect("stdout carries the answer alone");
    assert_eq!((&difference["new"], &difference["files"]), (&json!("standard input"), &json!({})));
}

/// A folder with a `bwrap` and an `mmdebstrap` that show another day to whatever a bake runs in its sandboxes and while a
/// base is installed. (mke2fs is told a time by the bake; it sees that of this machine, in which no two bakes begin in the
/// same second.)
fn later(folder: &Path) -> PathBuf {
    let programs = folder.join("programs");
    fs::create_dir(&programs).expect("make a folder");
    let clock = programs.join(CLOCK);
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&clock).arg(repository().join("tests/clock/later.c"));
    run(&mut compile).expect_code(0);
    let clock = clock.display();
    let bwrap = format!(
        "before=()\nwhile [ \"$1\" != -- ]; do before+=(\"$1\"); shift; done\n\
         exec /usr/bin/bwrap \"${{before[@]}}\" --ro-bind '{clock}' /tmp/.later.so \
         --setenv LD_PRELOAD /tmp/.later.so --setenv KILN_LATER {LATER} \"$@\"\n"
    );
    // By its name alone, since it lies here outside of the root and there inside; gone before the root is packed.
    let mmdebstrap = format!(
        "export LD_PRELOAD={CLOCK} LD_LIBRARY_PATH='{0}':/.later KILN_LATER={LATER}\n\
         exec /usr/bin/mmdebstrap --setup-hook=\"mkdir \\\"\\$1/.later\\\" && cp '{clock}' \\\"\\$1/.later\\\"\" \
         --customize-hook=\"chroot \\\"\\$1\\\" date +%s >'{0}/told'; rm -r \\\"\\$1/.later\\\"\" \"$@\"\n",
        programs.display()
    );
    for (name, script) in [("bwrap", bwrap), ("mmdebstrap", mmdebstrap)] {
        let program = programs.join(name);
        fs::write(&program, format!("#!/bin/bash\n{script}")).expect("write the program");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("make it a program");
    }
    let mut asked = Command::new(programs.join("bwrap"));
    asked.args(["--ro-bind", "/", "/", "--tmpfs", "/tmp", "--", "date", "+%s"]);
    is_later(&run(&mut asked).expect_code(0).stdout);
    programs
}

/// Asserts that seconds since 1970, as `date` printed them, are of another day.
fn is_later(told: &str) {
    let told: u64 = told.trim().parse().expect("date prints a number");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs();
    assert!(told > now + LATER / 2, "the clock inside is not another: {told}");
}

/// A bake as another host and user would do it: hostname, umask, locale, time zone, home, cache and day are others.
fn bake_elsewhere(app: &Path, cache: &Path, settings: [&str; 4], folder: &Path) -> Value {
    let [host, umask, locale, zone] = settings;
    let programs = later(folder);
    let mut command = Command::new("unshare");
    command.args([
        "--uts",
        "sh",
        "-c",
        r#"hostname "$1"; umask "$2"; shift 2; exec "$@""#,
        "sh",
        host,
        umask,
    ]);
    command.arg(kiln()).args(["--json", "bake"]);
    let mut path = programs.as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    command.current_dir(app).env_clear().env("PATH", path);
    command.env("KILN_AGENT", agent()).env("KILN_CACHE", cache).env("HOME", app);
    command.env("LC_ALL", locale).env("TZ", zone).env("USER", "somebody");
    command.env("PYTHONHASHSEED", "7").env("HOSTNAME", host);
    let receipt = receipt(&mut command);
    is_later(&fs::read_to_string(programs.join("told")).expect("mmdebstrap's hook ran"));
    receipt
}

fn receipt(bake: &mut Command) -> Value {
    serde_json::from_str(&run(bake).expect_code(0).stdout).expect("stdout carries the receipt alone")
}

fn sha256(file: &Path) -> String {
    let output = Command::new("sha256sum").arg(file).output().expect("sha256sum of coreutils runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap_or_default().to_owned()
}
