//! Whole bootstraps with real processes, a metadata service on loopback and a folder for a root.

mod beside;
mod documents;
mod marks;
mod parts;
mod reboots;
mod reports;
mod settings;

use super::*;
use crate::fake::{Asked, Fake, metadata};
use std::cell::RefCell;
use tokio::sync::watch;

// Each test has a thread of its own.
thread_local! {
    /// Where the marks lie that [`sync`] looks at.
    static MARKS: RefCell<PathBuf> = RefCell::default();
    /// What they said each time the disk was asked to keep what was written.
    static AT_SYNC: RefCell<Vec<String>> = RefCell::default();
}

fn sync() {
    let marks =
        MARKS.with_borrow(|folder| std::fs::read_dir(folder).into_iter().flatten().collect::<Vec<_>>());
    let texts = marks.into_iter().flatten().filter_map(|mark| std::fs::read_to_string(mark.path()).ok());
    AT_SYNC.with_borrow_mut(|seen| seen.push(texts.collect()));
}

/// A root folder that stands for an instance's disk, and what happens around it.
struct Machine {
    root: tempfile::TempDir,
    halt: watch::Sender<bool>,
    /// Of parts that name none.
    timeout: &'static str,
}

impl Machine {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a folder for the root");
        Self { root, halt: watch::channel(false).0, timeout: "20s" }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().expect("it is below the root")).expect("a fresh folder");
        std::fs::write(path, text).expect("a fresh file");
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap_or_default()
    }

    /// A script that finds the root in `$ROOT`.
    fn script(&self, body: &str) -> String {
        format!("#!/bin/sh\nROOT='{}'\n{body}\n", self.root.path().display())
    }

    /// A `#kiln` document; `$ROOT` in it is the root.
    fn kiln(&self, text: &str) -> String {
        format!("#kiln\n{}", text.replace("$ROOT", &self.root.path().display().to_string()))
    }

    /// What scripts leave in `$ROOT/log`.
    fn log(&self) -> String {
        self.read("log")
    }

    async fn boot(&self, id: &str, user_data: &str) -> Report {
        self.boot_asked(id, user_data).await.0
    }

    /// A boot, and what the metadata service was asked in it.
    async fn boot_asked(&self, id: &str, user_data: &str) -> (Report, Vec<Asked>) {
        let (id, user_data) = (id.to_owned(), user_data.to_owned());
        let fake = Fake::start(move |asked, _| {
            let mut items =
                vec![("meta-data/instance-id", id.as_str()), ("meta-data/placement/region", "eu-west-1")];
            if !user_data.is_empty() {
                items.push(("user-data", user_data.as_str()));
            }
            metadata(asked, &items)
        })
        .await;
        let report = self.run(&fake.url).await;
        (report, fake.asked())
    }

    async fn run(&self, metadata: &str) -> Report {
        let config = self.path("etc/kiln/agent.toml");
        if !config.exists() {
            self.write("etc/kiln/agent.toml", format!("[bootstrap]\ntimeout = \"{}\"\n", self.timeout));
        }
        let source = Source::new(&config, true, self.root.path());
        let bootstrap = Bootstrap {
            root: self.root.path(),
            imds: Arc::new(Imds::new(metadata).expect("a valid address")),
            imds_wait: Duration::from_secs(1),
            source: &source,
            halt: Halt::new(self.halt.subscribe(), self.root.path(), self.path("systemctl")),
            sync,
        };
        bootstrap.run().await.expect("the root is ours")
    }

    /// Makes systemd the one that booted this machine, in this state.
    fn systemd_says(&self, state: &str) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::create_dir_all(self.path("run/systemd/system")).expect("a fresh folder");
        self.write("systemctl", format!("#!/bin/sh\n[ \"$1\" = is-system-running ] && echo {state}\n"));
        std::fs::set_permissions(self.path("systemctl"), std::fs::Permissions::from_mode(0o755))
            .expect("it is ours");
    }

    /// Turns the marks of `id` into those of an earlier boot.
    fn reboot(&self, id: &str) {
        for entry in self.marks(id) {
            let text = std::fs::read_to_string(&entry).expect("a mark");
            let mut mark: serde_json::Value = serde_json::from_str(&text).expect("a mark is JSON");
            mark["boot_id"] = "an-earlier-boot".into();
            std::fs::write(entry, mark.to_string()).expect("it is ours");
        }
        let _ = std::fs::remove_dir_all(self.path("run/kiln"));
    }

    fn marks(&self, id: &str) -> Vec<PathBuf> {
        let folder = self.path(&format!("var/lib/kiln/instances/{id}/marks"));
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        entries.map(|entry| entry.expect("a readable folder").path()).collect()
    }
}

/// The parts' names and how far each came.
fn steps(report: &Report) -> Vec<(&str, Step)> {
    report.parts.iter().map(|part| (part.name.as_str(), part.step)).collect()
}

fn reason(report: &Report) -> &str {
    report.reason.as_deref().unwrap_or_default()
}

/// Whether a process has ended; one that nobody waited for counts.
fn is_gone(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}
