//! One part: its time, its output, its surroundings, its end.

use super::*;
use std::time::Instant;

#[tokio::test]
async fn a_part_that_hangs_is_ended_with_its_children() {
    let machine = Machine { timeout: "1s", ..Machine::new() };
    let script = machine.script("sleep 1000 & echo $! > $ROOT/log; wait");
    let report = machine.boot("i-0abc", &script).await;
    assert_eq!(reason(&report), "user data script did not end within 1s (bootstrap.timeout)");
    assert_eq!(report.outcome, Outcome::Failed);
    assert!(is_gone(machine.log().trim()), "child {} still runs", machine.log());
}

#[tokio::test]
async fn a_run_has_a_timeout_of_its_own() {
    let machine = Machine::new();
    let document = machine.kiln("[[run]]\nname = 'slow'\ncommand = ['sleep', '1000']\ntimeout = '500ms'\n");
    let report = machine.boot("i-0abc", &document).await;
    assert_eq!(reason(&report), "run 'slow' did not end within 500ms (its timeout)");
    assert_eq!(report.bound_ms, Some(500));
}

#[tokio::test]
async fn a_daemon_that_keeps_the_output_open_does_not_block_the_boot() {
    let machine = Machine::new();
    let started = Instant::now();
    let report = machine.boot("i-0abc", &machine.script("setsid sleep 1000 & echo $! > $ROOT/log")).await;
    let pid = machine.log();
    assert_eq!(report.outcome, Outcome::Ok);
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    assert!(!is_gone(pid.trim()), "what was left running on purpose runs");
    let pid = nix::unistd::Pid::from_raw(pid.trim().parse().expect("a process id"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it runs");
}

#[tokio::test]
async fn a_flood_leaves_its_head_and_its_tail_and_fills_no_disk() {
    let machine = Machine { timeout: "2s", ..Machine::new() };
    let script = machine.script("echo the first line; yes | head -c 20000000; echo the last line; yes >&2");
    let report = machine.boot("i-0abc", &script).await;
    assert_eq!(report.outcome, Outcome::Failed);
    assert!(report.parts[0].output_bytes > 1_000_000, "{report:?}");
    let kept = machine.read("var/lib/kiln/instances/i-0abc/output/script.log");
    assert!(kept.starts_with("the first line\n"), "{}", &kept[..40]);
    assert!(kept.contains("bytes left out …]\n"));
    assert!(kept.len() < 65 * 1024, "{} bytes", kept.len());
}

#[tokio::test]
async fn all_that_is_printed_is_kept_in_order_while_it_is_little() {
    let machine = Machine::new();
    // More than the head, less than head and tail.
    let script = machine.script("for n in $(seq 8000); do echo $n; done; exit 7");
    let report = machine.boot("i-0abc", &script).await;
    let expected: String = (1..=8000).fold(String::new(), |text, n| text + &format!("{n}\n"));
    assert_eq!(machine.read("var/lib/kiln/instances/i-0abc/output/script.log"), expected);
    assert_eq!(report.parts[0].output_bytes, expected.len() as u64);
    // A run that prints nothing leaves nothing of the one before.
    machine.boot("i-0abc", &machine.script("true")).await;
    assert!(!machine.path("var/lib/kiln/instances/i-0abc/output/script.log").exists());
}

#[tokio::test]
async fn exit_codes_and_signals_are_reported() {
    let machine = Machine::new();
    let cases = [
        ("exit 3", Some(3), None, "user data script exited with 3"),
        ("kill -9 $$", None, Some(9), "user data script was killed by signal 9 (SIGKILL)"),
    ];
    for (body, code, signal, expected) in cases {
        let report = machine.boot("i-0abc", &machine.script(body)).await;
        let part = &report.parts[0];
        assert_eq!((part.exit_code, part.signal, reason(&report)), (code, signal, expected));
        assert_eq!((report.exit_code, part.step), (code, Step::Failed));
    }
}

#[tokio::test]
async fn the_environment_is_clean_and_told() {
    let machine = Machine::new();
    machine
        .boot("i-0abc", &machine.script("env | sort > $ROOT/log; pwd >> $ROOT/log; umask >> $ROOT/log"))
        .await;
    let log = machine.log();
    let mut names: Vec<&str> =
        log.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    // What the shell itself adds, and what is handed on where the test's own environment has it.
    names.retain(|name| !matches!(*name, "PWD" | "OLDPWD" | "SHLVL" | "_") && !name.starts_with("AWS_"));
    let expected = "HOME KILN_INSTANCE_ID KILN_PART KILN_REGION LANG LOGNAME PATH SHELL USER";
    assert_eq!(names.join(" "), expected, "{log}");
    for line in ["KILN_INSTANCE_ID=i-0abc", "KILN_REGION=eu-west-1", "KILN_PART=script", "LANG=C.UTF-8"] {
        assert!(log.lines().any(|given| given == line), "no {line} in {log}");
    }
    assert!(log.contains("\n/\n"), "not run in /: {log}");
}

#[tokio::test]
async fn a_run_is_its_users_in_its_folder_with_its_umask() {
    let machine = Machine::new();
    machine.write("etc/passwd", "nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n");
    machine.write("etc/group", "www-data:x:33:nobody\n");
    let document = machine.kiln(
        "[[run]]\nname = 'who'\nuser = 'nobody'\ndirectory = '/usr'\numask = '0027'\n\
         command = ['sh', '-c', 'id -u; id -G; pwd; umask; echo $HOME $USER']\n",
    );
    let report = machine.boot("i-0abc", &document).await;
    let kept = machine.read("var/lib/kiln/instances/i-0abc/output/who.log");
    assert_eq!(report.outcome, Outcome::Ok, "{report:?} {kept}");
    assert_eq!(kept, "65534\n65534 33\n/usr\n0027\n/nonexistent nobody\n");
}

#[tokio::test]
async fn what_cannot_be_started_says_what_is_missing() {
    let machine = Machine::new();
    let cases = [
        (
            "#!/nonexistent/shell\n".to_owned(),
            "failed to start user data script by '/nonexistent/shell': No such file",
        ),
        (
            machine.kiln("[[run]]\nname = 'a'\ncommand = ['nonexistent']\n"),
            "failed to start run 'a' by 'nonexistent'",
        ),
        (
            machine.kiln("[[run]]\nname = 'a'\ncommand = 'true'\nuser = 'ghost'\n"),
            "run 'a': there is no user 'ghost'",
        ),
        (
            machine.kiln("[[run]]\nname = 'a'\ncommand = 'true'\ndirectory = '/nonexistent'\n"),
            "run 'a': there is no folder '/nonexistent'",
        ),
    ];
    for (user_data, expected) in cases {
        let report = machine.boot("i-0abc", &user_data).await;
        assert!(report.outcome == Outcome::Failed && reason(&report).starts_with(expected), "{report:?}");
    }
}
