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
    let folder = root.join("var/lib/kiln/instances/i-1");
    wait(root, &folder, boot, work, Duration::from_mins(1)).await.map_err(|failure| failure.to_string())
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

proptest! {
    #[test]
    fn any_files_get_a_verdict(result in "[\\[\\]{}:,\"a-z0-9]{0,60}", status in "\\{\"v1\":[\\[\\]{}:,\"a-zA-Z_0-9]{0,60}") {
        let root = root(&[(RESULT, &result), (STATUS, &status)]);
        let _ = judge(&read(root.path(), RESULT), &read(root.path(), STATUS), true);
    }
}
