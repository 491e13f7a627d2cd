//! The starter app as `kiln init` writes it, and its image, baked once for all stories.

use crate::programs::{kiln_command, run, target};
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, Once};
use std::time::Duration;

/// The locks that say which roots this process uses.
static USED: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A starter app and its baked image.
#[derive(Debug, Clone)]
pub struct Baked {
    /// The app's folder (holds `kiln.toml`).
    pub app: PathBuf,
    /// `.kiln/images/<digest>` in it.
    pub image: PathBuf,
    /// The receipt that `kiln bake --json` printed.
    pub receipt: Value,
}

impl Baked {
    /// The image's root, extracted once for all stories: they lay overlays over it.
    pub fn root(&self) -> PathBuf {
        let roots = target().join("stories/roots");
        std::fs::create_dir_all(&roots).expect("make the folder of roots");
        let root = roots.join(self.image.file_name().expect("an image is named by its digest"));
        let lock = File::create(roots.join("lock")).expect("make the lock");
        lock.lock().expect("wait for other stories");
        let used = File::create(root.with_extension("used")).expect("make the root's own lock");
        used.lock_shared().expect("say that the root is in use");
        // For as long as this process lives.
        USED.lock().expect("no story panics here").push(used);
        if !root.exists() {
            // A root is as large as its tar: those that no story uses go.
            for old in std::fs::read_dir(&roots).expect("list the roots").flatten().map(|entry| entry.path())
            {
                let free =
                    || File::create(old.with_extension("used")).is_ok_and(|used| used.try_lock().is_ok());
                if old.is_dir() && (old == root.with_extension("new") || free()) {
                    std::fs::remove_dir_all(&old).expect("remove an old root");
                }
            }
            let unfinished = root.with_extension("new");
            std::fs::create_dir(&unfinished).expect("make the root");
            let tar = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "--same-permissions"];
            let mut command = Command::new("tar");
            command.args(tar).arg("-xf").arg(self.image.join("root.tar")).arg("-C").arg(&unfinished);
            run(&mut command).expect_code(0);
            std::fs::rename(&unfinished, &root).expect("move the root to its place");
        }
        root
    }

    /// The bootable disk.
    pub fn disk(&self) -> PathBuf {
        self.image.join("disk.raw")
    }
}

/// Bakes the starter, or finds the image of an earlier call: a digest already built is not built again.
///
/// The folder is shared by all stories; none of them may change it. Cargo runs the test programs one after
/// another, but the stories of one program side by side: the first of them writes it, the others wait.
pub fn baked() -> Baked {
    static WRITTEN: Once = Once::new();
    let app = target().join("stories/starter");
    WRITTEN.call_once(|| written(&app));
    bake(&app)
}

/// The starter on Debian 13.
pub fn on_debian_13() -> Baked {
    static WRITTEN: Once = Once::new();
    let app = target().join("stories/starter-13");
    WRITTEN.call_once(|| {
        written(&app);
        rebase(&app, "debian-13");
        lock(&app);
    });
    bake(&app)
}

/// Names another base in the manifest of the app in `app`.
pub fn rebase(app: &Path, base: &str) {
    let manifest = app.join("kiln.toml");
    let text = std::fs::read_to_string(&manifest).expect("an app has a manifest");
    let (old, new) = (format!("base = {:?}\n", base_of(&text)), format!("base = {base:?}\n"));
    std::fs::write(manifest, text.replace(&old, &new)).expect("the manifest is ours");
}

/// The base that a manifest names.
fn base_of(manifest: &str) -> String {
    let base = manifest.lines().find_map(|line| line.strip_prefix("base = "));
    base.expect("the manifest names its base").trim_matches('"').to_owned()
}

/// What Debian's cloud-init enables.
const CLOUD_INIT: [&str; 5] = [
    "cloud-config.service",
    "cloud-final.service",
    "cloud-init-hotplugd.socket",
    "cloud-init-local.service",
    "cloud-init.service",
];

/// The starter on a base that has Debian's cloud-init, as a vendor's has, baked with that `image.cloud_init`.
pub fn beside_cloud_init(choice: &str) -> Baked {
    static WRITTEN: Mutex<()> = Mutex::new(());
    let app = target().join("stories").join(format!("beside-cloud-init-{choice}")).join("shop");
    let alone = WRITTEN.lock().expect("no story panics here");
    written(&app);
    let manifest = app.join("kiln.toml");
    let text = std::fs::read_to_string(&manifest).expect("a starter has a manifest");
    if !text.contains("cloud_init") {
        let base = "base = \"debian-12\"\n";
        assert!(text.contains(base), "the starter's base is Debian 12: {text}");
        let packages = "packages = [\"cloud-init\", \"isc-dhcp-client\"]";
        let more = text.replace(base, &format!("{base}{packages}\ncloud_init = \"{choice}\"\n"));
        let more = format!("{more}\n[expect]\nunits = {CLOUD_INIT:?}\n");
        std::fs::write(manifest, more).expect("the manifest is ours");
    }
    lock_own(&app);
    let baked = bake(&app);
    drop(alone);
    baked
}

/// Leaves a whole starter in `app`, whatever a killed call left there.
fn written(app: &Path) {
    if app.join("kiln.toml").exists() {
        return;
    }
    let _absent_is_fine = std::fs::remove_dir_all(app);
    let unfinished = app.with_extension("new");
    let _absent_is_fine = std::fs::remove_dir_all(&unfinished);
    std::fs::create_dir_all(app.parent().expect("an app lies in a folder")).expect("make the parent");
    let new = unfinished.join(app.file_name().expect("the app is named by its folder"));
    init(&new);
    std::fs::rename(&new, app).expect("move the starter to its place");
}

/// Makes a cache of its own in `at` that shares these parts with everybody's.
pub fn cache_of(at: &Path, shared: &[&str]) {
    std::fs::create_dir(at).expect("make a cache");
    for name in shared {
        std::os::unix::fs::symlink(cache().join(name), at.join(name)).expect("share a part of it");
    }
}

/// Where bakes put what they download and make: the same rule as `kiln`'s.
pub fn cache() -> PathBuf {
    let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    of("KILN_CACHE")
        .or_else(|| of("XDG_CACHE_HOME").map(|path| path.join("kiln")))
        .or_else(|| of("HOME").map(|path| path.join(".cache/kiln")))
        .expect("a place for the cache")
}

/// Bakes the app in `app` and reads the receipt.
pub fn bake(app: &Path) -> Baked {
    let ended = run(kiln_command(["--json", "bake"]).current_dir(app)).expect_code(0);
    let receipt: Value = serde_json::from_str(&ended.stdout).expect("stdout carries the receipt alone");
    let digest = receipt["digest"].as_str().expect("the receipt names the digest").to_owned();
    Baked { app: app.to_path_buf(), image: app.join(".kiln/images").join(digest), receipt }
}

/// Writes a fresh starter into `folder`, with the lock that all stories share: they bake over one base.
pub fn init(folder: &Path) {
    std::fs::create_dir_all(folder.parent().expect("a starter lies in a folder")).expect("make the parent");
    run(kiln_command(["init"]).arg(folder)).expect_code(0);
    lock(folder);
}

/// Gives an app the lock that all stories of its base share, with its own Python and npm packages.
pub fn lock(app: &Path) {
    let manifest = std::fs::read_to_string(app.join("kiln.toml")).expect("an app has a manifest");
    std::fs::copy(locked(&base_of(&manifest)), app.join("kiln.lock")).expect("copy the lock");
    run(kiln_command(["update", "--app"]).current_dir(app)).expect_code(0);
}

/// Gives an app with packages of its own a lock of its own, made once a day.
pub fn lock_own(app: &Path) {
    // Written when the lock is: a killed call may have left that of other packages.
    let locked = app.with_extension("locked");
    if young(&locked) {
        run(kiln_command(["update", "--app"]).current_dir(app)).expect_code(0);
    } else {
        run(kiln_command(["update"]).current_dir(app)).expect_code(0);
        std::fs::write(&locked, "").expect("say that it is locked");
    }
}

/// A lock of a base's packages, made once a day: mirrors forget what is older.
fn locked(base: &str) -> PathBuf {
    let folder = target().join("stories/lock").join(base);
    std::fs::create_dir_all(&folder).expect("make the lock's folder");
    let guard = File::create(folder.join("guard")).expect("make the guard");
    guard.lock().expect("wait for other stories");
    let lock = folder.join("app/kiln.lock");
    if !young(&lock) {
        let _absent_is_fine = std::fs::remove_dir_all(folder.join("app"));
        run(kiln_command(["init"]).arg(folder.join("app"))).expect_code(0);
        rebase(&folder.join("app"), base);
        run(kiln_command(["update"]).current_dir(folder.join("app"))).expect_code(0);
    }
    lock
}

/// Whether a file was made within a day.
fn young(file: &Path) -> bool {
    let made = file.metadata().and_then(|found| found.modified());
    made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age < Duration::from_hours(24)))
}

/// A fresh starter in a temporary folder of its own, for stories that change it.
pub fn fresh() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("kiln-story-").tempdir().expect("make a temporary folder");
    init(&folder.path().join("app"));
    folder
}
