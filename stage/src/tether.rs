//! Children that die with the stage, also when it is killed by SIGKILL.
//!
//! `PR_SET_PDEATHSIG` fires when the *thread* that forked ends, so one thread that never ends starts them all.

use std::ffi::OsStr;
use std::io;
use std::process;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::missing;

/// Exits at once where the stage died before the death signal was set.
const ONLY_UNDER_THE_STAGE: &str = r#"test "$PPID" = "$0" && exec "$@""#;

type Job = (Command, Handle, oneshot::Sender<io::Result<Child>>);

/// A command that, once started by [`spawn`], is killed when this process ends.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "sh", "-c", ONLY_UNDER_THE_STAGE])
        .arg(process::id().to_string())
        .arg(program)
        .env("PATH", missing::path())
        .kill_on_drop(true);
    command
}

/// Starts a command made by [`command`].
pub(crate) async fn spawn(command: Command) -> io::Result<Child> {
    static THREAD: OnceLock<Mutex<Sender<Job>>> = OnceLock::new();
    let jobs = THREAD.get_or_init(|| {
        let (jobs, work) = channel();
        thread::spawn(move || start_all(&work));
        Mutex::new(jobs)
    });
    let (reply, answer) = oneshot::channel();
    jobs.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send((command, Handle::current(), reply))
        .map_err(|_| io::Error::other("the thread that starts children is gone"))?;
    answer.await.map_err(io::Error::other)?
}

fn start_all(work: &Receiver<Job>) {
    while let Ok((mut command, runtime, reply)) = work.recv() {
        let _inside = runtime.enter();
        // A caller that went away drops the child, which kills it.
        let _ = reply.send(command.spawn());
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    #[tokio::test]
    async fn a_tethered_command_runs_with_its_arguments() {
        let mut echo = command("echo");
        echo.args(["a b", "c"]).stdout(Stdio::piped());
        let output = spawn(echo).await.unwrap().wait_with_output().await.unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "a b c\n");
    }
}
