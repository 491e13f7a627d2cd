//! Commands that do not behave.

use super::*;
use std::sync::Mutex;
use tokio::time::Instant;

#[tokio::test]
async fn endings_are_told_apart() {
    let cases = [("exit 0", End::Exited(0)), ("exit 7", End::Exited(7)), ("kill -9 $$", End::Killed(9))];
    for (script, expected) in cases {
        assert_eq!(sh(script, 30_000).await, expected, "{script}");
    }
    let missing = run(Command::new("/nonexistent"), "test", Duration::from_secs(1)).await;
    assert_eq!(missing.map_err(|error| error.kind()), Err(std::io::ErrorKind::NotFound));
}

#[tokio::test]
async fn a_script_that_is_still_open_for_writing_is_tried_again() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder for a script");
    let script = folder.path().join("script");
    std::fs::write(&script, "#!/bin/sh\nexit 4\n").expect("write the script");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("make it executable");
    let writer = std::fs::OpenOptions::new().append(true).open(&script).expect("open the script");
    // The command is polled first: its first try finds the file busy.
    let (end, ()) =
        tokio::join!(run(Command::new(&script), "test", Duration::from_mins(1)), async { drop(writer) });
    assert_eq!(end.expect("it starts in the end"), End::Exited(4));
}

#[tokio::test]
async fn a_group_whose_time_is_up_is_killed_whole() {
    let folder = tempfile::tempdir().expect("a folder for process ids");
    let pids = folder.path().join("pids");
    // Two generations, one of which would rather not hear of TERM.
    let script =
        format!("(sleep 1000 & echo $! >> {0}; wait) & sleep 1000 & echo $! >> {0}; wait", pids.display());
    assert_eq!(sh(&script, 2000).await, End::TimedOut);
    let written = std::fs::read_to_string(&pids).expect("the script wrote its children");
    assert_eq!(written.lines().count(), 2);
    for pid in written.lines() {
        // The signal was sent; nobody but their own parent is told when they die of it.
        let gone = async {
            while !is_gone(pid) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), gone)
            .await
            .unwrap_or_else(|_| panic!("{pid} still runs"));
    }
}

#[tokio::test]
async fn a_daemon_that_keeps_the_output_open_does_not_hold_the_command() {
    let folder = tempfile::tempdir().expect("a folder for a process id");
    let pid = folder.path().join("pid");
    let started = Instant::now();
    let script = format!("setsid sleep 1000 & echo $! > {}; echo done", pid.display());
    assert_eq!(sh(&script, 30_000).await, End::Exited(0));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    // What it left running it meant to leave running.
    let pid = std::fs::read_to_string(&pid).expect("the script wrote it");
    assert!(!is_gone(pid.trim()));
    let pid = pid.trim().parse().expect("a process id");
    nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it runs");
}

#[tokio::test]
async fn a_flood_of_output_ends_with_its_command() {
    let started = Instant::now();
    assert_eq!(sh("yes | head -c 50000000; yes >&2", 2000).await, End::TimedOut);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn lines_are_cut_at_their_limit_and_not_joined() {
    let long = "x".repeat(3 * LINE_LIMIT);
    let text = format!("short\n{long}\n\nlast");
    for chunk in [1, 7, CHUNK] {
        let (mut lines, mut lengths) = (Lines::default(), Vec::new());
        let mut tell = |line: &[u8]| lengths.push(line.len());
        for bytes in text.as_bytes().chunks(chunk) {
            lines.push(bytes, &mut tell);
        }
        lines.end(&mut tell);
        assert_eq!(lengths, [5, LINE_LIMIT, 0, 4], "in chunks of {chunk}");
    }
}

#[tokio::test]
async fn a_flood_is_cut_by_lines_and_by_bytes_and_said_once() {
    #[derive(Default)]
    struct Count(Mutex<(usize, usize, usize)>);
    impl Ear for Count {
        fn line(&self, _: &'static str, line: &str) {
            let mut count = self.0.lock().expect("no test panics with it");
            (count.0, count.1) = (count.0 + 1, count.1 + line.len());
        }
        fn flooded(&self, _: &'static str) {
            self.0.lock().expect("no test panics with it").2 += 1;
        }
    }
    let wide = format!("{}\n", "x".repeat(4000)).repeat(3000);
    for (text, lines) in [("y\n".repeat(3 * LINES), LINES), (wide, BYTES / 4000)] {
        let count = Arc::new(Count::default());
        pass_on(Some(text.as_bytes()), "stdout", count.clone()).await;
        let (told, size, floods) = *count.0.lock().expect("no test panics with it");
        assert_eq!((told, floods), (lines, 1));
        assert!(size <= BYTES, "{size}");
    }
}

#[tokio::test]
async fn a_command_that_is_cut_off_may_end_by_itself_first() {
    assert_eq!(cut_off("exit 0").await, End::Exited(0));
}

#[tokio::test(start_paused = true)]
async fn a_command_that_is_cut_off_and_does_not_end_is_ended() {
    assert_eq!(cut_off("sleep 1000").await, End::CutOff);
}

async fn cut_off(script: &str) -> End {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    let ear = Arc::new(Journal("test".to_owned()));
    run_heard(command, Duration::from_hours(1), ear, async {}).await.expect("there is a shell")
}

async fn sh(script: &str, bound_ms: u64) -> End {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    run(command, "test", Duration::from_millis(bound_ms)).await.expect("there is a shell")
}

fn is_gone(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}
