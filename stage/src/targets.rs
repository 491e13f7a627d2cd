//! A target group: which targets it has, how healthy they are, and what the balancer does with each. Pure.
//!
//! ```text
//!  register ─▶ initial ─▶ healthy ◀─▶ unhealthy
//!                 └──────────┴── deregister ──▶ draining ── delay over ──▶ (unused: not in the group)
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

/// Probes in a row that make a target healthy or unhealthy (AWS: 2 to 10; 5 and 2 by default).
pub const THRESHOLD: u32 = 2;

/// A target's state, in AWS's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Registered, no verdict of the probes yet.
    Initial,
    /// Takes requests.
    Healthy,
    /// Takes none while others are healthy.
    Unhealthy,
    /// Deregistered, its delay is running: shown for the whole delay, even when nothing is in flight.
    Draining,
}

impl Health {
    /// `TargetHealth.State`
    pub fn name(self) -> &'static str {
        match self {
            Health::Initial => "initial",
            Health::Healthy => "healthy",
            Health::Unhealthy => "unhealthy",
            Health::Draining => "draining",
        }
    }

    /// `TargetHealth.Reason` and its description.
    pub fn reason(self) -> Option<(&'static str, &'static str)> {
        match self {
            Health::Initial => Some(("Elb.InitialHealthChecking", "Initial health checks in progress")),
            Health::Healthy => None,
            Health::Unhealthy => Some(("Target.FailedHealthChecks", "Health checks failed")),
            Health::Draining => {
                Some(("Target.DeregistrationInProgress", "Target deregistration is in progress"))
            }
        }
    }
}

/// What the balancer does with a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Sends new requests.
    Ready,
    /// Sends no new ones, lets those in flight end.
    Drain,
    /// Knows it no more: what is still open is closed.
    Out,
}

/// A target: instance id and port.
pub type TargetId = (String, u16);

#[derive(Debug, Clone, Copy)]
struct Target {
    health: Health,
    since: Duration,
    /// Whether it was healthy when its delay began: only then requests are still under way to it.
    routed: bool,
    /// What the last probe said, and how many in a row said so.
    probes: (bool, u32),
}

/// A target group.
#[derive(Debug)]
pub struct TargetGroup {
    /// Its ARN.
    pub arn: String,
    /// The port of targets that are registered without one.
    pub port: u16,
    /// `deregistration_delay.timeout_seconds`
    pub delay: Duration,
    /// `HealthCheckPath`
    pub health_path: String,
    /// `HealthCheckPort`; `None` is `traffic-port`, each target's own.
    pub health_port: Option<u16>,
    targets: BTreeMap<TargetId, Target>,
}

impl TargetGroup {
    /// An empty group whose targets are checked at `/healthz` of their own port.
    pub fn new(arn: String, port: u16, delay: Duration) -> Self {
        let health_path = "/healthz".to_owned();
        Self { arn, port, delay, health_path, health_port: None, targets: BTreeMap::new() }
    }

    /// The same, checked elsewhere.
    #[must_use]
    pub fn checked_at(self, path: &str, port: Option<u16>) -> Self {
        Self { health_path: path.to_owned(), health_port: port, ..self }
    }

    /// `TargetGroupName`, by its ARN.
    pub fn name(&self) -> &str {
        self.arn.split('/').nth(1).unwrap_or(&self.arn)
    }

    /// Forgets every row of an instance that is gone.
    pub fn forget(&mut self, id: &str) {
        self.targets.retain(|(target, _), _| target != id);
    }

    /// Adds a target; one that is draining comes back.
    pub fn register(&mut self, target: TargetId, now: Duration) {
        let entry = self.targets.entry(target).or_insert(Target {
            health: Health::Initial,
            since: now,
            routed: false,
            probes: (true, 0),
        });
        if entry.health == Health::Draining {
            *entry = Target { health: Health::Initial, since: now, routed: false, probes: (true, 0) };
        }
    }

    /// Starts the delay of a target; `false` when it is not there or is draining already (no error on AWS either).
    pub fn deregister(&mut self, target: &TargetId, now: Duration) -> bool {
        match self.targets.get_mut(target) {
            Some(target) if target.health != Health::Draining => {
                let routed = target.health == Health::Healthy;
                *target = Target { health: Health::Draining, since: now, routed, probes: (true, 0) };
                true
            }
            _ => false,
        }
    }

    /// Takes one probe's result; the new state when that changed it.
    pub fn probed(&mut self, target: &TargetId, passed: bool, now: Duration) -> Option<Health> {
        let target = self.targets.get_mut(target)?;
        let says = if passed { Health::Healthy } else { Health::Unhealthy };
        let streak = if target.probes.0 == passed { target.probes.1 + 1 } else { 1 };
        target.probes = (passed, streak);
        if target.health == Health::Draining || target.health == says || streak < THRESHOLD {
            return None;
        }
        *target = Target { health: says, since: now, routed: false, probes: target.probes };
        Some(says)
    }

    /// Forgets the targets whose delay is over, and names them.
    pub fn tick(&mut self, now: Duration) -> Vec<TargetId> {
        let delay = self.delay;
        let over = |target: &Target| target.health == Health::Draining && now >= target.since + delay;
        let gone: Vec<TargetId> =
            self.targets.iter().filter(|(_, t)| over(t)).map(|(id, _)| id.clone()).collect();
        self.targets.retain(|id, _| !gone.contains(id));
        gone
    }

    /// All targets and their health.
    pub fn targets(&self) -> impl Iterator<Item = (&TargetId, Health)> {
        self.targets.iter().map(|(id, target)| (id, target.health))
    }

    /// A target's health; `None` is AWS's `unused` with reason `Target.NotRegistered`.
    pub fn health(&self, target: &TargetId) -> Option<Health> {
        self.targets.get(target).map(|target| target.health)
    }

    /// What the balancer does with a target, `propagation` after the control plane decided.
    pub fn route(&self, target: &TargetId, now: Duration, propagation: Duration) -> Route {
        match self.targets.get(target) {
            Some(Target { health: Health::Healthy, .. }) => Route::Ready,
            Some(Target { health: Health::Draining, since, routed: true, .. })
                if now < *since + propagation =>
            {
                Route::Ready
            }
            Some(_) => Route::Drain,
            None => Route::Out,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_target_becomes_healthy_after_two_probes_and_unhealthy_after_two_more() {
        let (mut group, id) = registered();
        assert_eq!(group.probed(&id, true, S), None);
        assert_eq!(group.probed(&id, true, S), Some(Health::Healthy));
        assert_eq!(group.probed(&id, false, S), None);
        assert_eq!(group.probed(&id, true, S), None, "one failure in between is forgiven");
        assert_eq!(group.probed(&id, false, S), None);
        assert_eq!(group.probed(&id, false, S), Some(Health::Unhealthy));
    }

    #[test]
    fn draining_lasts_the_whole_delay_and_routes_on_for_a_moment() {
        let (mut group, id) = registered();
        group.probed(&id, true, S);
        group.probed(&id, true, S);
        assert!(group.deregister(&id, S * 10));
        assert!(!group.deregister(&id, S * 11), "the delay runs once");
        assert_eq!(group.route(&id, S * 10, S), Route::Ready);
        assert_eq!(group.route(&id, S * 11, S), Route::Drain);
        assert_eq!(group.probed(&id, false, S * 12), None);
        assert_eq!(group.tick(S * 24), []);
        assert_eq!(group.tick(S * 25), std::slice::from_ref(&id));
        assert_eq!(group.health(&id), None);
        assert_eq!(group.route(&id, S * 25, S), Route::Out);
    }

    #[test]
    fn an_unhealthy_target_is_not_routed_to_when_it_leaves() {
        let (mut group, id) = registered();
        group.probed(&id, false, S);
        group.probed(&id, false, S);
        group.deregister(&id, S * 10);
        assert_eq!(group.route(&id, S * 10, S), Route::Drain);
    }

    #[test]
    fn a_target_is_known_by_its_port_too() {
        let (mut group, id) = registered();
        assert!(!group.deregister(&(id.0, 8080), S));
    }

    #[test]
    fn a_draining_target_can_come_back() {
        let (mut group, id) = registered();
        group.deregister(&id, S);
        group.register(id.clone(), S * 2);
        assert_eq!(group.health(&id), Some(Health::Initial));
    }

    fn registered() -> (TargetGroup, TargetId) {
        let mut group = TargetGroup::new("arn".to_owned(), 80, S * 15);
        let id = ("i-0".to_owned(), 80);
        group.register(id.clone(), Duration::ZERO);
        (group, id)
    }
}
