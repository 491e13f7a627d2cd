//! The fault plan: which requests of an instance go wrong, how, and for how long. Pure.
//!
//! A wall clock that jumps is not among them: containers share the machine's. The agent's simulation plays it.

use std::time::Duration;

/// Which requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum On {
    /// All that go to the metadata service, tokens included.
    Imds,
    /// Reads of one item of it, such as `autoscaling/target-lifecycle-state`.
    Item(&'static str),
    /// All that go to the AWS APIs.
    Apis,
    /// One action of them, such as `CompleteLifecycleAction`.
    Call(&'static str),
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Refused for now: `Throttling`, or 503 by the metadata service. It has no effect.
    Throttled,
    /// IAM says no: `AccessDenied`, or 403 by the metadata service. It has no effect.
    Denied,
    /// 500. It has no effect.
    ServerError,
    /// It takes effect and is answered, this much later.
    Delayed(Duration),
    /// It has no effect and is never answered; the connection stays open.
    Unanswered,
    /// It takes effect, and the connection is closed instead of an answer.
    ReplyLost,
    /// The connection is closed, it has no effect.
    Closed,
}

impl Fault {
    /// The word in the record.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Throttled => "throttled",
            Fault::Denied => "denied",
            Fault::ServerError => "server error",
            Fault::Delayed(_) => "delayed",
            Fault::Unanswered => "unanswered",
            Fault::ReplyLost => "reply lost",
            Fault::Closed => "closed",
        }
    }
}

/// How long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// The next so many requests that it concerns.
    Times(u32),
    /// From now on, for this long.
    For(Duration),
    /// Until the plan is cleared.
    Always,
}

/// A request, as far as faults go by it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Asked<'a> {
    /// A path below `/latest/` of the metadata service.
    Item(&'a str),
    /// An action of an AWS API.
    Call(&'a str),
}

impl On {
    fn concerns(&self, asked: Asked<'_>) -> bool {
        match (self, asked) {
            (On::Imds, Asked::Item(_)) | (On::Apis, Asked::Call(_)) => true,
            (On::Item(item), Asked::Item(path)) => path.strip_prefix("meta-data/").unwrap_or(path) == *item,
            (On::Call(action), Asked::Call(called)) => *action == called,
            _ => false,
        }
    }
}

#[derive(Debug)]
struct Planned {
    on: On,
    fault: Fault,
    left: Option<u32>,
    until: Option<Duration>,
}

/// What is planned to go wrong; the first that concerns a request strikes it.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Planned>);

impl Faults {
    pub(crate) fn plan(&mut self, on: On, fault: Fault, span: Span, now: Duration) {
        let (left, until) = match span {
            Span::Times(times) => (Some(times), None),
            Span::For(length) => (None, Some(now + length)),
            Span::Always => (None, None),
        };
        self.0.push(Planned { on, fault, left, until });
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn strikes(&mut self, asked: Asked<'_>, now: Duration) -> Option<Fault> {
        self.0.retain(|planned| planned.left != Some(0) && planned.until.is_none_or(|until| now < until));
        let planned = self.0.iter_mut().find(|planned| planned.on.concerns(asked))?;
        planned.left = planned.left.map(|left| left - 1);
        Some(planned.fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_fault_strikes_what_it_concerns_as_often_as_planned() {
        let mut faults = Faults::default();
        faults.plan(On::Call("CompleteLifecycleAction"), Fault::Throttled, Span::Times(2), S);
        let mut strikes = |call| faults.strikes(Asked::Call(call), S * 9);
        assert_eq!(strikes("PutMetricData"), None);
        assert_eq!(strikes("CompleteLifecycleAction"), Some(Fault::Throttled));
        assert_eq!(strikes("CompleteLifecycleAction"), Some(Fault::Throttled));
        assert_eq!(strikes("CompleteLifecycleAction"), None);
    }

    #[test]
    fn an_outage_ends_and_leaves_the_other_service_alone() {
        let mut faults = Faults::default();
        faults.plan(On::Imds, Fault::Unanswered, Span::For(S * 5), S);
        assert_eq!(faults.strikes(Asked::Item("api/token"), S * 5), Some(Fault::Unanswered));
        assert_eq!(faults.strikes(Asked::Call("PutMetricData"), S * 5), None);
        assert_eq!(faults.strikes(Asked::Item("api/token"), S * 6), None);
    }

    #[test]
    fn one_item_fails_until_the_plan_is_cleared() {
        let mut faults = Faults::default();
        faults.plan(On::Item("spot/instance-action"), Fault::ServerError, Span::Always, S);
        let path = Asked::Item("meta-data/spot/instance-action");
        assert_eq!(faults.strikes(path, S * 99), Some(Fault::ServerError));
        assert_eq!(faults.strikes(Asked::Item("meta-data/instance-id"), S * 99), None);
        faults.clear();
        assert_eq!(faults.strikes(path, S * 99), None);
    }
}
