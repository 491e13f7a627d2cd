//! cloud-init's files as its versions write them, and as nobody should.

use super::*;
use proptest::prelude::*;

const DONE: &str = r#"{"v1":{"datasource":"DataSourceEc2Local","errors":[]}}"#;

fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a folder");
    for (path, text) in files {
        durable::write(&root.path().join(path), text.as_bytes(), 0o644).expect("the file is written");
    }
    root
}

async fn waited(root: &Path, boot: &str, work: bool) -> Result<(), String> {
    // A #kiln document is none of cloud-init's work, but some work.
    waited_with(root, boot, if work { b"#kiln\n" } else { b"" }).await
}

async fn waited_with(root: &Path, boot: &str, user_data: &[u8]) -> Result<(), String> {
    let folder = root.join("var/lib/kiln/instances/i-1");
    let data = kiln_userdata::parse_beside_cloud_init(user_data).expect("it is valid");
    let share = Share::of(&data, !user_data.is_empty());
    wait(root, &folder, boot, &share, Duration::from_mins(1)).await.map_err(|failure| failure.to_string())
}

#[test]
fn what_cloud_init_will_do_shows_on_the_image() {
    let program = ("usr/bin/cloud-init", "");
    let table: [(&[(&str, &str)], Beside); 6] = [
        (&[], Beside::Absent),
        (&[program], Beside::Active),
        (&[program, (DROP_IN, "# allow_userdata: false\n")], Beside::Active),
        (&[program, (DROP_IN, "# by kiln\nallow_userdata: false\n")], Beside::Told),
        (&[program, ("etc/cloud/cloud-init.disabled", "")], Beside::Absent),
        (&[program, ("run/cloud-init/disabled", "")], Beside::Absent),
    ];
    for (files, expected) in table {
        assert_eq!(Beside::of(root(files).path()), expected, "{files:?}");
    }
}

#[test]
fn a_script_that_two_would_run_is_refused_and_a_document_of_ours_is_not() {
    let refused =
        |text: &str| refuse_two(&kiln_userdata::parse(text.as_bytes()).expect("it is valid")).is_err();
    assert!(refused("#!/bin/sh\n"));
    assert!(!refused("#kiln\n[env]\nA = \"1\"\n") && !refused(""));
}

#[tokio::test(start_paused = true)]
async fn cloud_inits_end_is_the_bootstraps() {
    let failed =
        r#"{"v1":{"datasource":"DataSourceEc2","errors":["('scripts_user', RuntimeError('1 failures'))"]}}"#;
    let graver = r#"{"v1":{"stage":null,"init":{"recoverable_errors":{"ERROR":["x"],"WARNING":["y"]}}}}"#;
    let warning = r#"{"v1":{"datasource":"x","init":{"recoverable_errors":{"WARNING":["Unhandled"]}}}}"#;
    let none = r#"{"v1":{"datasource":"DataSourceNone","errors":[]}}"#;
    let table: [(&str, &str, bool, &str); 9] = [
        (DONE, "", true, ""),
        (DONE, warning, true, ""),
        (none, "", false, ""),
        (failed, "", true, "cloud-init ended with 1 error(s), the first: ('scripts_user'"),
        (failed, "", false, "cloud-init ended with 1 error(s)"),
        (DONE, graver, true, "cloud-init is done with 1 error(s) that it calls recoverable"),
        (none, "", true, "cloud-init found no data source"),
        ("{", "", true, "cloud-init found no data source"),
        (r#"{"v1":{"datasource":null}}"#, "[]", true, "cloud-init found no data source"),
    ];
    for (result, status, work, expected) in table {
        let root = root(&[(RESULT, result), (STATUS, status)]);
        let reason = waited(root.path(), "b1", work).await.err().unwrap_or_default();
        assert!(
            reason.starts_with(expected) && reason.is_empty() == expected.is_empty(),
            "{result}: {reason}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_that_does_not_come_is_not_waited_for_without_a_bound() {
    let root = root(&[]);
    let reason = waited(root.path(), "b1", true).await.expect_err("it has not ended");
    assert_eq!(reason, "cloud-init did not end within 1m (bootstrap.timeout)");
}

#[tokio::test(start_paused = true)]
async fn what_failed_or_was_cut_off_stays_failed_on_later_boots() {
    // The second boot finds `done`: cloud-init ran nothing again.
    let broken = root(&[(RESULT, r#"{"v1":{"datasource":"DataSourceEc2","errors":["boom"]}}"#)]);
    assert!(waited(broken.path(), "b1", true).await.is_err());
    let cut_off = root(&[]);
    assert!(waited(cut_off.path(), "b1", true).await.is_err(), "the power went during the wait");
    for (root, expected) in
        [(&broken, "the first: boom, on an earlier boot"), (&cut_off, "cloud-init was cut off, on an")]
    {
        durable::write(&root.path().join(RESULT), DONE.as_bytes(), 0o644).expect("the file is written");
        let reason = waited(root.path(), "b2", true).await.expect_err("it has not run again");
        assert!(reason.contains(expected), "{reason}");
    }
}

/// Paths and texts.
type Files<'a> = &'a [(&'a str, &'a str)];
const TAKEN: &str = "var/lib/cloud/instance/scripts/part-001";
const MERGED: &str = "var/lib/cloud/instance/cloud-config.txt";

#[tokio::test(start_paused = true)]
async fn what_cloud_init_passed_over_is_not_done() {
    let script = "#!/bin/sh\necho hello\n";
    let document = "#cloud-config\npackages: [curl]\n";
    let both = format!(
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\n{script}\n--b\n\n{document}\n--b--\n"
    );
    let merged = |count: usize| format!("#cloud-config\n\n# from {count} files\n# part-001\n\n---\n...\n");
    let (one, crlf) = (merged(1), script.replace('\n', "\r\n"));
    let not_run = "cloud-init passed over the script, which was its to run: /var/log/cloud-init.log";
    let table: [(&str, Files<'_>, &str); 7] = [
        (script, &[(TAKEN, script)], ""),
        (&crlf, &[(TAKEN, script)], ""),
        (script, &[], not_run),
        (script, &[(TAKEN, "#!/bin/sh\necho other\n")], not_run),
        (document, &[(MERGED, "")], "cloud-init took 0 of 1 #cloud-config documents"),
        (&both, &[(TAKEN, script), (MERGED, &one)], ""),
        (&both, &[(MERGED, &one)], "cloud-init passed over part 1, which was its to run"),
    ];
    for (user_data, files, expected) in table {
        let root = root(files);
        durable::write(&root.path().join(RESULT), DONE.as_bytes(), 0o644).expect("the file is written");
        let reason = waited_with(root.path(), "b1", user_data.as_bytes()).await.err().unwrap_or_default();
        assert!(
            reason.starts_with(expected) && reason.is_empty() == expected.is_empty(),
            "{files:?}: {reason}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn new_user_data_on_an_instance_that_cloud_init_is_done_with_is_not_done() {
    let (old, new) = ("#!/bin/sh\necho old\n", "#!/bin/sh\necho new\n");
    let root = root(&[(RESULT, DONE), (TAKEN, old)]);
    for boot in ["b1", "b2"] {
        assert_eq!(waited_with(root.path(), boot, old.as_bytes()).await, Ok(()), "{boot}");
    }
    // It writes the new script, and runs none.
    durable::write(&root.path().join(TAKEN), new.as_bytes(), 0o700).expect("the file is written");
    let reason = waited_with(root.path(), "b3", new.as_bytes()).await.expect_err("it has not run");
    assert!(reason.starts_with("cloud-init had other user data, on an earlier boot"), "{reason}");
}

proptest! {
    #[test]
    fn any_files_get_a_verdict(result in "[\\[\\]{}:,\"a-z0-9]{0,60}", status in "\\{\"v1\":[\\[\\]{}:,\"a-zA-Z_0-9]{0,60}") {
        let root = root(&[(RESULT, &result), (STATUS, &status)]);
        let _ = judge(&read(root.path(), RESULT), &read(root.path(), STATUS), true);
    }
}
