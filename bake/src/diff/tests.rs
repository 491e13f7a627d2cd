//! Two small roots, one change of each kind, and what is said of it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::compare::compare;
use super::facts::Facts;
use super::source::Side;
use super::*;
use crate::interrupt::Interrupt;
use crate::store::Store;
use kiln_image::Silent;

const STATUS: &str = "Package: nginx\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.22.1-9\n\n\
     Package: curl\nStatus: install ok installed\nArchitecture: amd64\nVersion: 7.88.1\n";

fn put(root: &Path, path: &str, text: &str) {
    let file = root.join(path);
    fs::create_dir_all(file.parent().expect("a file lies in a folder")).expect("make the folder");
    fs::write(file, text).expect("write the file");
}

fn link(root: &Path, path: &str, to: &str) {
    put(root, path, "");
    fs::remove_file(root.join(path)).expect("make room");
    symlink(to, root.join(path)).expect("make the link");
}

/// A root with an nginx, a user, a service, a unit and a listener.
fn root(release: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = folder.path();
    put(at, "var/lib/dpkg/status", STATUS);
    put(at, "var/lib/dpkg/info/nginx.list", "/usr/sbin/nginx\n/lib/nginx/module.so\n");
    put(at, "usr/sbin/nginx", "program one");
    put(at, "usr/lib/nginx/module.so", "module");
    put(at, "etc/passwd", "root:x:0:0:root:/root:/bin/bash\n");
    put(at, "etc/group", "root:x:0:\n");
    put(at, "etc/shadow", "root:*:1:\n");
    put(at, "etc/nginx/nginx.conf", "server {\n    listen 80 default_server;\n}\n");
    link(
        at,
        "etc/systemd/system/multi-user.target.wants/nginx.service",
        "/usr/lib/systemd/system/nginx.service",
    );
    put(at, &format!("srv/shop/releases/{release}/app.py"), "app one");
    link(at, "srv/shop/current", &format!("releases/{release}"));
    put(at, "run/anything", release);
    folder
}

fn facts(root: &Path) -> Facts {
    let store = Store::of(root);
    let side = Side::find(&store, &root.display().to_string()).expect("a folder is a side");
    Facts::of(side.read(&Silent, &Interrupt::default()).expect("it can be read"))
}

fn between(old: &Path, new: &Path) -> Difference {
    compare("old", &facts(old), "new", &facts(new))
}

#[test]
fn the_same_root_under_another_release_name_is_no_difference() {
    let difference = between(root("1111").path(), root("2222").path());
    assert_eq!(difference.to_string().lines().last(), Some("no difference"), "{difference}");
    assert!(!difference.touches(Aspect::Any));
}

#[test]
fn each_kind_of_change_is_told_as_what_it_is() {
    let (old, new) = (root("1111"), root("2222"));
    let at = new.path();
    put(at, "var/lib/dpkg/status", &STATUS.replace("1.22.1-9", "1.22.1-10"));
    put(at, "usr/sbin/nginx", "program two");
    put(at, "usr/lib/nginx/module.so", "module");
    put(at, "etc/passwd", "root:x:0:0:root:/root:/bin/bash\neve:x:0:0::/:/bin/sh\n");
    put(at, "etc/shadow", "root:hash-of-a-password:1:\n");
    put(at, "etc/nginx/nginx.conf", "server {\n    listen 8080;\n}\n");
    // Put together here, so that no scan of this repository takes it for one.
    let begin = ["-----BEGIN PRIVATE", " KEY-----"].concat();
    put(at, "etc/letsencrypt/live/shop/one.pem", &format!("{begin}\nthe-key-itself\n"));
    link(at, "etc/systemd/system/apt-daily.timer", "/dev/null");
    put(at, "srv/shop/releases/2222/app.py", "app two");
    put(at, "usr/local/bin/sudoish", "x");
    fs::set_permissions(at.join("usr/local/bin/sudoish"), fs::Permissions::from_mode(0o4755)).expect("chmod");
    let difference = between(old.path(), at);
    let told = difference.to_string();
    for line in [
        "  ~ nginx: 1.22.1-9 → 1.22.1-10",
        "  + user eve: uid 0, gid 0, /, /bin/sh",
        "  ~ user root: uid 0, gid 0, /root, /bin/bash → uid 0, gid 0, /root, /bin/bash, with a password",
        "  + /etc/letsencrypt/live/shop/one.pem: ",
        "  + apt-daily.timer: masked",
        "  + /usr/local/bin/sudoish: mode 4755, owner 0:0",
        "  ~ /etc/nginx/nginx.conf: 80 → 8080",
        "files of nginx (1)",
        "files of service shop (1)",
        "  -    listen 80 default_server;",
    ] {
        // Who runs the test owns its files.
        let line = line
            .replace("0:0", &format!("{}:{}", nix::unistd::Uid::effective(), nix::unistd::Gid::effective()));
        assert!(told.contains(&line), "no '{line}' in\n{told}");
    }
    assert!(!told.contains("hash-of-a-password") && !told.contains("the-key-itself"), "{told}");
    assert!(told.contains("/etc/shadow"), "{told}");
    for aspect in Aspect::value_variants() {
        assert!(difference.touches(*aspect), "{aspect:?}");
    }
}

#[test]
fn files_that_a_new_version_explains_are_no_surprise() {
    let (old, new) = (root("1111"), root("1111"));
    put(new.path(), "var/lib/dpkg/status", &STATUS.replace("1.22.1-9", "1.22.1-10"));
    put(new.path(), "usr/sbin/nginx", "program two");
    let difference = between(old.path(), new.path());
    assert!(difference.touches(Aspect::Packages) && !difference.touches(Aspect::Files), "{difference}");
    put(new.path(), "usr/bin/curl", "not from the package");
    assert!(between(old.path(), new.path()).touches(Aspect::Files));
}

/// A root as tar sends it, the way that an instance's comes.
fn sent(root: &Path) -> Vec<u8> {
    let mut tar = std::process::Command::new("tar");
    let output = tar.args(["--create", "--one-file-system", "--directory"]).arg(root).arg(".").output();
    output.expect("tar runs").stdout
}

#[test]
fn a_root_that_comes_as_a_stream_is_the_root_and_one_that_is_cut_off_is_none() {
    let root = root("1111");
    let bytes = sent(root.path());
    let read = |bytes: &[u8]| source::archive(bytes, None, &Silent, &Interrupt::default());
    let same = Facts::of(read(&bytes).expect("it is whole"));
    let difference = compare("here", &facts(root.path()), "there", &same);
    assert!(!difference.touches(Aspect::Any), "{difference}");
    // Between two entries, inside one, and before the first.
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("it is not empty");
    for length in [(end / 512 + 1) * 512, end / 2, 0] {
        let error = read(&bytes[..length]).expect_err("it is cut off");
        let said = format!("{error:#}");
        assert!(said.contains("cut off") || said.contains("failed to read"), "at {length}: {said}");
    }
    let store = Store::of(root.path());
    assert!(Side::find(&store, "-").is_ok());
}

#[test]
fn every_aspect_fails_on_what_it_is_for_alone() {
    use Aspect::{Any, Config, Files, Packages, Ports, Privileges, Units, Users};
    type Change = fn(&Path);
    let table: [(Change, &[Aspect]); 9] = [
        (|at| put(at, "var/lib/dpkg/status", &STATUS.replace("7.88.1", "7.88.2")), &[Packages]),
        (|at| put(at, "usr/sbin/nginx", "program two"), &[Files]),
        (|at| link(at, "etc/systemd/system/apt-daily.timer", "/dev/null"), &[Files, Units, Config]),
        (|at| put(at, "etc/shadow", "root::1:\n"), &[Files, Users, Config]),
        (|at| put(at, "etc/group", "root:x:0:\nwheel:x:7:eve\n"), &[Files, Users, Config]),
        (
            |at| {
                let nginx = at.join("usr/sbin/nginx");
                fs::set_permissions(nginx, fs::Permissions::from_mode(0o2755)).expect("chmod");
            },
            &[Files, Privileges],
        ),
        (
            |at| put(at, "etc/nginx/nginx.conf", "server {\n    listen 81 default_server;\n}\n"),
            &[Files, Ports, Config],
        ),
        (|at| put(at, "etc/motd", "hello\n"), &[Files, Config]),
        (|at| put(at, "var/log/nginx/access.log", "GET /\n"), &[]),
    ];
    for (change, aspects) in table {
        let (old, new) = (root("1111"), root("1111"));
        change(new.path());
        let difference = between(old.path(), new.path());
        for aspect in Aspect::value_variants() {
            let expected = *aspect == Any || aspects.contains(aspect);
            assert_eq!(difference.touches(*aspect), expected, "{aspect:?} in {difference}");
        }
    }
}

#[test]
fn what_is_no_side_is_refused_with_what_would_be() {
    let empty = tempfile::tempdir().expect("a temporary folder");
    let store = Store::of(empty.path());
    for (named, said) in [
        (empty.path().display().to_string(), "neither a root"),
        ("3f9a".to_owned(), "there is no image '3f9a'"),
    ] {
        let error = Side::find(&store, &named).expect_err("it is no side");
        assert!(error.to_string().contains(said), "{error}");
        assert_eq!(crate::failure::code(&error), 2);
    }
}
