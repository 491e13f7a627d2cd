//! Roots that another made: every byte counts, and what cannot become a disk is refused with what is missing.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use kiln_image::{Base, BaseSpec, Exported, Silent};

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    fs::write(path, text).expect("a file");
}

fn root(release: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a scratch directory");
    put(dir.path(), "root/usr/lib/os-release", release);
    put(dir.path(), "root/usr/sbin/nginx", "");
    dir
}

fn refusal(path: &Path) -> String {
    let cache = tempfile::tempdir().expect("a cache");
    let made = Exported::of(path, cache.path()).and_then(|root| {
        let spec = BaseSpec::exported(root);
        Base::ensure(cache.path(), &spec, &Silent)
    });
    let left = |dir: &str| fs::read_dir(cache.path().join(dir)).into_iter().flatten().flatten();
    let left: Vec<_> = left("base").map(|entry| entry.file_name()).collect();
    assert!(left.iter().all(|name| name.to_string_lossy().ends_with(".lock")), "left behind: {left:?}");
    made.map_or_else(|error| error.to_string(), |_| "it is a base".to_owned())
}

#[test]
fn a_debian_without_what_a_disk_needs_is_refused_with_the_command_that_brings_it() {
    let dir = root("ID=debian\nVERSION_ID=\"13\"\n");
    let path = dir.path().join("root");
    let expected = format!(
        "'{}' (Debian 13) has not all that a disk of Kiln's needs; run 'apt-get install --no-install-recommends \
         ca-certificates libnginx-mod-http-brotli-static procps python3 initramfs-tools dbus systemd systemd-resolved \
         chrony systemd-sysv e2fsprogs openssh-server linux-image-cloud-amd64 systemd-repart' in it and export it again, \
         or take base = \"debian-13\", which has it",
        path.display()
    );
    assert_eq!(refusal(&path), expected);

    let archive = dir.path().join("root.tar.gz");
    let mut tar = Command::new("tar");
    let packed =
        tar.args(["--create", "--gzip", "--file"]).arg(&archive).arg("--directory").arg(&path).arg(".");
    assert!(packed.status().expect("tar runs").success());
    assert_eq!(refusal(&archive), expected.replace("root'", "root.tar.gz'"));
}

#[test]
fn what_is_no_debian_is_refused_with_the_way_to_use_it_all_the_same() {
    let dir = root("ID=ubuntu\nVERSION_ID=\"24.04\"\n");
    let told = refusal(&dir.path().join("root"));
    assert!(
        told.contains("root' is Ubuntu 24.04, and a disk can be made of debian-12 and debian-13"),
        "{told}"
    );
    assert!(told.ends_with("'kiln provision --root /'"), "{told}");
    let dir = root("ID=arch\nPRETTY_NAME=\"Arch Linux\"\n");
    let told = refusal(&dir.path().join("root"));
    assert!(told.contains("root' is Arch Linux") && told.contains("Debian 12, Debian 13"), "{told}");
    let told = refusal(&dir.path().join("root/usr/sbin/nginx"));
    assert!(told.contains("name a folder or an archive (.tar, .tar.gz"), "{told}");
}

#[test]
fn a_folder_counts_by_all_that_is_in_it_and_not_by_where_it_is() {
    let dir = root("ID=debian\n");
    let cache = dir.path().join("cache");
    let hash = |path: &Path| Exported::of(path, &cache).expect("a folder").sha256;
    let (path, moved) = (dir.path().join("root"), dir.path().join("moved"));
    let first = hash(&path);
    fs::rename(&path, &moved).expect("a move");
    assert_eq!(hash(&moved), first);
    put(&moved, "run/pid", "1");
    let with_run = hash(&moved);
    put(&moved, "run/pid", "2");
    assert_eq!(hash(&moved), with_run, "what runs is no part of a root");
    let mut seen = vec![first, with_run];
    let nginx = moved.join("usr/sbin/nginx");
    let changes: [&dyn Fn(); 4] = [
        &|| fs::write(&nginx, "another").expect("a file"),
        &|| fs::set_permissions(&nginx, fs::Permissions::from_mode(0o755)).expect("a mode"),
        &|| symlink("nginx", moved.join("usr/sbin/link")).expect("a link"),
        &|| std::os::unix::fs::chown(&nginx, Some(7), None).expect("an owner"),
    ];
    for change in changes {
        change();
        let now = hash(&moved);
        assert!(!seen.contains(&now), "the hash stays {now}");
        seen.push(now);
    }
}
