//! When a life is over.

use crate::lifecycle::{Hook, HookStep, Lifecycle, Notice, Phase, Settled};
use serde::{Deserialize, Serialize};

/// How final an end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// The instance may be gone at any moment, or live on for a while: what there is goes out, what follows is added.
    Near,
    /// Nothing follows that is worth a word.
    Over,
}

/// How near a life's end is, `None` while it goes on.
///
/// - The launch was abandoned: the group terminates the instance, perhaps without another notice.
/// - Drained on EC2's word alone: the interruption cuts off whatever comes then.
/// - Drained and the terminate hook needs no more: it was answered, or nobody has one.
///
/// A return to the warm pool is no end, nor is a drain that an operator asked for.
pub fn due(life: &Lifecycle) -> Option<End> {
    let failed = life.failure().is_some() && !life.phase().is_leaving();
    if failed && life.hook(Hook::Launch) == HookStep::Settled(Settled::Completed) {
        return Some(End::Near);
    }
    if life.phase() != Phase::Drained || life.hook(Hook::Terminate).is_open() {
        return None;
    }
    let ends = life.notices().iter().filter_map(|notice| match notice {
        Notice::Group | Notice::Shutdown => Some(End::Over),
        Notice::Spot | Notice::Rebalance => Some(End::Near),
        // Back to the pool, or back into service: the life goes on.
        _ => None,
    });
    ends.max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Moment;
    use crate::lifecycle::{Ended, Event, Place, Policy};
    use std::time::Duration;

    const DRAINED: Event = Event::DrainEnded(Ended::Quiet);
    const GROUP: Event = notice(Notice::Group);
    const SPOT: Event = notice(Notice::Spot);
    const SHUTDOWN: Event = notice(Notice::Shutdown);
    const LAUNCHED: Event = Event::HookSettled { hook: Hook::Launch, settled: Settled::Completed };
    const TERMINATED: Event = Event::HookSettled { hook: Hook::Terminate, settled: Settled::Completed };
    const UP: [Event; 3] = [Event::Bootstrapped { ok: true }, Event::Healthy, LAUNCHED];

    #[test]
    fn each_way_out_has_its_end() {
        let serving = |rest: &[Event]| [&UP[..], rest].concat();
        let table = [
            (serving(&[]), None),
            (serving(&[GROUP]), None),
            (serving(&[GROUP, DRAINED]), None),
            (serving(&[GROUP, DRAINED, Event::TerminateWaitSeen]), None),
            (serving(&[GROUP, DRAINED, Event::TerminateWaitSeen, TERMINATED]), Some(End::Over)),
            (serving(&[SHUTDOWN, DRAINED]), Some(End::Over)),
            (serving(&[SPOT, DRAINED]), Some(End::Near)),
            (serving(&[notice(Notice::Operator), DRAINED]), None),
            (serving(&[SPOT, DRAINED, GROUP]), None),
            (serving(&[SPOT, DRAINED, GROUP, Event::TerminateWaitSeen, TERMINATED]), Some(End::Over)),
            (vec![Event::Bootstrapped { ok: false }], None),
            (vec![Event::Bootstrapped { ok: false }, LAUNCHED], Some(End::Near)),
            (vec![Event::Bootstrapped { ok: false }, LAUNCHED, GROUP], None),
            (vec![Event::Bootstrapped { ok: false }, SHUTDOWN, DRAINED], Some(End::Over)),
        ];
        for (events, end) in table {
            let mut life = Lifecycle::new(policy(), Moment::default());
            for (second, event) in (1..).zip(&events) {
                life.handle(*event, Moment::from_millis(second * 1000));
            }
            assert_eq!(due(&life), end, "{events:?}");
        }
    }

    #[test]
    fn a_return_to_the_warm_pool_is_no_end() {
        let mut life = Lifecycle::new(policy(), Moment::default());
        let way = [
            Event::Target(Place::Service),
            Event::Target(Place::Pool),
            DRAINED,
            Event::TerminateWaitSeen,
            TERMINATED,
        ];
        for (second, event) in (1..).zip(UP.into_iter().chain(way)) {
            life.handle(event, Moment::from_millis(second * 1000));
            assert_eq!(due(&life), None, "{event:?}");
        }
        assert_eq!(life.phase(), Phase::Warming);
    }

    const fn notice(notice: Notice) -> Event {
        Event::Notice { notice, deadline: None }
    }

    fn policy() -> Policy {
        Policy {
            drain_max: Duration::from_mins(1),
            bootstrap_deadline: Duration::from_mins(5),
            ready_deadline: Duration::from_mins(5),
            ..Policy::default()
        }
    }
}
