//! Comes back: what this agent deregistered itself, and nothing else, is registered again.

use super::left::Target;
use super::{LONGEST_PAUSE, POLL, Targets};
use crate::aws::Error;
use crate::pauses::Pauses;
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// Bounds the attempts, so that a group that never takes the instance back does not cost calls for ever; the list is
/// kept, and the next `ready` tries again.
const BOUND: Duration = Duration::from_hours(1);
/// An instance that Auto Scaling lists in no group this many times in a row is in none.
const ABSENT_READS: u32 = 3;

impl Targets {
    /// Registers exactly the targets that this agent deregistered, each by id, port and zone; through outages, for an
    /// hour at most. Groups that are deleted, denied or no longer attached are dropped, and said so.
    ///
    /// Comes back with whether nothing is left to be done. `false`: the bound ran out, or [`Targets::leave`] began,
    /// which wins: no register call is sent after it, and it waits for the one under way.
    pub async fn rejoin(&self) -> bool {
        self.leaving.store(false, Ordering::SeqCst);
        let until = Instant::now() + BOUND;
        if self.left.is_empty() {
            return true;
        }
        if !self.prepare(until).await {
            return false;
        }
        let mut groups: BTreeMap<String, Vec<Target>> = BTreeMap::new();
        for target in self.left.targets() {
            groups.entry(target.group.clone()).or_default().push(target);
        }
        let returns = groups.iter().map(|(arn, targets)| self.bring_back(arn, targets, until));
        join_all(returns).await.into_iter().all(|back| back)
    }

    /// Leaves on the list what may be put back; `false` when it cannot be told in time.
    async fn prepare(&self, until: Instant) -> bool {
        let mut pauses = Pauses::new(POLL, LONGEST_PAUSE);
        let mut absent = 0;
        loop {
            match self.strike(&mut absent).await {
                Ok(()) => {
                    self.report_ok("");
                    return true;
                }
                Err(error) => self.report("", &error),
            }
            let pause = pauses.next_pause();
            if self.leaving.load(Ordering::SeqCst) || Instant::now() + pause >= until {
                return false;
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Strikes off what is another instance's (after a reboot only the id tells), and the groups that were detached
    /// meanwhile: their traffic is somebody else's by now. `absent` counts answers that list the instance in no group.
    async fn strike(&self, absent: &mut u32) -> Result<(), Error> {
        self.remembered(self.left.claim(self.group.instance_id().await?));
        if self.left.is_empty() {
            return Ok(());
        }
        let attached = match self.groups().await {
            Ok(Some(groups)) => groups,
            Ok(None) => {
                *absent += 1;
                if *absent < ABSENT_READS {
                    return Err(Error::lacks("DescribeAutoScalingInstances", "the instance"));
                }
                Vec::new()
            }
            // Nobody may tell, as nobody could when they were left: they were configured then.
            Err(error) if error.is_denied() => return Ok(()),
            Err(error) => return Err(error),
        };
        let detached = |arn: &str| attached.iter().all(|group| group != arn);
        let gone: BTreeSet<String> =
            self.left.targets().into_iter().map(|target| target.group).filter(|arn| detached(arn)).collect();
        for arn in gone {
            tracing::info!(target_group = arn, "target group is no longer attached, its targets stay out");
            self.board.note(format!("not registered again in {}: no longer attached", super::name(&arn)));
            self.forget(&arn);
        }
        Ok(())
    }

    async fn bring_back(&self, arn: &str, targets: &[Target], until: Instant) -> bool {
        let mut pauses = Pauses::new(POLL, LONGEST_PAUSE);
        loop {
            let answer = {
                let _turn = self.turn.read().await;
                if self.leaving.load(Ordering::SeqCst) {
                    return false;
                }
                self.register(arn, targets).await
            };
            match answer {
                Ok(()) => {
                    self.report_ok(arn);
                    for target in targets {
                        let port = target.port.unwrap_or_default();
                        tracing::info!(target_id = target.id, port, target_group = arn, "target registered");
                        self.board.note(format!("registered {}:{port}", target.id));
                    }
                    self.forget(arn);
                    return true;
                }
                Err(error) if super::is_gone(&error) || error.is_denied() => {
                    tracing::warn!(target_group = arn, reason = %error, "target group dropped, its targets stay out");
                    self.board.note(format!("not registered again in {}: {error}", super::name(arn)));
                    self.forget(arn);
                    return true;
                }
                Err(error) => self.report(arn, &error),
            }
            let pause = pauses.next_pause();
            if Instant::now() + pause >= until {
                tracing::error!(
                    target_group = arn,
                    "targets not registered: ask again with `kiln-agent ready`"
                );
                return false;
            }
            tokio::time::sleep(pause).await;
        }
    }

    fn forget(&self, arn: &str) {
        self.remembered(self.left.retain(|group| group != arn));
    }
}
