//! What a person changes at the group and its target groups, and what goes wrong with AWS.

use std::time::Duration;

use super::Scene;
use crate::faults::{Fault, On, Span};
use crate::rehearsal::Who;

impl Scene {
    /// The group lets a process of its rest: `Launch`, `Terminate`, `AddToLoadBalancer` and others of AWS's.
    pub fn suspend(&self, process: &str) {
        self.cloud.lock().suspended.push(process.to_owned());
        self.cloud.tell(Who::Stage, format!("the group's process {process} is suspended"));
    }

    /// A hook of the group from now on notifies a queue or a topic.
    pub fn notify(&self, hook: &str, arn: &str) {
        let mut inner = self.cloud.lock();
        inner.hooks.iter_mut().filter(|known| known.name == hook).for_each(|known| {
            known.notifies = Some(arn.to_owned());
        });
        drop(inner);
        self.cloud.tell(Who::Stage, format!("hook {hook} notifies {arn}"));
    }

    /// A target group gets another deregistration delay.
    pub fn delay(&self, group: usize, delay: Duration) {
        if let Some(group) = self.cloud.lock().target_groups.get_mut(group) {
            group.delay = delay;
        }
        self.cloud.tell(Who::Stage, format!("deregistration delay is {} s", delay.as_secs()));
    }

    /// Registers an instance with a port of its own, as an operator or a deployment does.
    pub fn register(&self, id: &str, group: usize, port: u16) {
        let now = self.cloud.now();
        if let Some(group) = self.cloud.lock().target_groups.get_mut(group) {
            group.register((id.to_owned(), port), now);
        }
        self.cloud.tell(Who::Stage, format!("{id}:{port} registered by hand"));
    }

    /// From now on requests go wrong.
    pub fn fault(&self, on: On, fault: Fault, span: Span) {
        self.cloud.tell(Who::Stage, format!("fault: {on:?} {fault:?} {span:?}"));
        self.cloud.faults().plan(on, fault, span, self.cloud.now());
    }

    /// From now on none does.
    pub fn mend(&self) {
        self.cloud.faults().clear();
        self.cloud.tell(Who::Stage, "faults: none any more");
    }
}
