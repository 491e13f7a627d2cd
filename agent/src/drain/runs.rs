//! Whole drains: real connections and scripts, a small Elastic Load Balancing in memory.

use super::*;
use crate::fake::{self, Reply, action, in_memory, known_group, result};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

const WEB: &str = "arn:aws:elasticloadbalancing:eu-central-1:1:targetgroup/web/1";
const QUIET: Duration = Duration::from_millis(400);

#[tokio::test(start_paused = true)]
async fn a_drain_with_nothing_in_flight_ends_within_quiet_and_two_seconds() {
    let (stage, began) = (Stage::start(&[]), Instant::now());
    assert_eq!(stage.drain(60).await, "drain ended: drained");
    let elapsed = began.elapsed();
    assert!(elapsed >= QUIET && elapsed < QUIET + Duration::from_secs(2), "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn quiet_that_outlasts_a_hooks_timeout_is_progress_all_along() {
    let (mut stage, board) = (Stage::start(&[]), fake::board());
    stage.quiet = Duration::from_mins(2);
    let look = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let advanced = board.lock().advanced;
            assert!(advanced.is_some_and(|at| at.elapsed() < Duration::from_secs(5)), "heartbeats end");
        }
    };
    tokio::select! {
        () = look => {}
        ended = stage.drain_on(&board, 300) => assert_eq!(ended, "drain ended: drained"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_work_in_flight_holds_the_drain_to_its_deadline_and_no_longer() {
    let (stage, began) = (Stage::start(&[]), Instant::now());
    let client = TcpStream::connect(stage.listener.local_addr().expect("it is bound")).expect("it listens");
    let (_server, _) = stage.listener.accept().expect("it was connected to");
    assert_eq!(stage.drain(3).await, "drain ended: deadline");
    let elapsed = began.elapsed();
    assert!(elapsed >= Duration::from_secs(3) && elapsed < Duration::from_secs(5), "{elapsed:?}");
    drop(client);
}

#[tokio::test]
async fn a_script_that_leaves_a_daemon_with_its_output_open_does_not_hold_the_drain() {
    let folder = tempfile::tempdir().expect("a folder for a process id");
    let pid = folder.path().join("pid");
    let script = format!("setsid sleep 1000 & echo $! > {}", pid.display());
    let (stage, began) = (Stage::start(&["/bin/sh", "-c", &script]), Instant::now());
    assert_eq!(stage.drain(60).await, "drain ended: drained");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let pid = std::fs::read_to_string(&pid).expect("the script wrote it");
    let pid = nix::unistd::Pid::from_raw(pid.trim().parse().expect("a process id"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("what it left running still runs");
}

#[tokio::test]
async fn a_script_hears_term_a_grace_before_the_deadline_and_knows_its_environment() {
    let folder = tempfile::tempdir().expect("a folder for what the script says");
    let said = folder.path().join("said");
    let script = format!(
        "trap 'echo term >> {0}; exit 0' TERM; echo $KILN_NOTICE $KILN_SECONDS >> {0}; sleep 1000 & wait",
        said.display()
    );
    let (stage, began) = (Stage::start(&["/bin/sh", "-c", &script]), Instant::now());
    // TERM one second after the start, with the whole grace left to end in.
    assert_eq!(stage.drain(6).await, "drain ended: drained");
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    let said = std::fs::read_to_string(&said).expect("the script wrote it");
    let lines: Vec<&str> = said.lines().collect();
    assert!(matches!(lines[..], ["group 6" | "group 5", "term"]), "{lines:?}");
}

struct Stage {
    scripts: Vec<Vec<String>>,
    listener: TcpListener,
    quiet: Duration,
    root: tempfile::TempDir,
}

impl Stage {
    fn start(script: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let script: Vec<String> = script.iter().map(|&word| word.to_owned()).collect();
        let scripts = if script.is_empty() { Vec::new() } else { vec![script] };
        Self { scripts, listener, quiet: QUIET, root: tempfile::tempdir().expect("a folder") }
    }

    /// Drains for at most `seconds`; what the timeline says of its end.
    async fn drain(&self, seconds: u64) -> String {
        self.drain_on(&fake::board(), seconds).await
    }

    async fn drain_on(&self, board: &Board, seconds: u64) -> String {
        let clock = Clock::anchored(Moment::default());
        board.lock().notices = vec![Notice::Group];
        let group = known_group(in_memory(elb()), board);
        let groups = Some(vec![WEB.to_owned()]);
        let drain = Drain {
            targets: Targets::new(group, groups, board.clone(), self.root.path()),
            ports: vec![self.listener.local_addr().expect("it is bound").port()],
            stub_status: None,
            quiet: self.quiet,
            scripts: self.scripts.clone(),
            board: board.clone(),
            clock,
        };
        let deadline = watch::Sender::new(Moment::from_millis(seconds * 1000));
        drain.run(deadline.subscribe()).await;
        board.snapshot().timeline.pop_back().expect("the end is noted").what
    }
}

/// One target of ours, which drains once it was told.
fn elb() -> impl Fn(String) -> std::future::Ready<Reply> + Send + Sync + 'static {
    let told = AtomicBool::new(false);
    move |body| {
        let text = match action(&body) {
            "DescribeTargetHealth" => {
                let state = if told.load(Ordering::SeqCst) { "draining" } else { "healthy" };
                let row = format!(
                    "<member><Target><Id>i-0abc</Id><Port>80</Port></Target><TargetHealth><State>{state}</State></TargetHealth></member>"
                );
                let list = format!("<TargetHealthDescriptions>{row}</TargetHealthDescriptions>");
                result("DescribeTargetHealth", &list)
            }
            call => {
                told.store(true, Ordering::SeqCst);
                result(call, "")
            }
        };
        std::future::ready(Some((200, text.into_bytes())))
    }
}
