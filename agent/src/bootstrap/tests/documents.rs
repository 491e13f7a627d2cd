//! Every form of user data, in order, and what is refused before anything runs.

use super::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

#[tokio::test]
async fn parts_are_done_in_their_order_and_a_failure_stops_the_rest() {
    let machine = Machine::new();
    let config = format!(
        "#cloud-config\nruncmd:\n  - echo runcmd >> {0}/log\nbootcmd:\n  - echo bootcmd >> {0}/log\n",
        machine.root.path().display()
    );
    let message = |last: &str| {
        format!(
            "Content-Type: multipart/mixed; boundary=b\n\n\
             --b\nContent-Disposition: attachment; filename=\"setup it.sh\"\n\n{}\n\
             --b\n\n{}\n--b\n\n{config}\n--b\n\n{}\n--b--\n",
            machine.script("echo script >> $ROOT/log"),
            machine.kiln("[[run]]\nname = 'two'\ncommand = 'echo run >> $ROOT/log'\n"),
            machine.script(last),
        )
    };
    let report = machine.boot("i-0abc", &message("exit 4")).await;
    assert_eq!(machine.log(), "script\nrun\nbootcmd\nruncmd\n");
    assert_eq!(reason(&report), "part 4 exited with 4");
    let names = ["setup_it.sh", "two", "bootcmd", "runcmd", "script"];
    assert_eq!(report.parts.iter().map(|part| part.name.as_str()).collect::<Vec<_>>(), names);
    // The next boot goes on where this one stopped.
    machine.reboot("i-0abc");
    let report = machine.boot("i-0abc", &message("echo last >> $ROOT/log")).await;
    assert_eq!(report.outcome, Outcome::Ok, "{report:?}");
    assert_eq!(machine.log(), "script\nrun\nbootcmd\nruncmd\nbootcmd\nlast\n");
}

#[tokio::test]
async fn files_are_written_as_they_are_asked_for() {
    let machine = Machine::new();
    machine.write("etc/passwd", "app:x:990:991::/srv/app:/bin/sh\n");
    machine.write("etc/list", "one\n");
    std::fs::set_permissions(machine.path("etc/list"), std::fs::Permissions::from_mode(0o600)).expect("ours");
    let document = "#kiln\n[[file]]\npath = '/etc/shop/a.json'\ncontent = '{}'\nmode = '0640'\nowner = 'app'\n\
                    [[file]]\npath = '/etc/shop/b'\nbase64 = 'AAECAwT/'\n\
                    [[file]]\npath = '/etc/list'\ncontent = \"two\\n\"\nappend = true\n";
    let report = machine.boot("i-0abc", document).await;
    assert_eq!(steps(&report), [("file", Step::Done), ("file.2", Step::Done)], "{report:?}");
    let found = |path: &str| std::fs::metadata(machine.path(path)).expect("it was written");
    let a = found("etc/shop/a.json");
    assert_eq!((a.mode() & 0o7777, a.uid(), a.gid()), (0o640, 990, 991));
    assert_eq!(found("etc/shop/b").mode() & 0o7777, 0o644);
    assert_eq!(std::fs::read(machine.path("etc/shop/b")).expect("it was written"), [0, 1, 2, 3, 4, 0xff]);
    // What is appended to keeps its mode unless it is given another.
    assert_eq!((machine.read("etc/list").as_str(), found("etc/list").mode() & 0o7777), ("one\ntwo\n", 0o600));
}

#[tokio::test]
async fn an_append_that_was_cut_off_is_not_made_twice() {
    let machine = Machine::new();
    let document = "#kiln\n[[file]]\npath = '/etc/list'\ncontent = \"two\\n\"\nappend = true\n";
    machine.boot("i-0abc", document).await;
    let mark = machine.marks("i-0abc").remove(0);
    let text = std::fs::read_to_string(&mark).expect("a mark").replace("\"ok\"", "\"begun\"");
    std::fs::write(&mark, text).expect("it is ours");
    machine.boot("i-0abc", document).await;
    assert_eq!(machine.read("etc/list"), "two\n");
}

#[tokio::test]
async fn cloud_config_names_the_machine_and_lets_its_user_in() {
    let machine = Machine::new();
    let me = nix::unistd::getuid();
    let gid = nix::unistd::getgid();
    machine.write(
        "etc/passwd",
        format!("root:x:0:0::/root:/bin/sh\nadmin:x:{}:{gid}::/srv/admin:/bin/bash\n", 1000),
    );
    machine.write("srv/admin/.ssh/authorized_keys", "ssh-rsa AAAA old");
    let document = "#cloud-config\nhostname: shop-1\nssh_authorized_keys:\n  - ssh-ed25519 BBBB new\n  - ssh-rsa AAAA old\n";
    let report = machine.boot("i-0abc", document).await;
    assert!(me.is_root() && report.outcome == Outcome::Ok, "{report:?}");
    assert_eq!(machine.read("etc/hostname"), "shop-1\n");
    assert_eq!(machine.read("srv/admin/.ssh/authorized_keys"), "ssh-rsa AAAA old\nssh-ed25519 BBBB new\n");
    let keys = std::fs::metadata(machine.path("srv/admin/.ssh/authorized_keys")).expect("it was written");
    assert_eq!((keys.mode() & 0o7777, keys.uid()), (0o600, 1000));
}

#[tokio::test]
async fn what_cannot_be_done_is_seen_before_anything_is() {
    let machine = Machine::new();
    let script = machine.script("echo ran >> $ROOT/log");
    let with = |second: &str| {
        format!("Content-Type: multipart/mixed; boundary=b\n\n--b\n\n{script}\n--b\n\n{second}\n--b--\n")
    };
    let cases = [
        (with("#cloud-config\npackages: [curl]\n"), "part 2, line 2, column 1: unknown key 'packages'"),
        (with("#include\nhttps://example.com/\n"), "part 2, byte 0: "),
        (with("#kiln\n[[file]]\npath = '/a'\n"), "part 2, line 2, column 1: invalid 'file'"),
        (
            with("#cloud-config\nssh_authorized_keys: [ssh-rsa AAAA me]\n"),
            "part 2, ssh_authorized_keys: the image has no user",
        ),
        (with("#kiln\n[agent]\ndrain.mx = '1m'\n"), "part 2:3:7: unknown field `mx`"),
        ("hello".to_owned(), "user data, byte 0: is of no known kind"),
    ];
    for (user_data, expected) in cases {
        let report = machine.boot("i-0abc", &user_data).await;
        assert!(report.outcome == Outcome::Failed && reason(&report).starts_with(expected), "{report:?}");
        assert!(!report.ran && !reason(&report).contains('\n'));
    }
    assert_eq!(machine.log(), "");
    assert!(machine.marks("i-0abc").is_empty());
}

#[tokio::test]
async fn an_instance_id_that_is_a_path_is_none() {
    let report = Machine::new().boot("../../etc", "#!/bin/sh\n").await;
    assert!(reason(&report).contains("as the instance id"), "{report:?}");
}

/// The conformance table of the parser, run: what is refused there is never `ok` here, and what holds no work is.
#[tokio::test]
async fn every_case_of_the_table_that_is_refused_fails_and_runs_nothing() {
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("../userdata/tests/cases");
    let (mut refused, mut empty) = (0, 0);
    for case in std::fs::read_dir(table).expect("the cases are in the repository") {
        let case = case.expect("a readable folder").path();
        let raw = std::fs::read(case.join("input")).expect("each case has an input");
        let harmless = match kiln_userdata::parse(&raw) {
            Ok(data) if plan::plan(&data, Duration::MAX, false).is_empty() && data.leaves().is_empty() => {
                true
            }
            // Real work of other people's machines.
            Ok(_) => continue,
            Err(_) => false,
        };
        let machine = Machine::new();
        let fake = Fake::start(move |asked, _| match (asked.method.as_str(), asked.path.as_str()) {
            ("PUT", _) => (200, b"a-token".to_vec()),
            (_, "/latest/user-data") => (200, raw.clone()),
            _ => (200, b"i-0abc".to_vec()),
        })
        .await;
        let report = machine.run(&fake.url).await;
        let expected = if harmless { Outcome::Ok } else { Outcome::Failed };
        assert_eq!((report.outcome, report.ran), (expected, false), "{}: {report:?}", case.display());
        (refused, empty) = if harmless { (refused, empty + 1) } else { (refused + 1, empty) };
    }
    assert!(refused > 50 && empty > 2, "{refused} refused, {empty} empty");
}

#[tokio::test]
async fn a_base_with_cloud_init_keeps_its_documents() {
    let machine = Machine::new();
    let document =
        format!("#cloud-config\npackages: [curl]\nruncmd: [touch {}/log]\n", machine.root.path().display());
    machine.write("usr/bin/cloud-init", "");
    let report = machine.boot("i-0abc", &document).await;
    assert_eq!((report.outcome, report.parts), (Outcome::Ok, vec![]));
    // Switched off it does nothing, so the subset is ours again, and this is not in it.
    machine.write("etc/cloud/cloud-init.disabled", "");
    assert_eq!(machine.boot("i-0abc", &document).await.outcome, Outcome::Failed);
}
