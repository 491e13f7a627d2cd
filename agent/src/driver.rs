//! LOOPS: events in, the life recorded, effects performed side by side. The only place that logs a phase change.

use crate::clock::Clock;
use crate::lifecycle::{Effect, Event, Lifecycle};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// Time between two ticks; deadlines are seconds long.
const TICK: Duration = Duration::from_secs(1);
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
    let mut running = JoinSet::new();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::pin!(stop);
    world.record(&life);
    for effect in open {
        running.spawn(world.perform(effect));
    }
    loop {
        let event = tokio::select! {
            // A notice never waits behind a tick.
            biased;
            () = &mut stop => return,
            Some(event) = events.recv() => event,
            Some(ended) = running.join_next() => match ended {
                Ok(Some(event)) => event,
                Ok(None) => continue,
                Err(error) => {
                    tracing::error!(reason = %error, "effect ended badly");
                    continue;
                }
            },
            _ = tick.tick() => Event::Tick,
        };
        let before = life.clone();
        let effects = life.handle(event, clock.now());
        if life != before {
            world.record(&life);
        }
        if life.phase() != before.phase() {
            let (from, phase) = (before.phase().name(), life.phase().name());
            tracing::info!(
                phase,
                from,
                elapsed_ms = life.since().millis().saturating_sub(before.since().millis()),
                "phase changed"
            );
        }
        if life.failure().is_some() && life.failure() != before.failure() {
            tracing::error!(reason = ?life.failure(), "instance failed");
        }
        for effect in effects {
            if effect == Effect::Exit {
                let rest = async { while running.join_next().await.is_some() {} };
                let _ = tokio::time::timeout(LAST_EFFECTS, rest).await;
                return;
            }
            running.spawn(world.perform(effect));
        }
        if event == Event::Tick {
            world.turn(&life);
        }
    }
}

#[cfg(test)]
mod tests;
