//! On images that have cloud-init: one of the two runs the user data, never both.

use super::*;

/// As the bake writes it.
const TOLD: (&str, &str) = ("etc/cloud/cloud.cfg.d/99-kiln.cfg", "allow_userdata: false\n");

fn with_cloud_init(choice: &str) -> Machine {
    let machine = Machine::new();
    machine.write("usr/bin/cloud-init", "");
    machine
        .write("etc/kiln/agent.toml", format!("[bootstrap]\ntimeout = \"20s\"\ncloud_init = \"{choice}\"\n"));
    machine
}

fn both(machine: &Machine) -> String {
    let script = machine.script("echo script >> $ROOT/log");
    let kiln = machine.kiln("[[run]]\nname = 'ours'\ncommand = 'echo ours >> $ROOT/log'\n");
    format!("Content-Type: multipart/mixed; boundary=b\n\n--b\n\n{script}\n--b\n\n{kiln}\n--b--\n")
}

#[tokio::test]
async fn a_script_that_cloud_init_would_run_too_is_refused_until_it_is_told_not_to() {
    let machine = with_cloud_init("take-over");
    let report = machine.boot("i-0abc", &both(&machine)).await;
    assert_eq!((report.outcome, report.ran, machine.log().as_str()), (Outcome::Failed, false, ""));
    assert!(reason(&report).starts_with("cloud-init would run the script too: "), "{report:?}");
    machine.write(TOLD.0, TOLD.1);
    let report = machine.boot("i-0abc", &both(&machine)).await;
    assert_eq!((report.outcome, machine.log().as_str()), (Outcome::Ok, "script\nours\n"), "{report:?}");
}

#[tokio::test]
async fn what_was_taken_over_is_done_as_far_as_it_is_known_and_else_the_way_out_is_told() {
    let machine = with_cloud_init("take-over");
    machine.write(TOLD.0, TOLD.1);
    let runcmd = format!("#cloud-config\nruncmd: ['echo ours >> {}/log']\n", machine.root.path().display());
    let report = machine.boot("i-0abc", &runcmd).await;
    assert_eq!((report.outcome, machine.log().as_str()), (Outcome::Ok, "ours\n"), "{report:?}");
    let report = machine.boot("i-0abc", "#cloud-config\npackages: [curl]\n").await;
    assert_eq!(report.outcome, Outcome::Failed);
    assert!(reason(&report).ends_with("bake the image with image.cloud_init = \"wait\""), "{report:?}");
}

#[tokio::test]
async fn with_wait_cloud_inits_end_comes_first_and_its_failure_is_ours() {
    for (errors, outcome, log) in [("", Outcome::Ok, "ours\n"), ("\"boom\"", Outcome::Failed, "")] {
        let machine = with_cloud_init("wait");
        let ended = format!("{{\"v1\":{{\"datasource\":\"DataSourceEc2Local\",\"errors\":[{errors}]}}}}");
        let user_data = both(&machine);
        let boot = machine.boot("i-0abc", &user_data);
        let end = async {
            // The report names the parts when all but cloud-init is there.
            while !machine.read("run/kiln/bootstrap.json").contains("\"ours\"") {
                tokio::task::yield_now().await;
            }
            assert_eq!(machine.log(), "", "nothing is done before");
            machine
                .write("var/lib/cloud/instance/scripts/part-001", machine.script("echo script >> $ROOT/log"));
            machine.write("run/cloud-init/result.json", ended);
        };
        let (report, ()) = tokio::join!(boot, end);
        // The script was cloud-init's.
        assert_eq!((report.outcome, machine.log().as_str()), (outcome, log), "{report:?}");
        assert_eq!(report.bound_ms, Some(40_000), "cloud-init's bound and that of the run");
    }
}
