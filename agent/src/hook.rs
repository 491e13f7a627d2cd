//! Completes a lifecycle hook, and keeps one alive while a drain advances.
//!
//! ```text
//!  read the state ─▶ not yet there ─▶ pause, read again
//!                 ─▶ in its Wait   ─▶ complete ─▶ taken: done
//!                 │                            ─▶ "No active Lifecycle Action found": read again, the state decides
//!                 ─▶ past it       ─▶ done, nothing is owed
//! ```
//!
//! That refusal has six meanings. Not yet waiting, a change under way: asked again while the state is `Wait`. Done,
//! timed out: the state has moved on. No such hook, or another's: the list of hooks tells. And a state that stays
//! `Wait` while ours is answered waits for another hook of the transition.
//!
//! The call is made by instance id: an agent that goes by the metadata service has no token.

mod attempt;
mod choice;
mod heartbeat;
mod known;
mod launching;
mod standing;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod tests;

pub use attempt::past;
pub use choice::Choice;
pub(crate) use standing::is_documented;
pub use standing::{Standing, is_next, standing};

use crate::aws::Error;
use crate::board::Board;
use crate::config::Selector;
use crate::group::{Group, HookInfo, Member};
use crate::lifecycle::{Hook, Notice, Place, Settled, Verdict};
use crate::pauses::{Pauses, jittered};
use attempt::Attempt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// Time between two reads of the state.
const POLL: Duration = Duration::from_secs(2);
/// After this many reads they come at [`SLOWLY`] times the pause: a deregistration delay lasts minutes, and the calls
/// of a fleet that scales in share one budget.
const SOON: u32 = 15;
/// See [`SOON`]; also the pause after a refused completion, five seconds as AWS's support advises.
const SLOWLY: f64 = 2.5;
/// After this many refusals in a row, a minute of them, a state that still waits waits for another hook.
const REFUSALS: u32 = 12;
/// Longest pause after a failed call.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Bounds a completion while the hook's own limit is unknown; Auto Scaling's default timeout.
const BOUND: Duration = Duration::from_hours(1);
/// An instance that Auto Scaling does not list this many times in a row is in no group: a list may lag behind a
/// launch by some seconds.
const ABSENT_READS: u32 = 3;

/// The group's hooks, and when they were read.
type Kept = Option<(Instant, Vec<HookInfo>)>;

/// Speaks for the instance at its group's hooks.
#[derive(Debug, Clone)]
pub struct Hooks {
    group: Arc<Group>,
    launch: Selector,
    terminate: Selector,
    board: Board,
    kept: Arc<Mutex<Kept>>,
    poll: Duration,
}

/// What one look at the state came to.
enum Look {
    Settled(Settled),
    Again,
    Refused,
}

impl Hooks {
    /// Hooks by the configured names, or found out.
    pub fn new(group: Arc<Group>, launch: Selector, terminate: Selector, board: Board) -> Self {
        Self { group, launch, terminate, board, kept: Arc::default(), poll: POLL }
    }

    /// Completes `hook` with `verdict`; comes back when no more calls are needed.
    pub async fn complete(&self, hook: Hook, verdict: Verdict) -> Settled {
        let mut until = Instant::now() + BOUND;
        let mut pauses = Pauses::new(self.poll / 2, LONGEST_PAUSE);
        let (mut attempt, mut limited) = (Attempt::default(), false);
        loop {
            // A notice wins: the launch is not answered for an instance that is about to go.
            if hook == Hook::Launch && self.board.lock().phase.is_leaving() {
                self.board.error(hook.name(), None);
                let settled = match verdict {
                    // A call without an answer proves nothing: whether one is owed is asked when the drain is taken back.
                    Verdict::Continue => Settled::NothingOwed,
                    Verdict::Abandon => attempt.past(verdict, None),
                };
                return self.settle(hook, verdict, settled);
            }
            let pause = match self.look(hook, verdict, &mut attempt).await {
                Ok(Look::Settled(settled)) => {
                    self.board.error(hook.name(), None);
                    return self.settle(hook, verdict, settled);
                }
                Ok(Look::Again) => {
                    pauses.reset();
                    attempt.reads += 1;
                    self.poll(attempt.reads)
                }
                Ok(Look::Refused) => {
                    pauses.reset();
                    jittered(self.poll.mul_f64(SLOWLY))
                }
                Err(error) => {
                    self.report(hook, &error);
                    pauses.next_pause()
                }
            };
            if let Some(limit) = attempt.limit.take_if(|_| !std::mem::replace(&mut limited, true)) {
                until = Instant::now() + limit;
            }
            if Instant::now() + pause >= until {
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
        let (mut absent, mut reads) = (0, 0);
        let mut pauses = Pauses::new(self.poll / 2, LONGEST_PAUSE);
        loop {
            reads += 1;
            let pause = match self.group.member().await {
                Ok(None) if absent + 1 >= ABSENT_READS => return false,
                Ok(None) => {
                    absent += 1;
                    self.poll(0)
                }
                Ok(Some(member)) => {
                    absent = 0;
                    match self.standing(Hook::Terminate, &member.state) {
                        Standing::Wait => return true,
                        Standing::Past => return false,
                        Standing::Before => self.poll(reads),
                    }
                }
                Err(error) => {
                    self.report(Hook::Terminate, &error);
                    pauses.next_pause()
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    fn poll(&self, reads: u32) -> Duration {
        jittered(if reads > SOON { self.poll.mul_f64(SLOWLY) } else { self.poll })
    }

    fn standing(&self, hook: Hook, state: &str) -> Standing {
        standing(hook, state, self.board.lock().target_state.as_deref())
    }

    async fn look(&self, hook: Hook, verdict: Verdict, attempt: &mut Attempt) -> Result<Look, Error> {
        let Some(member) = self.group.member().await? else {
            attempt.absent += 1;
            let gone = attempt.absent >= ABSENT_READS;
            return Ok(if gone { Look::Settled(attempt.past(verdict, None)) } else { Look::Again });
        };
        attempt.absent = 0;
        let past = attempt.past(verdict, Some(&member.state));
        // The pool's action is over, whoever answered it, were it while the machine slept: what waits now is the next one,
        // for which the lifecycle has its own answer.
        if self.is_next(hook, &member.state) {
            return Ok(Look::Settled(if hook == Hook::Launch { past } else { Settled::Superseded }));
        }
        match self.standing(hook, &member.state) {
            Standing::Before => return Ok(Look::Again),
            Standing::Past => return Ok(Look::Settled(past)),
            Standing::Wait => {}
        }
        let Some(name) = self.name(hook, verdict, &member, attempt).await? else {
            return Ok(Look::Settled(attempt.settled.unwrap_or(Settled::NothingOwed)));
        };
        attempt.called = true;
        match self.call(&member.group, &name, verdict).await {
            Ok(()) => Ok(Look::Settled(Settled::Completed)),
            Err(error) if error.is("ValidationError") => {
                tracing::info!(hook = hook.name(), reason = %error, "completion not taken, reading the state");
                // It may be the name: the next look reads the hooks anew.
                if attempt.refusals == 0 {
                    self.forget();
                }
                attempt.refusals += 1;
                Ok(Look::Refused)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether what waits in `state` is another action than the pool's, which is the one to be answered.
    fn is_next(&self, hook: Hook, state: &str) -> bool {
        let status = self.board.lock();
        let answered = match hook {
            Hook::Launch => status.launch_for == Some(Place::Pool),
            Hook::Terminate => status.terminate_for == Some(Notice::Pool),
        };
        answered && is_next(hook, state)
    }

    /// The name to complete, or `None` with the outcome in `attempt.settled`.
    async fn name(
        &self,
        hook: Hook,
        verdict: Verdict,
        member: &Member,
        attempt: &mut Attempt,
    ) -> Result<Option<String>, Error> {
        let configured = self.configured(hook);
        if let (Selector::Named(name), 0) = (configured, attempt.refusals) {
            return Ok(Some(name.clone()));
        }
        let past = || attempt.past(verdict, Some(&member.state));
        let settled = match self.choose(hook, &member.group).await? {
            Choice::Ours(info) if attempt.refusals >= REFUSALS && self.has_others(&info) => past(),
            Choice::Ours(info) => {
                attempt.limit = Some(info.global_timeout);
                return Ok(Some(info.name));
            }
            // Deleted while it waited, which ends the wait; or somebody else's to answer.
            Choice::None | Choice::Others(_) => past(),
            // Said where the hooks were read.
            Choice::Ambiguous(_) | Choice::Missing(_) => Settled::GaveUp,
        };
        attempt.settled = Some(settled);
        Ok(None)
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

    fn settle(&self, hook: Hook, verdict: Verdict, settled: Settled) -> Settled {
        let (hook, verdict) = (hook.name(), verdict.name());
        match settled {
            Settled::Completed => {
                tracing::info!(hook, verdict, "hook completed");
                self.board.note(format!("{hook} hook completed with {verdict}"));
            }
            Settled::NothingOwed => tracing::info!(hook, "no hook waits for an answer"),
            Settled::Superseded => tracing::info!(hook, "terminated on the way to the pool"),
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
