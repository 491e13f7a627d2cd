//! Completes a lifecycle hook, and keeps one alive while a drain advances.
//!
//! ```text
//!  read the state ─▶ not yet there ─▶ pause, read again
//!                 ─▶ in its Wait   ─▶ complete ─▶ taken: done
//!                 │                            ─▶ "No active Lifecycle Action found": read again, the state decides
//!                 ─▶ past it       ─▶ done, nothing is owed
//! ```
//!
//! The call is made by instance id: an agent that goes by the metadata service has no token.

mod heartbeat;
mod launching;
mod standing;
#[cfg(test)]
mod tests;

pub use standing::{Standing, standing};

use crate::aws::Error;
use crate::board::Board;
use crate::config::Selector;
use crate::group::Group;
use crate::lifecycle::{Hook, Place, Settled, Verdict};
use crate::pauses::Pauses;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Time between two reads of the state.
const POLL: Duration = Duration::from_secs(2);
/// Longest pause after a failed call.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Bounds a completion while the hook's own limit is unknown; Auto Scaling's default timeout.
const BOUND: Duration = Duration::from_hours(1);
/// An instance that Auto Scaling does not list this many times in a row is in no group: a list may lag behind a
/// launch by some seconds.
const ABSENT_READS: u32 = 3;

/// Speaks for the instance at its group's hooks.
#[derive(Debug, Clone)]
pub struct Hooks {
    group: Arc<Group>,
    launch: Selector,
    terminate: Selector,
    board: Board,
    poll: Duration,
}

/// What one look at the state came to.
enum Look {
    Settled(Settled),
    Again,
}

impl Hooks {
    /// Hooks by the configured names, or found out.
    pub fn new(group: Arc<Group>, launch: Selector, terminate: Selector, board: Board) -> Self {
        Self { group, launch, terminate, board, poll: POLL }
    }

    /// Completes `hook` with `verdict`; comes back when no more calls are needed.
    pub async fn complete(&self, hook: Hook, verdict: Verdict) -> Settled {
        let mut until = Instant::now() + BOUND;
        let mut pauses = Pauses::new(Duration::from_secs(1), LONGEST_PAUSE);
        let mut attempt = Attempt::default();
        loop {
            // A notice wins: the launch is not answered for an instance that is about to go.
            if hook == Hook::Launch && self.board.lock().phase.is_leaving() {
                self.board.error(hook.name(), None);
                return self.settle(hook, verdict, attempt.past());
            }
            let pause = match self.look(hook, verdict, &mut attempt).await {
                Ok(Look::Settled(settled)) => {
                    self.board.error(hook.name(), None);
                    return self.settle(hook, verdict, settled);
                }
                Ok(Look::Again) => {
                    pauses.reset();
                    jittered(self.poll)
                }
                Err(error) => {
                    self.report(hook, &error);
                    pauses.next_pause()
                }
            };
            if let Some(limit) = attempt.limit.take() {
                until = Instant::now() + limit;
            }
            if attempt.hopeless || Instant::now() + pause >= until {
                return self.settle(hook, verdict, Settled::GaveUp);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Reads the state until the terminate hook waits (`true`), or there is nothing to wait for.
    pub async fn await_terminate(&self) -> bool {
        // The group drains its targets first, for up to an hour; twice that is more than any way there takes.
        tokio::time::timeout(2 * BOUND, self.watch_terminate()).await.unwrap_or(false)
    }

    async fn watch_terminate(&self) -> bool {
        let mut absent = 0;
        let mut pauses = Pauses::new(Duration::from_secs(1), LONGEST_PAUSE);
        loop {
            let pause = match self.group.member().await {
                Ok(None) if absent + 1 >= ABSENT_READS => return false,
                Ok(None) => {
                    absent += 1;
                    jittered(self.poll)
                }
                Ok(Some(member)) => match self.standing(Hook::Terminate, &member.state) {
                    Standing::Wait => return true,
                    Standing::Past => return false,
                    Standing::Before => jittered(self.poll),
                },
                Err(error) => {
                    self.report(Hook::Terminate, &error);
                    pauses.next_pause()
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    fn standing(&self, hook: Hook, state: &str) -> Standing {
        standing(hook, state, self.board.lock().target_state.as_deref())
    }

    async fn look(&self, hook: Hook, verdict: Verdict, attempt: &mut Attempt) -> Result<Look, Error> {
        let Some(member) = self.group.member().await? else {
            attempt.absent += 1;
            let gone = attempt.absent >= ABSENT_READS;
            return Ok(if gone { Look::Settled(attempt.past()) } else { Look::Again });
        };
        attempt.absent = 0;
        // The pool's action is over, whoever answered it, were it while the machine slept: what waits now is the next one,
        // for which the lifecycle has its own answer.
        let pooled = hook == Hook::Launch && self.board.lock().launch_for == Some(Place::Pool);
        if pooled && member.state.starts_with("Pending") {
            return Ok(Look::Settled(attempt.past()));
        }
        match self.standing(hook, &member.state) {
            Standing::Before => return Ok(Look::Again),
            Standing::Past => return Ok(Look::Settled(attempt.past())),
            Standing::Wait => {}
        }
        if attempt.name.is_none() {
            match self.choose(hook, &member.group).await? {
                Choice::One(name, limit) => (attempt.name, attempt.limit) = (Some(name), limit),
                Choice::None => return Ok(Look::Settled(Settled::NothingOwed)),
                Choice::Ambiguous(names) => {
                    attempt.hopeless = true;
                    let key = if hook == Hook::Launch { "launch_hook" } else { "terminate_hook" };
                    let reason =
                        format!("several {} hooks ({names}): set lifecycle.{key} to yours", hook.name());
                    tracing::error!(hook = hook.name(), reason, "hook is ambiguous");
                    self.board.error(hook.name(), Some(&reason));
                    return Ok(Look::Again);
                }
            }
        }
        let name = attempt.name.clone().unwrap_or_default();
        attempt.called = true;
        match self.call(&member.group, &name, verdict).await {
            Ok(()) => Ok(Look::Settled(Settled::Completed)),
            // Not yet there, done already, timed out, or another's hook: only the state tells which.
            Err(error) if error.is("ValidationError") => {
                tracing::info!(hook = hook.name(), reason = %error, "completion not taken, reading the state");
                Ok(Look::Again)
            }
            Err(error) => Err(error),
        }
    }

    async fn call(&self, group: &str, name: &str, verdict: Verdict) -> Result<(), Error> {
        self.group
            .aws()
            .autoscaling()
            .await?
            .complete_lifecycle_action()
            .auto_scaling_group_name(group)
            .lifecycle_hook_name(name)
            .instance_id(self.group.instance_id().await?)
            .lifecycle_action_result(verdict.name())
            .send()
            .await
            .map_err(|error| Error::new("CompleteLifecycleAction", &error))?;
        Ok(())
    }

    async fn choose(&self, hook: Hook, group: &str) -> Result<Choice, Error> {
        let configured = match hook {
            Hook::Launch => &self.launch,
            Hook::Terminate => &self.terminate,
        };
        if let Selector::Named(name) = configured {
            return Ok(Choice::One(name.clone(), None));
        }
        let mut found = self.group.hooks(group, hook).await?;
        Ok(match (found.pop(), found.is_empty()) {
            (None, _) => Choice::None,
            (Some(only), true) => Choice::One(only.name, Some(only.global_timeout)),
            (Some(last), false) => {
                let names = found.into_iter().chain([last]).map(|info| info.name);
                Choice::Ambiguous(names.collect::<Vec<_>>().join(", "))
            }
        })
    }

    fn settle(&self, hook: Hook, verdict: Verdict, settled: Settled) -> Settled {
        let (hook, verdict) = (hook.name(), verdict.name());
        match settled {
            Settled::Completed => {
                tracing::info!(hook, verdict, "hook completed");
                self.board.note(format!("{hook} hook completed with {verdict}"));
            }
            Settled::NothingOwed => tracing::info!(hook, "no hook waits for an answer"),
            Settled::GaveUp => {
                tracing::error!(hook, verdict, "hook not completed, its own timeout decides");
                self.board.note(format!("{hook} hook not completed"));
            }
        }
        settled
    }

    fn report(&self, hook: Hook, error: &Error) {
        let text = error.to_string();
        if self.board.error(hook.name(), Some(&text)) {
            tracing::warn!(hook = hook.name(), reason = text, "hook call failed, asking again");
        }
    }
}

/// What a completion remembers from one look to the next.
#[derive(Debug, Default)]
struct Attempt {
    name: Option<String>,
    limit: Option<Duration>,
    absent: u32,
    called: bool,
    hopeless: bool,
}

impl Attempt {
    /// Past the wait state: by our call, if one was made, whose answer may have been lost.
    fn past(&self) -> Settled {
        if self.called { Settled::Completed } else { Settled::NothingOwed }
    }
}

enum Choice {
    One(String, Option<Duration>),
    None,
    Ambiguous(String),
}

/// Plus or minus a fifth, so that instances of a group do not ask in step.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.8..=1.2))
}
