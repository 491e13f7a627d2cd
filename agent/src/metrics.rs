//! What the instance is busy with, to `CloudWatch`: sampled each second, a datum for each ten seconds, a call each minute.
//!
//! ```text
//!  /proc/stat ─1 s──┐
//!  memory, disk ────┴▶ slot of 10 s ─▶ buffer (bounded) ─60 s, or when a drain starts─▶ PutMetricData
//! ```
//!
//! Never fatal: what cannot be sent waits in the buffer, the oldest goes first when it is full.

mod causes;
mod publish;
mod slots;

use crate::board::Board;
use crate::clock::Clock;
use crate::config::{self, Published};
use crate::cpu::{Stat, Ticks};
use crate::group::Group;
use crate::lifecycle::Phase;
use crate::{disk, memory};
use causes::Causes;
use slots::{Buffer, Slot, Slots, Values};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Memory and disk change slowly, and a datum covers ten seconds.
const SPACES: Duration = Duration::from_secs(10);

/// Asks the publisher to send what it holds; the answer comes when it has tried.
pub type Flush = oneshot::Sender<()>;

/// Samples and publishes.
#[derive(Debug)]
pub struct Metrics {
    settings: config::Metrics,
    group: Arc<Group>,
    board: Board,
    clock: Clock,
    causes: Mutex<Causes>,
    /// Nothing was taken last time: the namespace is wrong, or the like.
    hopeless: AtomicBool,
}

/// What sampling remembers.
#[derive(Debug, Default)]
struct Sampler {
    before: Option<Ticks>,
    spaces: Option<Instant>,
    slots: Slots,
}

impl Metrics {
    /// A publisher by the configuration.
    pub fn new(settings: config::Metrics, group: Arc<Group>, board: Board, clock: Clock) -> Self {
        Self { settings, group, board, clock, causes: Mutex::default(), hopeless: AtomicBool::new(false) }
    }

    /// Samples and publishes until the process ends. Sampling goes on while a call hangs.
    pub async fn run(self, mut flushes: mpsc::Receiver<Flush>) {
        let me = Arc::new(self);
        let mut sample = me.clock.every(me.settings.sample);
        // Without it there are no samples, which is all that is lost.
        let stat = Stat::open().ok();
        // A phase of its own for each instance: a group that scales out must not call in step.
        let first = Instant::now() + me.settings.period.mul_f64(0.5 + 0.5 * fastrand::f64());
        let mut due = tokio::time::interval_at(first, me.settings.period);
        let (mut sampler, mut buffer) = (Sampler::default(), me.buffer());
        let (done, mut results) = mpsc::channel::<Tally>(4);
        let mut calling = false;
        let mut waiting: Vec<Flush> = Vec::new();
        loop {
            let mut due_now = false;
            tokio::select! {
                _ = sample.tick() => buffer.extend(me.sample(stat.as_ref().and_then(Stat::read), &mut sampler)),
                _ = due.tick() => due_now = true,
                Some(flush) = flushes.recv() => {
                    buffer.extend(sampler.slots.close());
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

    fn buffer(&self) -> Buffer {
        let kinds = self.settings.publish.len();
        let own = kinds * usize::from(self.wants("InstanceId"));
        Buffer::new((own + kinds * usize::from(self.wants("AutoScalingGroupName")), own))
    }

    fn wants(&self, dimension: &str) -> bool {
        self.settings.dimensions.iter().any(|name| name == dimension)
    }

    fn sample(&self, now: Option<Ticks>, sampler: &mut Sampler) -> Option<Slot> {
        let mut values: Values = [f64::NAN; _];
        let cpu = now.and_then(|now| sampler.before.replace(now).and_then(|before| now.since(&before)));
        let due = cpu.is_some() && sampler.spaces.is_none_or(|at| at.elapsed() >= SPACES);
        let spaces = due.then(|| {
            sampler.spaces = Some(Instant::now());
            let memory = std::fs::read_to_string(memory::PATH).ok();
            (memory.as_deref().and_then(memory::parse), disk::read(Path::new("/")))
        });
        let serving = {
            let mut status = self.board.lock();
            if let Some(cpu) = cpu {
                status.metrics.cpu = cpu;
                for (kind, value) in [
                    (Published::Cpu, cpu.utilization),
                    (Published::User, cpu.user),
                    (Published::System, cpu.system),
                    (Published::Iowait, cpu.iowait),
                    (Published::Steal, cpu.steal),
                ] {
                    values[kind.index()] = value;
                }
            }
            if let Some((memory, disk)) = spaces {
                (status.metrics.memory, status.metrics.disk) = (memory, disk);
                for (kind, space) in [(Published::Memory, memory), (Published::Disk, disk)] {
                    values[kind.index()] = space.and_then(|space| space.percent()).unwrap_or(f64::NAN);
                }
            }
            // The group's own metrics leave out what is not in service; so must this one, or it drags scaling down.
            status.phase == Phase::Serving
                && status.target_state.as_deref().is_none_or(|state| state == "InService")
        };
        // The first sample has no share of the CPU yet: it makes no slot.
        cpu.and_then(|_| sampler.slots.add(wall(), &values, serving))
    }

    fn show(&self, buffer: &Buffer) {
        let mut status = self.board.lock();
        let row = &mut status.metrics;
        (row.backlog, row.backlog_bytes, row.sent, row.dropped) = buffer.counters();
    }
}

/// What a call came to: datums that were taken and refused, and the slots that were not sent.
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

#[cfg(test)]
mod tests;
