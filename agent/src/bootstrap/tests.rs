//! Once per instance, whatever happens in between.

use super::*;
use crate::fake::{Fake, metadata};
use std::os::unix::fs::PermissionsExt;

#[tokio::test]
async fn a_script_runs_once_per_instance() {
    let machine = Machine::new();
    let script = machine.script("echo ran >> $ROOT/log");
    for expected in [true, false] {
        let report = machine.boot("i-0abc", &script).await;
        assert_eq!((report.outcome, report.ran), (Outcome::Ok, expected));
    }
    assert_eq!(machine.log(), "ran\n");
    assert!(machine.boot("i-0def", &script).await.ran, "marks of another instance mean nothing");
    let read = Report::read(machine.root.path()).expect("the report is where the agent looks");
    assert_eq!((read.outcome, read.instance_id.as_deref()), (Outcome::Ok, Some("i-0def")));
}

#[tokio::test]
async fn a_script_that_was_cut_off_runs_again() {
    let machine = Machine::new();
    let folder = machine.root.path().join("var/lib/kiln/instances/i-0abc");
    std::fs::create_dir_all(&folder).expect("a fresh folder");
    std::fs::write(folder.join("user-data.begun"), "then").expect("a fresh file");
    std::fs::write(folder.join("user-data.result.json"), "{\"ok\":").expect("a fresh file");
    assert!(machine.boot("i-0abc", &machine.script("true")).await.ran);
}

#[tokio::test]
async fn a_failed_script_stays_failed_and_says_how_to_run_it_again() {
    let machine = Machine::new();
    let script = machine.script("echo ran >> $ROOT/log; exit 3");
    let first = machine.boot("i-0abc", &script).await;
    assert_eq!((first.outcome, first.exit_code), (Outcome::Failed, Some(3)));
    assert_eq!(first.reason.as_deref(), Some("user data script exited with 3"));
    let second = machine.boot("i-0abc", &script).await;
    assert!(second.reason.is_some_and(|reason| reason.contains("on an earlier boot; remove")));
    assert_eq!(machine.log(), "ran\n");
}

#[tokio::test]
async fn a_script_that_hangs_is_ended_with_its_children() {
    let machine = Machine::new();
    let script = machine.script("sleep 1000 & echo $! > $ROOT/log; wait");
    let report = machine.boot("i-0abc", &script).await;
    assert!(report.reason.is_some_and(|reason| reason.contains("did not end within 1s (bootstrap.timeout)")));
    let child = machine.log();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "child {child} still runs: {stat}");
}

#[tokio::test]
async fn no_user_data_and_bad_user_data_are_told_apart() {
    let machine = Machine::new();
    let empty = machine.boot("i-0abc", "").await;
    assert_eq!((empty.outcome, empty.ran), (Outcome::Ok, false));
    let cases = [
        ("#cloud-config\n", "not supported yet"),
        ("hello", "of no known kind"),
        ("#!/nonexistent/shell\n", "failed to run the user data by '/nonexistent/shell'"),
    ];
    for (text, expected) in cases {
        let report = machine.boot("i-0abc", text).await;
        let reason = report.reason.unwrap_or_default();
        assert!(report.outcome == Outcome::Failed && reason.contains(expected), "{text:?}: {reason}");
    }
    let folder = machine.boot("../../etc", "#!/bin/sh\n").await;
    assert!(folder.reason.is_some_and(|reason| reason.contains("as the instance id")));
}

#[tokio::test]
async fn an_instance_without_metadata_has_failed_and_not_hung() {
    let machine = Machine::new();
    let imds = Imds::new("http://127.0.0.1:1").expect("a valid address");
    let report = machine.run(&imds).await;
    assert_eq!(report.outcome, Outcome::Failed);
    assert!(report.reason.is_some_and(|reason| reason.contains("failed to ask the metadata service")));
}

#[tokio::test]
async fn user_data_is_kept_from_other_users() {
    let machine = Machine::new();
    machine.boot("i-0abc", &machine.script("true")).await;
    let file = machine.root.path().join("var/lib/kiln/instances/i-0abc/user-data");
    let mode = std::fs::metadata(file).expect("it was written").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

/// A root folder that stands for an instance's disk.
struct Machine {
    root: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        Self { root: tempfile::tempdir().expect("a folder for the root") }
    }

    fn script(&self, body: &str) -> String {
        format!("#!/bin/sh\nROOT='{}'\n{body}\n", self.root.path().display())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.root.path().join("log")).unwrap_or_default()
    }

    async fn boot(&self, id: &'static str, user_data: &str) -> Report {
        let user_data = user_data.to_owned();
        let fake = Fake::start(move |asked, _| {
            let data = ("user-data", user_data.as_str());
            let id = ("meta-data/instance-id", id);
            if data.1.is_empty() { metadata(asked, &[id]) } else { metadata(asked, &[id, data]) }
        })
        .await;
        self.run(&Imds::new(&fake.url).expect("the fake has a valid address")).await
    }

    async fn run(&self, imds: &Imds) -> Report {
        let second = Duration::from_secs(1);
        let bootstrap = Bootstrap { root: self.root.path(), imds, imds_wait: second, timeout: second };
        bootstrap.run().await.expect("the root is ours")
    }
}
