//! One probe: a question, a bound, and what the answer was.

use crate::child::Group;
use crate::config::Probe;
use crate::fetch::{Url, fetch};
use hyper::Method;
use std::process::Stdio;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio::process::Command;

/// Asks once, within `bound`; the error says in a few words what came instead.
pub(crate) async fn ask(probe: &Probe, bound: Duration) -> Result<(), String> {
    match tokio::time::timeout(bound, answer(probe, bound)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {}", humantime::format_duration(bound))),
    }
}

async fn answer(probe: &Probe, bound: Duration) -> Result<(), String> {
    match probe {
        Probe::Http(address) => {
            let url = Url::parse(address)?;
            let reply = fetch(Method::GET, &url, &[], bound).await.map_err(|error| error.to_string())?;
            let good = reply.status.is_success() || reply.status.is_redirection();
            if good { Ok(()) } else { Err(format!("answered {}", reply.status)) }
        }
        Probe::Unix(path) => {
            UnixStream::connect(path)
                .await
                .map_err(|error| format!("failed to connect to {}: {error}", path.display()))?;
            Ok(())
        }
        Probe::Tcp(address) => {
            TcpStream::connect(address)
                .await
                .map_err(|error| format!("failed to connect to {address}: {error}"))?;
            Ok(())
        }
        Probe::Command(argv) => run(argv).await,
    }
}

async fn run(argv: &[String]) -> Result<(), String> {
    let [program, arguments @ ..] = argv else {
        return Err("the command is empty".to_owned());
    };
    let failed = |error: std::io::Error| format!("failed to run {program}: {error}");
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // systemd's own messages are the agent's to send.
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    // When its time is up this future is dropped, and the command goes with all that it started.
    let mut group = Group::of(&child);
    let status = child.wait().await.map_err(failed)?;
    group.leave();
    if status.success() { Ok(()) } else { Err(format!("{program} ended with {status}")) }
}
