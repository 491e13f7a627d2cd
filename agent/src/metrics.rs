//! CPU utilization to `CloudWatch`: sampled each second, a datum for each ten seconds, a call each minute.
//!
//! ```text
//!  /proc/stat ─1 s─▶ slot of 10 s ─▶ buffer (bounded) ─60 s, or when a drain starts─▶ PutMetricData
//! ```
//!
//! Never fatal: what cannot be sent waits in the buffer, the oldest goes first when it is full.

mod slots;

use crate::aws::Error;
use crate::board::Board;
use crate::clock::Clock;
use crate::config;
use crate::cpu::{Stat, Ticks};
use crate::group::Group;
use crate::lifecycle::Phase;
use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit};
use aws_smithy_types::DateTime;
use slots::{Buffer, Slot, Slots};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

const METRIC: &str = "CPUUtilization";

/// Asks the publisher to send what it holds; the answer comes when it has tried.
pub type Flush = oneshot::Sender<()>;

/// Samples and publishes.
#[derive(Debug)]
pub struct Metrics {
    settings: config::Metrics,
    group: Arc<Group>,
    board: Board,
    clock: Clock,
}

impl Metrics {
    /// A publisher by the configuration.
    pub fn new(settings: config::Metrics, group: Arc<Group>, board: Board, clock: Clock) -> Self {
        Self { settings, group, board, clock }
    }

    /// Samples and publishes until the process ends. Sampling goes on while a call hangs.
    pub async fn run(self, mut flushes: mpsc::Receiver<Flush>) {
        let me = Arc::new(self);
        let mut sample = me.clock.every(me.settings.sample);
        // Without it there are no samples, which is all that is lost.
        let stat = Stat::open().ok();
        // A phase of its own for each instance: a group that scales out must not call in step.
        let first = Instant::now() + me.settings.period.mul_f64(rand::random_range(0.5..=1.0));
        let mut due = tokio::time::interval_at(first, me.settings.period);
        let (mut before, mut slots, mut buffer) = (None, Slots::default(), Buffer::default());
        let (done, mut results) = mpsc::channel::<Tally>(4);
        let mut calling = false;
        let mut waiting: Vec<Flush> = Vec::new();
        loop {
            let mut due_now = false;
            tokio::select! {
                _ = sample.tick() => me.sample(stat.as_ref().and_then(Stat::read), &mut before, &mut slots, &mut buffer),
                _ = due.tick() => due_now = true,
                Some(flush) = flushes.recv() => {
                    buffer.extend(slots.close());
                    waiting.push(flush);
                    due_now = true;
                }
                Some(tally) = results.recv() => {
                    calling = false;
                    buffer.settle(tally.left, tally.taken, tally.refused);
                    // A flush that came during the call has its own datums to send yet.
                    due_now = !waiting.is_empty();
                }
            }
            me.show(&buffer);
            if due_now && !calling {
                calling = true;
                let (me, done, slots) = (me.clone(), done.clone(), buffer.take(wall()));
                let flushes = std::mem::take(&mut waiting);
                tokio::spawn(async move {
                    let tally = me.publish(slots).await;
                    for flush in flushes {
                        // Nobody need wait for it any more.
                        let _ = flush.send(());
                    }
                    let _ = done.send(tally).await;
                });
            }
        }
    }

    fn sample(&self, now: Option<Ticks>, before: &mut Option<Ticks>, slots: &mut Slots, buffer: &mut Buffer) {
        let Some(now) = now else { return };
        let cpu = before.replace(now).and_then(|before| now.since(&before));
        let Some(cpu) = cpu else { return };
        let serving = {
            let mut status = self.board.lock();
            status.metrics.cpu = cpu;
            // The group's own metrics leave out what is not in service; so must this one, or it drags scaling down.
            status.phase == Phase::Serving
                && status.target_state.as_deref().is_none_or(|state| state == "InService")
        };
        buffer.extend(slots.add(wall(), cpu.utilization, serving));
    }

    fn show(&self, buffer: &Buffer) {
        let mut status = self.board.lock();
        (status.metrics.backlog, status.metrics.sent, status.metrics.dropped) = buffer.counters();
    }

    async fn publish(&self, slots: Vec<Slot>) -> Tally {
        if !self.settings.enabled || slots.is_empty() {
            return Tally::default();
        }
        match self.put(&slots).await {
            Ok(()) => {
                self.board.error("metrics", None);
                Tally { taken: slots.len(), ..Tally::default() }
            }
            Err(error) => {
                let text = error.to_string();
                if self.board.error("metrics", Some(&text)) {
                    tracing::warn!(reason = text, "metrics not sent");
                }
                // One bad datum fails its whole call, and would fail the next one too.
                if error.is_invalid() {
                    Tally { refused: slots.len(), ..Tally::default() }
                } else {
                    Tally { left: slots, ..Tally::default() }
                }
            }
        }
    }

    async fn put(&self, slots: &[Slot]) -> Result<(), Error> {
        let wants = |name: &str| self.settings.dimensions.iter().any(|dimension| dimension == name);
        let instance =
            if wants("InstanceId") { Some(self.group.instance_id().await?.to_owned()) } else { None };
        let in_group = wants("AutoScalingGroupName") && slots.iter().any(|slot| slot.serving);
        // Without the group's name the instance's datums still go.
        let group = if in_group { self.group.name().await.unwrap_or_default() } else { None };
        let mut data = Vec::new();
        for slot in slots {
            data.extend(instance.as_deref().map(|id| datum(slot, "InstanceId", id)));
            if slot.serving {
                data.extend(group.as_deref().map(|name| datum(slot, "AutoScalingGroupName", name)));
            }
        }
        if data.is_empty() {
            return Ok(());
        }
        self.group
            .aws()
            .cloudwatch()
            .await?
            .put_metric_data()
            .namespace(&self.settings.namespace)
            .set_metric_data(Some(data))
            .send()
            .await
            .map_err(|error| Error::new("PutMetricData", &error))?;
        Ok(())
    }
}

/// What a call came to, in slots.
#[derive(Debug, Default)]
struct Tally {
    taken: usize,
    refused: usize,
    left: Vec<Slot>,
}

/// Seconds since 1970, by the wall clock: a datum's timestamp is one.
fn wall() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn datum(slot: &Slot, dimension: &str, value: &str) -> MetricDatum {
    MetricDatum::builder()
        .metric_name(METRIC)
        .dimensions(Dimension::builder().name(dimension).value(value).build())
        .timestamp(DateTime::from_secs(i64::try_from(slot.unix).unwrap_or_default()))
        .value(slot.mean)
        .unit(StandardUnit::Percent)
        // Ten-second datums count as high resolution; it is the calls that cost, not the resolution.
        .storage_resolution(1)
        .build()
}

#[cfg(test)]
mod tests;
