//! Drain scripts: each in a process group of its own, told why and until when by its environment. TERM comes
//! [`child::GRACE`] before the deadline, which may be brought forward while they run; KILL for the whole group after it.

use super::Drain;
use crate::board::Status;
use crate::child;
use crate::clock::{Clock, Moment};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Starts all of them; who drops the set kills what still runs.
pub(super) fn start(drain: &Drain, deadline: &watch::Receiver<Moment>) -> JoinSet<()> {
    let mut running = JoinSet::new();
    let left = deadline.borrow().since(drain.clock.now());
    let environment = environment(&drain.board.lock(), left, SystemTime::now());
    for argv in &drain.scripts {
        let [program, arguments @ ..] = argv.as_slice() else {
            continue;
        };
        let (name, mut command) = (program.clone(), Command::new(program));
        command.args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
        let end = time_is_up(drain.clock, deadline.clone());
        running.spawn(async move {
            match child::run_until(command, &name, end).await {
                Ok(child::End::Exited(0)) => tracing::info!(command = name, "drain script ended"),
                Ok(end) => tracing::warn!(command = name, reason = %end, "drain script failed"),
                Err(error) => tracing::warn!(command = name, reason = %error, "drain script did not start"),
            }
        });
    }
    running
}

/// What a script is told; `agent.toml` documents it.
fn environment(status: &Status, left: std::time::Duration, now: SystemTime) -> Vec<(&'static str, String)> {
    let notices: Vec<_> = status.notices.iter().map(|notice| notice.name()).collect();
    // Wall time is for people and scripts; the agent itself goes by the monotonic clock.
    let deadline = now.duration_since(UNIX_EPOCH).unwrap_or_default() + left;
    vec![
        ("KILN_NOTICE", notices.join(",")),
        ("KILN_DEADLINE", deadline.as_secs().to_string()),
        ("KILN_SECONDS", left.as_secs().to_string()),
        ("KILN_INSTANCE_ID", status.instance_id.clone().unwrap_or_default()),
        ("KILN_GROUP", status.group.clone().unwrap_or_default()),
    ]
}

/// Comes back a grace before the deadline, wherever that moves to.
async fn time_is_up(clock: Clock, mut deadline: watch::Receiver<Moment>) {
    loop {
        let at = clock.instant(deadline.borrow_and_update().before(child::GRACE));
        tokio::select! {
            () = tokio::time::sleep_until(at) => return,
            Ok(()) = deadline.changed() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::Notice;
    use std::time::Duration;

    #[test]
    fn a_script_is_told_why_and_until_when() {
        let mut status = crate::fake::board().snapshot();
        status.notices = vec![Notice::Spot, Notice::Group];
        status.instance_id = Some("i-0abc".to_owned());
        let told =
            environment(&status, Duration::from_millis(90_500), UNIX_EPOCH + Duration::from_secs(1000));
        let expected = [
            ("KILN_NOTICE", "spot,group"),
            ("KILN_DEADLINE", "1090"),
            ("KILN_SECONDS", "90"),
            ("KILN_INSTANCE_ID", "i-0abc"),
            ("KILN_GROUP", ""),
        ];
        assert_eq!(told, expected.map(|(name, value)| (name, value.to_owned())));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_script_follows_a_deadline_that_is_brought_forward() {
        let clock = Clock::anchored(Moment::default());
        let at = |seconds: u64| Moment::from_millis(seconds * 1000);
        let (tell, deadline) = watch::channel(at(300));
        let end = tokio::spawn(time_is_up(clock, deadline));
        tokio::time::sleep(Duration::from_secs(10)).await;
        tell.send_replace(at(60));
        drop(tell);
        end.await.expect("it does not panic");
        assert_eq!(clock.now(), at(55));
    }
}
