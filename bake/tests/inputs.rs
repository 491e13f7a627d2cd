//! The digest follows what determines an image, and nothing else.

use std::fs;
use std::path::Path;

use kiln::inputs::Inputs;
use kiln::manifest::Manifest;

const MANIFEST: &str = "\
[image]
name = \"shop\"
[[service]]
name = \"shop\"
path = \"/\"
backend = \"backend\"
wsgi = \"shop:app\"
";

fn app() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(dir.path().join("backend")).expect("a folder is made");
    put(dir.path(), "kiln.toml", MANIFEST);
    put(dir.path(), "backend/shop.py", "app = 1\n");
    put(dir.path(), "backend/requirements.txt", "flask==3.1.0 --hash=sha256:aa\n");
    put(dir.path(), "agent", "the agent's bytes");
    dir
}

fn put(dir: &Path, path: &str, content: &str) {
    let path = dir.join(path);
    fs::create_dir_all(path.parent().expect("it has a parent")).expect("a folder is made");
    fs::write(path, content).expect("a file is written");
}

fn digest(dir: &Path, base: &str) -> String {
    let manifest = Manifest::load(dir).expect("the manifest is valid");
    Inputs::collect(&manifest, &dir.join("agent"), None, &kiln_image::os::KNOWN[0])
        .expect("the inputs are collected")
        .digest(base)
}

#[test]
fn every_input_changes_the_digest_and_nothing_else_does() {
    let changes: [(&str, &str, bool); 8] = [
        ("backend/shop.py", "app = 2\n", true),
        ("backend/new.py", "", true),
        ("backend/requirements.txt", "flask==3.1.1 --hash=sha256:bb\n", true),
        ("agent", "another agent", true),
        ("kiln.toml", &MANIFEST.replace("\"/\"", "\"/till/\""), true),
        ("kiln.toml", &MANIFEST.replace("[[service]]", "\n# a comment\n[[service]]"), false),
        ("backend/tests/test_shop.py", "def test(): pass\n", false),
        ("README.md", "words", false),
    ];
    for (path, content, changes) in changes {
        let dir = app();
        let before = digest(dir.path(), "base");
        put(dir.path(), path, content);
        assert_eq!(digest(dir.path(), "base") != before, changes, "{path}");
    }
    let dir = app();
    assert_ne!(digest(dir.path(), "base"), digest(dir.path(), "another base"));
    assert_eq!(digest(dir.path(), "base"), digest(app().path(), "base"), "where the app lies does not count");
}

#[test]
fn a_missing_lock_file_is_named_with_the_command_that_makes_it() {
    let dir = app();
    fs::remove_file(dir.path().join("backend/requirements.txt")).expect("the lock file goes");
    let error = Manifest::load(dir.path()).expect_err("it is refused").to_string();
    let expected = "\
kiln.toml:6:11: the lock file backend/requirements.txt is missing: make it with \
'uv pip compile --generate-hashes backend/requirements.in -o backend/requirements.txt'";
    assert!(error.starts_with(expected), "{error}");
}
