//! A command in a process group of its own: its output goes to the journal line by line, and when its time is up the
//! whole group goes, TERM first.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

/// From TERM to KILL.
const GRACE: Duration = Duration::from_secs(5);
/// A child that has ended may have left its output open to a daemon of its own; what it wrote itself is here by then.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// A second in all, which protects the boot from a script that somebody keeps open for writing.
const BUSY_TRIES: u32 = 50;
/// See [`BUSY_TRIES`].
const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// Longer lines are cut: a journal entry is no place for a file.
const LINE_LIMIT: usize = 8 * 1024;

/// Further lines of one stream are read and dropped: a flood must not push everything else out of the journal.
const LINES: usize = 10_000;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, with this exit code.
    Exited(i32),
    /// By this signal, sent by others.
    Killed(i32),
    /// By us: its time was up.
    TimedOut,
}

/// Runs `command` for at most `bound`; the error says why it could not be started.
pub async fn run(mut command: Command, name: &str, bound: Duration) -> std::io::Result<End> {
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
    let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
    let mut readers = JoinSet::new();
    readers.spawn(pass_on(child.stdout.take(), name.to_owned(), "stdout"));
    readers.spawn(pass_on(child.stderr.take(), name.to_owned(), "stderr"));
    let end = if let Ok(status) = tokio::time::timeout(bound, child.wait()).await {
        // What a command that ended by itself left running, it meant to leave running.
        group.0 = None;
        ending(status?)
    } else {
        group.signal(Signal::SIGTERM);
        let _ = tokio::time::timeout(GRACE, child.wait()).await;
        group.signal(Signal::SIGKILL);
        child.wait().await?;
        End::TimedOut
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
struct Group(Option<Pid>);

impl Group {
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

async fn pass_on(from: Option<impl AsyncRead + Unpin>, command: String, stream: &'static str) {
    let Some(from) = from else { return };
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    for number in 0_usize.. {
        line.clear();
        let Ok(true) = read_line(&mut reader, &mut line).await else { return };
        if number < LINES {
            let text = String::from_utf8_lossy(&line);
            tracing::info!(command, stream, "{}", text.trim_end());
        } else if number == LINES {
            tracing::warn!(command, stream, "{LINES} lines are enough: further ones are dropped");
        }
    }
}

/// Reads one line of at most [`LINE_LIMIT`] bytes and drops its rest; `false` at the end.
async fn read_line(
    reader: &mut BufReader<impl AsyncRead + Unpin>,
    line: &mut Vec<u8>,
) -> std::io::Result<bool> {
    loop {
        let chunk = reader.fill_buf().await?;
        if chunk.is_empty() {
            return Ok(!line.is_empty());
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(chunk.len(), |at| at + 1);
        let room = LINE_LIMIT.saturating_sub(line.len());
        line.extend_from_slice(&chunk[..end.unwrap_or(taken).min(room)]);
        reader.consume(taken);
        if end.is_some() {
            // An empty line is a line too.
            if line.is_empty() {
                line.push(b' ');
            }
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests;
