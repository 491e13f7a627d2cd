//! Bad input: a clear error at the place, the documented exit code, nothing half-done.

use kiln_tests::programs::{Ended, kiln_command, run};
use kiln_tests::starter::fresh;
use std::fs;
use std::path::Path;
use std::process::Command;

fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).expect("read the file");
    assert!(text.contains(from), "`{from}` is not in {}", path.display());
    fs::write(path, text.replace(from, to)).expect("write the file");
}

fn bake(app: &Path) -> Ended {
    run(kiln_command(["bake"]).current_dir(app))
}

/// No image under any digest, and nothing that pretends to become one.
fn assert_no_image(app: &Path) {
    let images: Vec<_> = fs::read_dir(app.join(".kiln/images"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir() && fs::read_dir(path).is_ok_and(|mut inside| inside.next().is_some()))
        .collect();
    assert!(images.is_empty(), "left behind: {images:?}");
}

#[test]
fn a_broken_manifest_is_shown_with_a_caret() {
    let folder = fresh();
    let app = folder.path().join("app");
    edit(&app.join("kiln.toml"), "wsgi = ", "wsgy = ");
    for command in ["check", "plan", "bake"] {
        let ended = run(kiln_command([command]).current_dir(&app)).expect_code(78);
        assert!(ended.stderr.contains("kiln.toml:"), "{}", ended.stderr);
        assert!(ended.stderr.contains('^') && ended.stderr.contains("wsgy"), "{}", ended.stderr);
        assert!(ended.stdout.is_empty(), "{}", ended.stdout);
    }
    assert_no_image(&app);
}

#[test]
fn a_missing_lock_file_is_named_with_the_command_that_makes_it() {
    let folder = fresh();
    let app = folder.path().join("app");
    fs::remove_file(app.join("frontend/package-lock.json")).expect("remove the lock");
    let ended = run(kiln_command(["check"]).current_dir(&app)).expect_code(78);
    assert!(ended.stderr.contains("package-lock.json"), "{}", ended.stderr);
    assert!(ended.stderr.contains("npm install"), "{}", ended.stderr);
}

#[test]
fn a_failing_frontend_build_shows_its_last_lines_and_its_exit_code() {
    let folder = fresh();
    let app = folder.path().join("app");
    edit(&app.join("kiln.toml"), "npm run build", "echo the tile is cracked; exit 7");
    let ended = bake(&app).expect_code(1);
    assert!(ended.stderr.contains("the tile is cracked"), "{}", ended.stderr);
    assert!(ended.stderr.contains('7'), "{}", ended.stderr);
    assert_no_image(&app);
}

#[test]
fn a_wsgi_module_that_does_not_import_fails_the_bake() {
    let folder = fresh();
    let app = folder.path().join("app");
    let module = app.join("backend/shop/__init__.py");
    let text = fs::read_to_string(&module).expect("the starter's module");
    fs::write(&module, format!("import a_module_nobody_wrote\n{text}")).expect("break the module");
    let ended = bake(&app).expect_code(1);
    assert!(ended.stderr.contains("a_module_nobody_wrote"), "{}", ended.stderr);
    assert_no_image(&app);
}

#[test]
fn a_full_disk_is_said_and_leaves_nothing() {
    let folder = fresh();
    let app = folder.path().join("app");
    // The app's folder moves to a file system of 120 MiB, in a mount namespace that ends with the command.
    let script = r#"set -e
        mount -t tmpfs -o size=120m tmpfs /mnt
        cp -a "$1"/. /mnt/
        cd /mnt
        code=0
        "$2" bake || code=$?
        find /mnt/.kiln -type f -size +1M -printf 'left behind: %p\n' >&2
        exit $code"#;
    let kiln = kiln_tests::programs::kiln();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]).arg(&app).arg(kiln);
    command.env("KILN_AGENT", kiln_tests::programs::agent());
    let ended = run(&mut command).expect_code(1);
    assert!(ended.stderr.contains("space"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("left behind"), "{}", ended.stderr);
}

/// Leaves the app its frontend alone: a venv would be made beside it, and fail as well.
fn without_backend(app: &Path) {
    let manifest = app.join("kiln.toml");
    let text = fs::read_to_string(&manifest).expect("the manifest");
    let of_it = |line: &str| ["backend = ", "wsgi = ", "health = "].iter().any(|key| line.starts_with(key));
    let kept: Vec<_> = text.lines().filter(|line| !of_it(line)).collect();
    fs::write(&manifest, kept.join("\n")).expect("write the manifest");
    run(kiln_command(["update", "--app"]).current_dir(app)).expect_code(0);
}

#[test]
fn a_full_cache_is_said_where_no_size_is_known_before() {
    // Whose base and downloads it takes.
    kiln_tests::starter::baked();
    let folder = fresh();
    let (app, cache) = (folder.path().join("app"), folder.path().join("cache"));
    fs::create_dir(&cache).expect("make a folder");
    without_backend(&app);
    // npm unpacks some 100 MB there.
    let script = r#"set -e
        mount -t tmpfs -o size=24m tmpfs "$2"
        for name in tools base debs npm; do ln -s "$3/$name" "$2/"; done
        cd "$1"
        code=0
        KILN_CACHE=$2 "$4" bake || code=$?
        find "$2"/ .kiln -xdev -type f -size +1k ! -name failed.log -printf 'left behind: %p\n' >&2
        exit $code"#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]).arg(&app).arg(&cache);
    command.arg(kiln_tests::starter::cache()).arg(kiln_tests::programs::kiln());
    command.env("KILN_AGENT", kiln_tests::programs::agent());
    let ended = run(&mut command).expect_code(1);
    assert!(
        ended.stderr.contains(&format!("the disk under {} or {} is full", cache.display(), app.display())),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("left behind"), "{}", ended.stderr);
    assert_no_image(&app);
}

#[test]
fn a_registry_that_does_not_answer_is_named_with_the_way_out() {
    kiln_tests::starter::baked();
    let folder = fresh();
    let (app, cache) = (folder.path().join("app"), folder.path().join("cache"));
    kiln_tests::starter::cache_of(&cache, &["tools", "base", "debs"]);
    // npm would wait for a minute and try again, as it is asked to by default.
    fs::write(folder.path().join(".npmrc"), "fetch-retries=0\n").expect("write a configuration");
    let alone = folder.path().join("alone");
    run(Command::new("cp").arg("-a").arg(&app).arg(&alone)).expect_code(0);
    without_backend(&alone);
    let bake_offline = |app: &Path, registry: &str, variable: &str| {
        let mut command = Command::new("unshare");
        command.arg("--net").arg(kiln_tests::programs::kiln()).arg("bake").current_dir(app);
        command.env("KILN_AGENT", kiln_tests::programs::agent()).env("KILN_CACHE", &cache);
        command.env("HOME", folder.path()).env_remove(variable);
        let ended = run(&mut command).expect_code(69);
        let expected = format!("{registry} does not answer");
        assert!(ended.stderr.contains(&expected) && ended.stderr.contains(variable), "{}", ended.stderr);
        assert_no_image(app);
    };
    bake_offline(&alone, "https://registry.npmjs.org", "npm_config_registry");
    // A frontend that is there asks nobody.
    let shared = kiln_tests::starter::cache().join("web");
    let _made_by_the_first = fs::remove_dir_all(cache.join("web"));
    std::os::unix::fs::symlink(shared, cache.join("web")).expect("share the frontends");
    bake_offline(&app, "https://pypi.org", "UV_INDEX_URL");
}

#[test]
fn a_plain_chroot_is_told_how_to_become_a_place_for_mounts() {
    let folder = fresh();
    // A root that is a folder like any other, with this machine's programs and the app in it.
    let script = r#"set -e
        root=$1/root
        mkdir -p "$root/usr" "$root/kiln" "$root/app" "$root/tmp" "$root/proc"
        for top in bin sbin lib lib64; do ln -s "usr/$top" "$root/$top"; done
        mount --bind /usr "$root/usr"
        mount --bind "$2" "$root/kiln"
        mount --bind "$1/app" "$root/app"
        exec chroot "$root" /bin/sh -c 'cd /app && PATH=$0 KILN_CACHE=/tmp KILN_AGENT=/kiln/shipped/kiln-agent /kiln/debug/kiln bake' "$PATH""#;
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(folder.path())
        .arg(kiln_tests::programs::target());
    let ended = run(&mut command).expect_code(1);
    assert!(ended.stderr.contains("mount --bind DIR DIR"), "{}", ended.stderr);
}

#[test]
fn a_secret_fails_the_bake_with_its_place_and_what_was_one_is_on_no_disk() {
    let folder = fresh();
    let app = folder.path().join("app");
    // Put together here, so that no scan of this repository takes them for keys.
    let [gone, kept] = ["Q3EGRIYVB2LKXMTZ", "W5RTZKEMD4YQVXHP"].map(|end| ["AKIA", end].concat());
    let of = |name: &str| app.join("backend/shop").join(name);
    fs::write(of("old.py"), format!("# Forgotten.\nID = \"{gone}\"\n")).expect("write a secret");
    fs::write(of("sample.py"), format!("ID = \"{kept}\"\n")).expect("write another");
    let ended = bake(&app).expect_code(1);
    for expected in ["(2 findings)", "/srv/app/current/src/shop/old.py:2: aws-access-token", "sample.py:1"] {
        assert!(ended.stderr.contains(expected), "no {expected} in {}", ended.stderr);
    }
    assert!(![&gone, &kept].iter().any(|key| ended.stderr.contains(key.as_str())), "{}", ended.stderr);
    assert_no_image(&app);

    fs::remove_file(of("old.py")).expect("remove the secret");
    let expected = "{ rule = \"aws-access-token\", path = \"/srv/app/current/src/shop/sample.py\" }";
    edit(&app.join("kiln.toml"), "[rehearse]", &format!("[expect]\nsecrets = [{expected}]\n\n[rehearse]"));
    let baked = kiln_tests::starter::bake(&app);
    let on_disk = |key: &str| {
        let status = Command::new("grep").args(["-qaF", key]).arg(baked.disk()).status();
        status.expect("grep of the base system runs").code()
    };
    assert_eq!((on_disk(&kept), on_disk(&gone)), (Some(0), Some(1)), "of the disk's bytes, free ones too");
}
