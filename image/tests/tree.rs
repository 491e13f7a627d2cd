//! Base and layer become one archive that looks like the merged root, whatever the layer did to the base.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use kiln_image::{Overlay, Silent, private_mounts, tree};

const EPOCH: u64 = 1_000_000_000;

/// What an archive says about one path.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    kind: tar::EntryType,
    mode: u32,
    owner: (u64, u64),
    link: Option<String>,
    content: String,
}

#[test]
fn the_archive_is_what_the_overlay_shows() {
    // Only this thread leaves the host's mount namespace; the mounts end with it.
    private_mounts().expect("root, for an overlay");
    let dir = tempfile::tempdir().expect("a scratch directory");
    let at = |name: &str| dir.path().join(name);
    let base = at("base");
    plant(&base, &["a/kept", "a/changed", "a/gone", "b/under/file", "c/old", "d/first", "e/dir/file"]);
    fs::hard_link(base.join("d/first"), base.join("d/second")).expect("a hard link");
    fs::hard_link(base.join("d/first"), base.join("d/third")).expect("a hard link");
    symlink("kept", base.join("a/link")).expect("a symbolic link");
    pack(&base, &at("base.tar"));

    let overlay = Overlay::mount(&base, &at("upper"), &at("work"), &at("merged")).expect("an overlay");
    let root = overlay.merged();
    write(&root.join("a/changed"), "new");
    fs::remove_file(root.join("a/gone")).expect("a removal");
    fs::remove_dir_all(root.join("b")).expect("a removal");
    fs::remove_dir_all(root.join("c")).expect("a removal");
    plant(root, &["c/new", "z/deep/er/file"]);
    write(&root.join("d/first"), "of its own");
    fs::remove_dir_all(root.join("e/dir")).expect("a removal");
    write(&root.join("e/dir"), "a file that was a directory");
    fs::hard_link(root.join("z/deep/er/file"), root.join("z/twin")).expect("a hard link");
    fs::set_permissions(root.join("a"), fs::Permissions::from_mode(0o700)).expect("a mode");
    std::os::unix::fs::chown(root.join("z/twin"), Some(12), Some(34)).expect("an owner");
    write(&root.join("z/ping"), "with a capability");
    // VFS_CAP_REVISION_2, effective, CAP_NET_RAW: what `setcap cap_net_raw+ep` writes.
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    xattr::set(root.join("z/ping"), "security.capability", &capability).expect("an attribute");
    let merged = walk(root);

    overlay.unmount().expect("nothing is open in there");
    let report = tree::write_root_tar(&at("base.tar"), &at("upper"), &at("root.tar"), EPOCH, None, &Silent)
        .expect("an archive");
    let (order, entries) = list(&at("root.tar"));
    assert_eq!(report.entries, order.len() as u64);
    assert_eq!(resolved(&entries), merged);
    let place = |path: &str| order.iter().position(|name| name == path).expect("an entry");
    assert!(place("d/second") < place("d/first"), "what the layer replaced comes after the base");
    assert!(place("z/deep") < place("z/deep/er/file"), "a directory comes before what is in it");
    assert_eq!(order.iter().filter(|name| *name == "d/second").count(), 1);

    let again = tree::write_root_tar(&at("base.tar"), &at("upper"), &at("again.tar"), EPOCH, None, &Silent)
        .expect("an archive");
    assert_eq!(report, again);
    unpacks_with_the_capability(&at("root.tar"), &at("unpacked"), &capability);
}

fn unpacks_with_the_capability(archive: &Path, into: &Path, capability: &[u8]) {
    fs::create_dir(into).expect("a directory");
    let status = Command::new("tar")
        .args(["--extract", "--xattrs", "--xattrs-include=*", "--file"])
        .arg(archive)
        .arg("--directory")
        .arg(into)
        .status();
    assert!(status.expect("tar runs").success());
    let value = xattr::get(into.join("z/ping"), "security.capability").expect("a readable attribute");
    assert_eq!(value.as_deref(), Some(capability));
    let time = into.join("z/ping").metadata().expect("the file").mtime();
    assert_eq!(u64::try_from(time), Ok(EPOCH));
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("a write");
}

/// Files that hold their own path.
fn plant(root: &Path, files: &[&str]) {
    for name in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().expect("below the root")).expect("a directory");
        write(&path, name);
    }
}

fn pack(root: &Path, out: &Path) {
    let status = Command::new("tar")
        .args(["--create", "--sort=name", "--format=pax", "--numeric-owner", "--file"])
        .arg(out)
        .arg("--directory")
        .arg(root)
        .arg(".")
        .status();
    assert!(status.expect("tar runs").success());
}

fn list(archive: &Path) -> (Vec<String>, BTreeMap<String, Seen>) {
    let mut archive = tar::Archive::new(File::open(archive).expect("the archive"));
    let mut order = Vec::new();
    let mut entries = BTreeMap::new();
    for entry in archive.entries().expect("entries") {
        let mut entry = entry.expect("an entry");
        let plain =
            |path: &Path| path.to_string_lossy().trim_start_matches("./").trim_end_matches('/').to_owned();
        let path = plain(&entry.path().expect("a path"));
        let kind = entry.header().entry_type();
        let link = entry.link_name().expect("a link").map(|link| plain(&link));
        let mode = entry.header().mode().expect("a mode");
        let owner = (entry.header().uid().expect("a user"), entry.header().gid().expect("a group"));
        let mut content = String::new();
        entry.read_to_string(&mut content).expect("text");
        order.push(path.clone());
        entries.insert(path, Seen { kind, mode, owner, link, content });
    }
    (order, entries)
}

/// The same with hard links as the files that they are.
fn resolved(entries: &BTreeMap<String, Seen>) -> BTreeMap<String, Seen> {
    let file = |seen: &Seen| match (&seen.link, seen.kind.is_hard_link()) {
        (Some(first), true) => entries.get(first).expect("a link's first name").clone(),
        _ => seen.clone(),
    };
    let named = entries.iter().filter(|(path, _)| !path.is_empty());
    named.map(|(path, seen)| (path.clone(), file(seen))).collect()
}

fn walk(root: &Path) -> BTreeMap<String, Seen> {
    let entries = walkdir::WalkDir::new(root).min_depth(1).into_iter().map(|entry| {
        let entry = entry.expect("an entry");
        let meta = entry.metadata().expect("metadata");
        let path = entry.path().strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
        let link = meta.is_symlink().then(|| fs::read_link(entry.path()).expect("a link"));
        let content =
            if meta.is_file() { fs::read_to_string(entry.path()).expect("text") } else { String::new() };
        let kind = match () {
            () if meta.is_dir() => tar::EntryType::Directory,
            () if meta.is_symlink() => tar::EntryType::Symlink,
            () => tar::EntryType::Regular,
        };
        let link = link.map(|link| link.to_string_lossy().into_owned());
        let owner = (meta.uid().into(), meta.gid().into());
        (path, Seen { kind, mode: meta.mode() & 0o7777, owner, link, content })
    });
    entries.collect()
}
