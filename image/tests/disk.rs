//! The disk is the same each time, holds what the archive held, and is read by the host's own programs.
//!
//! Fetches the disk tools (3 MB) into `KILN_CACHE`, or into cargo's temporary directory.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_image::{Content, DiskSpec, Error, Mirror, Silent, Tools, disk, ids};

fn tools() -> Tools {
    let cache = std::env::var_os("KILN_CACHE").unwrap_or_else(|| OsString::from(env!("CARGO_TARGET_TMPDIR")));
    let (cache, mirror) = (PathBuf::from(cache), Mirror::default());
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let debs = Tools::resolve(&mirror, &scratch.path().join("apt"), &Silent).expect("the tools' packages");
    Tools::ensure(&cache, &debs, &mirror, None, &Silent).expect("the disk tools")
}

/// A root with one file, whose name is not ASCII.
fn root_tar(out: &Path, text: &str) {
    let mut builder = tar::Builder::new(File::create(out).expect("a file"));
    for (name, kind, body) in [
        ("./", tar::EntryType::Directory, ""),
        ("./boot/", tar::EntryType::Directory, ""),
        ("./boot/größe", tar::EntryType::Regular, text),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
        header.set_size(body.len() as u64);
        builder.append_data(&mut header, name, body.as_bytes()).expect("an entry");
    }
    builder.finish().expect("an archive");
}

fn printed(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect("a program of the base system");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_same_archive_gives_the_same_disk() {
    let tools = tools();
    let dir = tempfile::tempdir().expect("a scratch directory");
    let at = |name: &str| dir.path().join(name);
    root_tar(&at("root.tar"), "five bytes");
    let [first, second] = ["one.raw", "two.raw"].map(|name| {
        disk::write(&tools, Content::Archive(&at("root.tar")), &at(name), &DiskSpec::gib(1), &Silent)
            .expect("a disk")
    });
    assert_eq!(first, second);
    assert_eq!(first.size, 1 << 30);
    assert!(first.blocks_nonzero < first.blocks_total / 8, "{first:?}");
    let one = at("one.raw").display().to_string();
    assert_eq!(printed("sha256sum", &[&one]).split(' ').next(), Some(first.sha256.as_str()));
    assert!(at("one.raw").metadata().expect("the disk").blocks() * 512 < 1 << 27, "the disk is sparse");

    let table = printed("partx", &["--raw", "--noheadings", "--output", "START,UUID,TYPE", &one]);
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), 3, "{table}");
    assert_eq!(rows[2], format!("262144 {} 4f68bce3-e8cd-4db1-96e7-fbcaf984b709", ids::ROOT_GUID));
    let probe = printed("blkid", &["--probe", "--offset", "134217728", "--output", "export", &one]);
    assert!(probe.contains(&format!("UUID={}", ids::ROOT_UUID)), "{probe}");
}

#[test]
fn a_size_that_ebs_would_round_is_refused() {
    let dir = tempfile::tempdir().expect("a scratch directory");
    let (tar, out) = (dir.path().join("root.tar"), dir.path().join("disk.raw"));
    root_tar(&tar, "");
    let spec = DiskSpec { size: 3 << 29, ..DiskSpec::gib(1) };
    let error = disk::write(&tools(), Content::Archive(&tar), &out, &spec, &Silent).expect_err("1.5 GiB");
    assert!(error.to_string().ends_with("use 2147483648"), "{error}");
}

#[test]
fn a_disk_that_fails_half_way_leaves_no_file() {
    let dir = tempfile::tempdir().expect("a scratch directory");
    let (tar, out) = (dir.path().join("root.tar"), dir.path().join("disk.raw"));
    root_tar(&tar, "");
    // Entries are made, then the archive ends in the middle of the second.
    let size = fs::metadata(&tar).expect("the archive").len();
    File::options()
        .write(true)
        .open(&tar)
        .expect("the archive")
        .set_len(size - 1300)
        .expect("a shorter archive");
    let error = disk::write(&tools(), Content::Archive(&tar), &out, &DiskSpec::gib(1), &Silent)
        .expect_err("half an archive");
    assert!(matches!(error, Error::Tool { ref program, .. } if program == "mke2fs"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).expect("the directory").count(), 1, "only the archive is there");
}

#[test]
fn a_free_block_that_holds_something_is_no_disk_to_ship() {
    let dir = tempfile::tempdir().expect("a scratch directory");
    let (tar, out) = (dir.path().join("root.tar"), dir.path().join("disk.raw"));
    root_tar(&tar, "five bytes");
    let tools = tools();
    disk::write(&tools, Content::Archive(&tar), &out, &DiskSpec::gib(1), &Silent).expect("a disk");
    disk::check(&tools, &out, &Silent).expect("what was written is clean");
    let file = File::options().write(true).open(&out).expect("the disk");
    // As a file that was removed would leave it: in a group that nothing is in, and in the first.
    for block in [197_632, 32_767] {
        let at = (128 << 20) + block * 4096 + 17;
        file.write_all_at(b"hunter2", at).expect("a write");
        let error = disk::check(&tools, &out, &Silent).expect_err("a leftover").to_string();
        assert_eq!(error, format!("the disk's free block {block} holds data, which would ship"));
        file.write_all_at(&[0; 7], at).expect("a write");
    }
    disk::check(&tools, &out, &Silent).expect("it is clean again");
}
