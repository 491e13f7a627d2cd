//! A root that another made, exported as a folder and as an archive: either way the same base, and an image that serves.

use kiln_stage::Launch;
use kiln_tests::programs::{agent, kiln, kiln_command, run, target};
use kiln_tests::starter::{self, Baked};
use kiln_tests::story::{Plan, inside, serving};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What a vendor's machine leaves in an export: its disk's name and its own identity.
const FSTAB: &str = "UUID=3b1d8e6c-7a52-4f0e-9c1b-0f6d2c9a1e77 / xfs defaults 0 1\n";
const MACHINE: &str = "5f8d0a3c1b2e4d6f8a9b0c1d2e3f4a5b\n";

/// Bakes the starter on an export of a Debian 13 that a vendor has changed, once from the folder and once from an archive
/// of it; the latter's image, and both receipts.
fn exported() -> (Baked, [Value; 2]) {
    let home = target().join("stories/exported");
    let _absent_is_fine = fs::remove_dir_all(&home);
    let app = home.join("shop");
    starter::init(&app);
    export(&app.join("root"));
    let of = |base: &str| {
        starter::rebase(&app, base);
        run(kiln_command(["update"]).current_dir(&app)).expect_code(0);
        starter::bake(&app)
    };
    let folder = of("./root");
    let vendor = app.join("root/etc/vendor");
    fs::write(&vendor, "hallo\n").expect("the vendor changes its mind");
    let told = run(kiln_command(["bake"]).current_dir(&app)).expect_code(78).stderr;
    let locked = folder.receipt["base"]["exported"].as_str().expect("the hash of what was given");
    assert!(told.contains(locked) && told.contains("'kiln update' locks it"), "{told}");
    fs::write(&vendor, "hello\n").expect("and back");
    settle(&app.join("root"));
    let mut tar = Command::new("tar");
    tar.args(["--create", "--use-compress-program=gzip -1", "--xattrs", "--sort=name", "--file"])
        .arg(app.join("root.tar.gz"));
    run(tar.arg("--directory").arg(app.join("root")).arg(".")).expect_code(0);
    fs::remove_dir_all(app.join("root")).expect("the folder goes");
    let archive = of("root.tar.gz");
    let receipts = [folder.receipt, archive.receipt.clone()];
    (archive, receipts)
}

/// The unpacked base of an image, which is not to be written to.
fn base_of(baked: &Baked) -> PathBuf {
    let key = baked.receipt["base"]["key"].as_str().expect("the base's key");
    starter::cache().join("base").join(key).join("tree")
}

/// Dates nothing of today, so that the next run finds these very roots in the cache.
fn settle(root: &Path) {
    let touch = ["-newermt", "2025-01-02", "-exec", "touch", "-h", "-d", "@1735689600", "{}", "+"];
    run(Command::new("find").arg(root).args(touch)).expect_code(0);
}

/// The base of another image as its vendor would have it.
fn export(root: &Path) {
    let tree = base_of(&starter::on_debian_13());
    run(Command::new("cp").args(["--archive", "--no-target-directory"]).arg(tree).arg(root)).expect_code(0);
    for (path, text) in [
        ("etc/fstab", FSTAB),
        ("etc/machine-id", MACHINE),
        ("etc/ssh/ssh_host_rsa_key", "the vendor's"),
        ("etc/vendor", "hello\n"),
        ("run/lock/pid", "1\n"),
    ] {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        let _absent_is_fine = fs::remove_file(&path);
        fs::write(path, text).expect("write into the export");
    }
    settle(root);
}

fn baked() -> Baked {
    static ONCE: OnceLock<Baked> = OnceLock::new();
    ONCE.get_or_init(|| {
        let (baked, [folder, archive]) = exported();
        assert_eq!(folder["base"]["sha256"], archive["base"]["sha256"], "the same root, the same base");
        let hash = |receipt: &Value| receipt["base"]["exported"].as_str().map(str::len);
        assert_eq!((hash(&folder), hash(&archive)), (Some(64), Some(64)));
        assert_ne!(folder["base"]["exported"], archive["base"]["exported"], "of what was given");
        baked
    })
    .clone()
}

#[test]
fn an_image_over_an_exported_root_serves_and_keeps_what_the_vendor_put_in() {
    let plan = Plan { image: baked, ..Plan::default() };
    plan.play(async |scene| {
        let id = serving(scene, Launch::default(), &[]).await;
        assert_eq!(inside(scene, &id, &["cat", "/etc/vendor"]).await, "hello\n");
        let fstab = inside(scene, &id, &["cat", "/etc/fstab"]).await;
        assert!(fstab.contains("PARTUUID=") && !fstab.contains("xfs"), "the disk is Kiln's: {fstab}");
        let machine = inside(scene, &id, &["cat", "/etc/machine-id"]).await;
        assert_ne!(machine, MACHINE, "an identity of its own");
        let keys = inside(scene, &id, &["ls", "/etc/ssh"]).await;
        assert!(!keys.contains("ssh_host_rsa_key"), "{keys}");
        let load = scene.users_leave().await;
        assert_eq!(load.failed, 0, "{load:?}");
    });
}

#[test]
fn a_root_is_provisioned_where_it_stands_with_what_it_lacks_from_its_own_mirrors() {
    let nginx = "libnginx-mod-http-brotli-static, nginx-light";
    for (baked, lacking) in [(starter::baked(), ""), (starter::on_debian_13(), nginx)] {
        let folder = tempfile::Builder::new().prefix("kiln-").tempdir_in(target()).expect("a folder");
        let root = folder.path().join("root");
        let tree = base_of(&baked);
        run(Command::new("cp").args(["--archive", "--no-target-directory"]).arg(tree).arg(&root))
            .expect_code(0);
        if !lacking.is_empty() {
            // Where it sees no process of this machine that it could stop.
            let mut purge = Command::new("unshare");
            purge
                .args(["--mount", "--pid", "--fork", "--kill-child", "chroot"])
                .arg(&root)
                .args(["sh", "-c"]);
            purge.arg("mount -t proc proc /proc && apt-get -q -y purge nginx-common");
            run(purge.env("DEBIAN_FRONTEND", "noninteractive")).expect_code(0);
            assert!(!root.join("usr/sbin/nginx").exists(), "nginx is gone");
        }
        let mut provision = kiln_command(["--json", "provision", "--root"]);
        let ended = run(provision.arg(&root).current_dir(&baked.app)).expect_code(0);
        let answer: Value = serde_json::from_str(&ended.stdout).expect("stdout carries the answer alone");
        let packages = &answer["steps"][0];
        assert_eq!(packages["step"], "packages");
        assert_eq!(packages["detail"], lacking, "{}", ended.stderr);
        assert!(root.join("usr/sbin/nginx").exists() && root.join("usr/bin/kiln-agent").exists());
        assert!(root.join("srv/starter").exists() || root.join("srv/starter-13").exists(), "a release");
        assert!(!root.join("usr/sbin/policy-rc.d").exists(), "daemons may start again");
        on_a_live_host(&root, &baked.app, folder.path());
    }
}

/// The same again where the root is this system's own, as on a builder host; nothing lacks the second time.
fn on_a_live_host(root: &Path, app: &Path, scratch: &Path) {
    // There is no Node.js on such a host: a backend alone.
    let (from, alone) = (app.join("kiln.toml"), scratch.join("kiln.toml"));
    let text = fs::read_to_string(from).expect("an app has a manifest");
    let backend = text.lines().filter(|line| !line.starts_with("frontend") && !line.starts_with("build"));
    fs::write(&alone, backend.collect::<Vec<_>>().join("\n")).expect("write a manifest");
    let mut host = Command::new("bwrap");
    host.args(["--cap-add", "ALL", "--bind"]).arg(root).args(["/", "--dev", "/dev", "--proc", "/proc"]);
    host.args(["--tmpfs", "/run", "--tmpfs", "/tmp", "--ro-bind", "/usr/bin/bwrap", "/usr/bin/bwrap"]);
    for (from, to) in [
        (kiln(), "/tmp/kiln"),
        (agent(), "/tmp/kiln-agent"),
        (alone, "/tmp/app/kiln.toml"),
        (app.join("backend"), "/tmp/app/backend"),
    ] {
        host.arg("--ro-bind").arg(from).arg(to);
    }
    host.arg("--bind").arg(starter::cache()).args(["/tmp/cache", "--setenv", "KILN_CACHE", "/tmp/cache"]);
    host.args(["--setenv", "KILN_AGENT", "/tmp/kiln-agent", "--setenv", "PATH", "/usr/sbin:/usr/bin"]);
    host.args(["--chdir", "/tmp/app", "--", "/tmp/kiln", "provision", "--root", "/"]);
    let ended = run(&mut host).expect_code(0);
    assert!(ended.stderr.contains("packages  cached"), "{}", ended.stderr);
    let parts = fs::read_to_string(root.join("etc/kiln/image.json")).expect("what it is made of");
    assert!(
        parts.contains("/backend\"") && !parts.contains("/frontend\""),
        "it is the backend alone: {parts}"
    );
}
