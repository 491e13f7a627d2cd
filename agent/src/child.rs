//! A command in a process group of its own: who listens hears its output line by line, and when its time is up the
//! whole group goes, TERM first.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::fmt;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

/// From TERM to KILL.
pub const GRACE: Duration = Duration::from_secs(5);
/// What a command is left when it is to be cut off, before TERM: one that asked for a reboot itself is about to end.
/// Within the unit's `TimeoutStopSec=`, so that systemd does not end the group first.
const CUT_OFF_AFTER: Duration = Duration::from_secs(30);
/// A child that has ended may have left its output open to a daemon of its own; what it wrote itself is here by then.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// A second in all, which protects the boot from a script that somebody keeps open for writing.
const BUSY_TRIES: u32 = 50;
/// See [`BUSY_TRIES`].
const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// Bytes read at once: a pipe holds 64 KiB, and a page or two is what programs write.
const CHUNK: usize = 8 * 1024;
/// Longer lines are cut: a journal entry is no place for a file.
const LINE_LIMIT: usize = 8 * 1024;
/// Further lines of one stream are read and dropped: a flood must not push everything else out of the journal.
const LINES: usize = 10_000;
/// The same in bytes: a fiftieth of what the image's journal keeps (200 MB, its journald.conf).
const BYTES: usize = 4 * 1024 * 1024;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, with this exit code.
    Exited(i32),
    /// By this signal, sent by others.
    Killed(i32),
    /// By us: its time was up.
    TimedOut,
    /// By us: the machine is going down.
    CutOff,
}

impl fmt::Display for End {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Exited(code) => write!(out, "exited with {code}"),
            End::Killed(signal) => match Signal::try_from(*signal) {
                Ok(name) => write!(out, "was killed by signal {signal} ({name})"),
                Err(_) => write!(out, "was killed by signal {signal}"),
            },
            End::TimedOut => out.write_str("did not end in time"),
            End::CutOff => out.write_str("was cut off: the machine was going down"),
        }
    }
}

/// Hears what a command prints.
pub trait Ear: Send + Sync + 'static {
    /// Bytes as they come.
    fn bytes(&self, bytes: &[u8]) {
        let _ = bytes;
    }
    /// One line of `stdout` or `stderr`, without its end, cut at 8 KiB.
    fn line(&self, stream: &'static str, line: &str);
    /// No further line of this stream is told.
    fn flooded(&self, stream: &'static str);
}

/// Tells the journal, by the command's name.
struct Journal(String);

impl Ear for Journal {
    fn line(&self, stream: &'static str, line: &str) {
        tracing::info!(command = self.0, stream, "{line}");
    }

    fn flooded(&self, stream: &'static str) {
        tracing::warn!(command = self.0, stream, "output is a flood: further lines are dropped");
    }
}

/// Runs `command` for at most `bound` and tells the journal what it prints; the error says why it could not be started.
pub async fn run(command: Command, name: &str, bound: Duration) -> std::io::Result<End> {
    run_heard(command, bound, Arc::new(Journal(name.to_owned())), std::future::pending()).await
}

/// [`run`] for who listens; once `cut_off` comes, the command has 30 s to end by itself, and is ended then.
pub async fn run_heard(
    command: Command,
    bound: Duration,
    ear: Arc<dyn Ear>,
    cut_off: impl Future<Output = ()>,
) -> std::io::Result<End> {
    let over = async {
        tokio::select! {
            () = tokio::time::sleep(bound) => End::TimedOut,
            () = async { cut_off.await; tokio::time::sleep(CUT_OFF_AFTER).await } => End::CutOff,
        }
    };
    run_while(command, ear, over).await
}

/// [`run`] until `time_is_up`, which may come sooner than it seemed at the start.
pub async fn run_until(
    command: Command,
    name: &str,
    time_is_up: impl Future<Output = ()>,
) -> std::io::Result<End> {
    let over = async {
        time_is_up.await;
        End::TimedOut
    };
    run_while(command, Arc::new(Journal(name.to_owned())), over).await
}

async fn run_while(
    mut command: Command,
    ear: Arc<dyn Ear>,
    over: impl Future<Output = End>,
) -> std::io::Result<End> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // systemd's own messages are the agent's to send.
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        .process_group(0)
        .kill_on_drop(true);
    let mut child = spawn(&mut command).await?;
    let mut group = Group::of(&child);
    let mut readers = JoinSet::new();
    readers.spawn(pass_on(child.stdout.take(), "stdout", ear.clone()));
    readers.spawn(pass_on(child.stderr.take(), "stderr", ear));
    let by_itself = async {
        tokio::select! {
            biased;
            status = child.wait() => Ok(status),
            end = over => Err(end),
        }
    };
    let end = match by_itself.await {
        Ok(status) => {
            // What a command that ended by itself left running, it meant to leave running.
            group.leave();
            ending(status?)
        }
        Err(end) => {
            group.signal(Signal::SIGTERM);
            let _ = tokio::time::timeout(GRACE, child.wait()).await;
            group.signal(Signal::SIGKILL);
            // One that the kernel does not let go, such as of a dead network file system, is not waited for.
            let _ = tokio::time::timeout(GRACE, child.wait()).await;
            end
        }
    };
    let _ = tokio::time::timeout(LAST_WORDS, async { while readers.join_next().await.is_some() {} }).await;
    Ok(end)
}

/// Starts it. A file that was just written is busy for as long as some other process, forked meanwhile and not yet
/// in its own program, holds a copy of the writer's handle: a matter of milliseconds.
async fn spawn(command: &mut Command) -> std::io::Result<Child> {
    for _ in 0..BUSY_TRIES {
        match command.spawn() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            started => return started,
        }
    }
    command.spawn()
}

fn ending(status: ExitStatus) -> End {
    match (status.code(), status.signal()) {
        (Some(code), _) => End::Exited(code),
        (None, signal) => End::Killed(signal.unwrap_or_default()),
    }
}

/// A process group that does not outlive the future that watches it: an aborted drain, a shutdown.
pub(crate) struct Group(Option<Pid>);

impl Group {
    /// The group of a child that was started with one of its own. When memory runs out it is the kernel's to take before
    /// the agent: what the unit says of the agent (`OOMScoreAdjust=`) would hold for its children, too.
    pub(crate) fn of(child: &Child) -> Self {
        if let Some(id) = child.id() {
            // A child that has ended needs no protection from.
            let _ = std::fs::write(format!("/proc/{id}/oom_score_adj"), "0");
        }
        Self(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    /// Lets it go on by itself.
    pub(crate) fn leave(&mut self) {
        self.0 = None;
    }

    fn signal(&self, signal: Signal) {
        // Gone already is as good.
        if let Some(group) = self.0 {
            let _ = killpg(group, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

async fn pass_on(from: Option<impl AsyncRead + Unpin>, stream: &'static str, ear: Arc<dyn Ear>) {
    let Some(mut from) = from else { return };
    let (mut lines, mut chunk) = (Lines::default(), [0; CHUNK]);
    let (mut told, mut size) = (0, 0);
    let mut tell = |line: &[u8]| {
        (told, size) = (told + 1, size + line.len());
        if told <= LINES && size <= BYTES {
            ear.line(stream, String::from_utf8_lossy(line).trim_end());
        } else if told <= LINES + 1 {
            ear.flooded(stream);
            told = LINES + 1;
        }
    };
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        ear.bytes(&chunk[..count]);
        lines.push(&chunk[..count], &mut tell);
    }
    lines.end(&mut tell);
}

/// Bytes to lines, of which each is cut at [`LINE_LIMIT`].
#[derive(Default)]
struct Lines {
    line: Vec<u8>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8], tell: &mut impl FnMut(&[u8])) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            let room = LINE_LIMIT.saturating_sub(self.line.len());
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                tell(&self.line);
                self.line.clear();
            }
        }
    }

    fn end(self, tell: &mut impl FnMut(&[u8])) {
        if !self.line.is_empty() {
            tell(&self.line);
        }
    }
}

#[cfg(test)]
mod tests;
