//! `kiln.lock`: an update moves it, a bake obeys it, and whatever does not fit is named with both hashes and the way out.

use kiln_tests::programs::{Ended, kiln_command, run};
use kiln_tests::starter::{fresh, init};
use std::fs;
use std::path::{Path, PathBuf};

fn app(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("app")
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn kiln(app: &Path, arguments: &[&str]) -> Ended {
    run(kiln_command(arguments).current_dir(app))
}

/// Replaces the first `from` behind `after`, so that one package alone is another.
fn edit(path: &Path, after: &str, from: &str, to: &str) {
    let whole = text(path);
    let at = whole.find(after).expect("the place is there");
    let edited = whole[..at].to_owned() + &whole[at..].replacen(from, to, 1);
    assert_ne!(edited, whole, "`{from}` is not behind `{after}`");
    fs::write(path, edited).expect("write the file");
}

#[test]
fn an_update_that_moves_nothing_leaves_the_file_as_it_is() {
    let folder = fresh();
    let lock = app(&folder).join("kiln.lock");
    // The shared lock may be of this morning; the two updates are of one minute.
    kiln(&app(&folder), &["update"]).expect_code(0);
    let first = text(&lock);
    let again = kiln(&app(&folder), &["--json", "update"]).expect_code(0);
    let answer: serde_json::Value =
        serde_json::from_str(&again.stdout).expect("stdout carries the answer alone");
    assert_eq!(answer["moved"].as_array().map(Vec::len), Some(0), "{answer}");
    assert_eq!(text(&lock), first);
    for package in ["nginx-light", "linux-image-cloud-amd64", "e2fsprogs", "flask", "react"] {
        assert!(first.contains(&format!("name = \"{package}\"")), "{package} is not locked");
    }
}

#[test]
fn a_first_bake_whose_mirrors_are_down_names_them_and_writes_no_lock() {
    let folder = fresh();
    fs::remove_file(app(&folder).join("kiln.lock")).expect("there is a lock");
    let mut command = kiln_command(["bake"]);
    // Port 9 is discard's, where nobody listens.
    let dead = "http://127.0.0.1:9/debian";
    command.current_dir(app(&folder)).env("KILN_DEBIAN_MIRROR", dead).env("KILN_SECURITY_MIRROR", dead);
    let ended = run(&mut command).expect_code(69);
    assert!(ended.stderr.contains(dead), "{}", ended.stderr);
    assert!(!app(&folder).join("kiln.lock").exists());
    assert!(
        kiln(&app(&folder), &["plan"]).expect_code(0).stdout.contains("kiln.lock"),
        "plan says what is missing"
    );
}

#[test]
fn what_the_apps_own_locks_say_otherwise_is_refused_until_an_update_takes_it_over() {
    let folder = fresh();
    let app = app(&folder);
    let lock = text(&app.join("kiln.lock"));
    let (requirements, tree) = (app.join("backend/requirements.txt"), app.join("frontend/package-lock.json"));
    edit(&requirements, "flask==", "--hash=sha256:", "--hash=sha256:00");
    edit(&tree, "node_modules/react\"", "sha512-", "sha512-00");
    for command in ["check", "plan", "bake"] {
        let told = kiln(&app, &[command]).expect_code(78).stderr;
        for expected in ["'flask'", "sha256:00", "'react'", "sha512-00", "kiln.lock", "'kiln update --app'"] {
            assert!(told.contains(expected), "{command}: no {expected} in {told}");
        }
        assert!(told.lines().any(|line| line.matches("sha512-").count() == 2), "both hashes: {told}");
    }
    assert_eq!(text(&app.join("kiln.lock")), lock, "no bake moves the lock");
    let told = kiln(&app, &["update", "--app"]).expect_code(0).stdout;
    assert!(told.contains("flask") && told.contains("with another hash"), "{told}");
    kiln(&app, &["check"]).expect_code(0);
}

#[test]
fn a_package_that_a_mirror_has_with_other_bytes_is_refused_by_name_with_both_hashes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let app = folder.path().join("app");
    init(&app);
    let lock = app.join("kiln.lock");
    let line = |of: &str| {
        let line =
            of.lines().find(|line| line.contains("name = \"zstd\"")).expect("zstd is locked").to_owned();
        line.split("sha256 = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("its hash").to_owned()
    };
    let right = line(&text(&lock));
    edit(&lock, "name = \"zstd\"", &right[..8], "00000000");
    let wrong = line(&text(&lock));
    let told = kiln(&app, &["bake"]).expect_code(78).stderr;
    for expected in ["'zstd'", &right, &wrong, "'kiln update'"] {
        assert!(told.contains(expected), "no {expected} in {told}");
    }
    assert!(
        fs::read_dir(app.join(".kiln/images")).is_ok_and(|mut images| images.next().is_none()),
        "no image"
    );
}
