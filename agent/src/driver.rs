//! LOOPS: events in, the life recorded, effects performed side by side. The only place that logs a phase change.

use crate::clock::Clock;
use crate::lifecycle::{Effect, Event, Lifecycle, Phase};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

/// Time between two ticks; deadlines are seconds long.
const TICK: Duration = Duration::from_secs(1);
/// A shorter sleep of the machine than this is no hibernation, but the two clocks read one after the other.
const SLEPT: Duration = Duration::from_secs(1);
/// At the end, effects under way are given this long: a metrics flush, a completion whose answer is on its way.
const LAST_EFFECTS: Duration = Duration::from_secs(5);

/// What the loop needs of the world.
pub trait World: Send + Sync + 'static {
    /// Performs one effect to its end; the event says how it went.
    fn perform(&self, effect: Effect) -> impl Future<Output = Option<Event>> + Send + 'static;
    /// Records the life before anything is done about it.
    fn record(&self, life: &Lifecycle);
    /// The loop turns.
    fn turn(&self, life: &Lifecycle);
}

/// Lives `life` to its end: until [`Effect::Exit`], or until `stop` says to leave all as it is.
pub async fn run<W: World>(
    mut life: Lifecycle,
    open: Vec<Effect>,
    world: &W,
    clock: Clock,
    mut events: mpsc::Receiver<Event>,
    stop: impl Future<Output = ()>,
) {
    let mut running = Running::default();
    let mut tick = clock.every(TICK);
    let mut slept = clock.slept();
    tokio::pin!(stop);
    world.record(&life);
    for effect in open {
        running.start(effect, world);
    }
    loop {
        let event = tokio::select! {
            // A notice never waits behind a tick.
            biased;
            () = &mut stop => return,
            Some(event) = events.recv() => event,
            Some(ended) = running.tasks.join_next_with_id() => match running.outcome(ended) {
                Some(event) => event,
                None => continue,
            },
            _ = tick.tick() => Event::Tick,
        };
        let asleep = clock.slept().saturating_sub(slept);
        if asleep >= SLEPT {
            slept += asleep;
            tracing::info!(elapsed_ms = millis(asleep), "the machine has slept");
        }
        for event in (asleep >= SLEPT).then_some(Event::Woke).into_iter().chain([event]) {
            let before = life.clone();
            let effects = life.handle(event, clock.now());
            report(&before, &life, world);
            running.void(|effect| !holds(effect, life.phase()));
            for effect in effects {
                if effect == Effect::Exit {
                    let rest = async { while running.tasks.join_next().await.is_some() {} };
                    let _ = tokio::time::timeout(LAST_EFFECTS, rest).await;
                    return;
                }
                running.start(effect, world);
            }
        }
        if event == Event::Tick {
            world.turn(&life);
        }
    }
}

fn report<W: World>(before: &Lifecycle, life: &Lifecycle, world: &W) {
    if life != before {
        world.record(life);
    }
    if life.phase() != before.phase() {
        let (from, phase) = (before.phase().name(), life.phase().name());
        let elapsed_ms = life.since().millis().saturating_sub(before.since().millis());
        tracing::info!(phase, from, elapsed_ms, "phase changed");
    }
    if let Some(failure) = life.failure()
        && before.failure() != Some(failure)
    {
        tracing::error!(reason = failure.reason(), "instance failed");
    }
}

/// The effects under way. Some hold for some phases only: a drain that was taken back, and a registration of an instance
/// that leaves, end at once, and what they had to say no longer counts.
#[derive(Default)]
struct Running {
    tasks: JoinSet<Option<Event>>,
    passing: Vec<(AbortHandle, Effect)>,
    voided: Vec<Id>,
}

/// Whether an effect goes on in `phase`.
fn holds(effect: Effect, phase: Phase) -> bool {
    match effect {
        Effect::StartDrain { .. } => phase.is_leaving(),
        Effect::Rejoin => phase == Phase::Serving,
        Effect::WatchLaunch => matches!(phase, Phase::Bootstrapping | Phase::Warming),
        _ => true,
    }
}

impl Running {
    fn start<W: World>(&mut self, effect: Effect, world: &W) {
        if matches!(effect, Effect::StartDrain { .. } | Effect::Rejoin | Effect::WatchLaunch) {
            self.void(|running| running == effect);
            self.passing.push((self.tasks.spawn(world.perform(effect)), effect));
        } else {
            self.tasks.spawn(world.perform(effect));
        }
    }

    fn void(&mut self, is_void: impl Fn(Effect) -> bool) {
        for (task, _) in self.passing.extract_if(.., |(_, effect)| is_void(*effect)) {
            task.abort();
            self.voided.push(task.id());
        }
    }

    fn outcome(&mut self, ended: Result<(Id, Option<Event>), JoinError>) -> Option<Event> {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        if let Some(at) = self.voided.iter().position(|voided| *voided == id) {
            self.voided.swap_remove(at);
            return None;
        }
        self.passing.retain(|(task, _)| task.id() != id);
        match ended {
            Ok((_, event)) => event,
            Err(error) => {
                tracing::error!(reason = %error, "effect ended badly");
                None
            }
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
