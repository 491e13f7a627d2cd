//! What the calls do and answer, in the query protocol's XML; and the invariants that each call is held to.

use kiln_stage::lifecycle::{ActionResult, Event, State};
use kiln_stage::targets::Health;

use super::cloud::{ADDRESS, ID, Inner, LAUNCH, OTHER, Row, TERMINATE, THEIRS, arn};
use crate::fake::{action, refusal, result};

type Answer = (u16, Vec<u8>);

impl Inner {
    /// Takes note of a request that was sent.
    pub(super) fn asked(&mut self, body: &str) {
        if action(body) == "DeregisterTargets" {
            let group = field(body, "TargetGroupArn");
            self.ever_asked.extend(rows(body).into_iter().map(|(id, port)| (group.clone(), id, port)));
        }
    }

    /// Performs one call and says what is answered.
    pub(super) fn perform(&mut self, body: &str) -> Answer {
        match action(body) {
            "DescribeAutoScalingInstances" => {
                let state = self.lifecycle.state();
                self.told.push(state);
                ok_text(crate::fake::member(state.name()))
            }
            "DescribeAutoScalingGroups" => {
                let arns: Vec<_> =
                    self.groups.iter().map(|group| format!("<member>{}</member>", group.arn)).collect();
                let arns = arns.concat();
                let group = format!(
                    "<member><AutoScalingGroupName>web</AutoScalingGroupName><TargetGroupARNs>{arns}</TargetGroupARNs></member>"
                );
                ok(body, &format!("<AutoScalingGroups>{group}</AutoScalingGroups>"))
            }
            "DescribeLifecycleHooks" => ok(body, &self.listed_hooks()),
            "CompleteLifecycleAction" => self.complete(body),
            "RecordLifecycleActionHeartbeat" => self.beat(body),
            "DescribeTargetHealth" => self.elb(body, Self::health),
            "DeregisterTargets" => self.elb(body, Self::deregister),
            "RegisterTargets" => self.elb(body, Self::register),
            other => {
                self.broke(format!("a call that nobody asked for: '{other}'"));
                refused("InvalidAction")
            }
        }
    }

    fn listed_hooks(&self) -> String {
        let hook = |hook: &kiln_stage::lifecycle::Hook| {
            let notifies = if hook.name == THEIRS {
                "<NotificationTargetARN>arn:aws:sqs:eu-central-1:1:theirs</NotificationTargetARN>"
            } else {
                ""
            };
            format!(
                "<member>{notifies}<LifecycleHookName>{}</LifecycleHookName><LifecycleTransition>{}</LifecycleTransition>\
                 <HeartbeatTimeout>{}</HeartbeatTimeout><GlobalTimeout>{}</GlobalTimeout></member>",
                hook.name,
                hook.transition.name(),
                hook.heartbeat.as_secs(),
                hook.global().as_secs()
            )
        };
        format!("<LifecycleHooks>{}</LifecycleHooks>", self.hooks.iter().map(hook).collect::<String>())
    }

    fn complete(&mut self, body: &str) -> Answer {
        let name = field(body, "LifecycleHookName");
        let verdict = field(body, "LifecycleActionResult");
        self.tell(&format!("the agent completes {name} with {verdict}"));
        let waited = match name.as_str() {
            LAUNCH => State::PendingWait,
            TERMINATE => State::TerminatingWait,
            _ => {
                self.broke(format!("another's hook was completed: {name}"));
                return refused("ValidationError");
            }
        };
        if !self.told.contains(&waited) {
            self.broke(format!("{name} completed, and the agent was told {:?}", self.told));
        }
        if verdict != "CONTINUE" {
            self.broke(format!("{name} completed with {verdict}"));
        }
        if field(body, "InstanceId") != ID {
            self.broke("completed for another instance");
        }
        let now = self.now();
        if !self.apply(&Event::Completed(name.clone(), ActionResult::Continue), now) {
            self.see("completion refused", body);
            return refused("ValidationError");
        }
        if name == TERMINATE {
            self.see("the terminate hook was completed", body);
            if self.lifecycle.state() == State::TerminatingWait {
                self.see("the other's hook still held", body);
            }
        } else {
            self.see("the launch hook was completed", body);
        }
        ok(body, "")
    }

    fn beat(&mut self, body: &str) -> Answer {
        let name = field(body, "LifecycleHookName");
        if name != TERMINATE {
            self.broke(format!("a heartbeat for {name}"));
        }
        let now = self.now();
        if !self.apply(&Event::Heartbeat(name), now) {
            return refused("ValidationError");
        }
        self.see("heartbeat recorded", body);
        ok(body, "")
    }

    fn elb(&mut self, body: &str, act: fn(&mut Self, usize, &str) -> Answer) -> Answer {
        let wanted = field(body, "TargetGroupArn");
        if self.deleted.contains(&wanted) {
            self.see("group deleted", body);
            return refused("TargetGroupNotFound");
        }
        if self.denied.contains(&wanted) {
            self.see("group denied", body);
            return refused("AccessDenied");
        }
        let Some(group) = self.groups.iter().position(|group| group.arn == wanted) else {
            self.broke(format!("a target group that is not the instance's: {wanted}"));
            return refused("TargetGroupNotFound");
        };
        act(self, group, body)
    }

    fn health(&mut self, group: usize, body: &str) -> Answer {
        let group = &self.groups[group];
        let idle = self.idle.contains(&group.arn);
        let rows = group.targets().map(|((id, port), health)| {
            let (state, reason) = match health {
                Health::Draining => ("draining", "Target.DeregistrationInProgress"),
                _ if idle => ("unused", "Target.NotInUse"),
                _ => (health.name(), "Elb.InitialHealthChecking"),
            };
            format!(
                "<member><Target><Id>{id}</Id><Port>{port}</Port></Target>\
                 <TargetHealth><State>{state}</State><Reason>{reason}</Reason></TargetHealth></member>"
            )
        });
        let list = rows.collect::<String>();
        ok(body, &format!("<TargetHealthDescriptions>{list}</TargetHealthDescriptions>"))
    }

    fn deregister(&mut self, group: usize, body: &str) -> Answer {
        let now = self.now();
        for (id, port) in rows(body) {
            self.see("deregistered", &format!("{id}:{port} of group {group}"));
            if id == OTHER || (id != ID && id != ADDRESS) {
                self.broke(format!("another's target was deregistered: {id}"));
            }
            self.groups[group].deregister(&(id.clone(), port), now);
            self.taken_out.insert((self.groups[group].arn.clone(), id, port));
        }
        ok(body, "")
    }

    fn register(&mut self, group: usize, body: &str) -> Answer {
        let now = self.now();
        for (id, port) in rows(body) {
            self.see("registered by the agent", &format!("{id}:{port} of group {group}"));
            let row: Row = (self.groups[group].arn.clone(), id.clone(), port);
            // A kill may have come between the note of a row and its request.
            let killed = self.ended.seen.contains_key("killed");
            if !self.ever_asked.contains(&row) && !killed {
                self.broke(format!("registered, and never deregistered by the agent: {row:?}"));
            }
            self.groups[group].register((id, port), now);
        }
        ok(body, "")
    }

    /// Our rows that are told to stay, in groups that can be told.
    pub(super) fn staying(&self) -> Vec<Row> {
        let reachable = |arn: &str| !self.deleted.contains(arn) && !self.denied.contains(arn);
        let groups = self.groups.iter().filter(|group| reachable(&group.arn));
        let rows = groups.flat_map(|group| {
            let ours = group.targets().filter(|((id, _), _)| id == ID || id == ADDRESS);
            let stays = ours.filter(|(_, health)| *health != Health::Draining);
            stays.map(|((id, port), _)| (group.arn.clone(), id.clone(), *port))
        });
        rows.collect()
    }

    /// Deletes some group, if there is one.
    pub(super) fn delete_a_group(&mut self) {
        if let Some(count) = u16::try_from(self.groups.len()).ok().filter(|count| *count > 0) {
            let gone = arn(self.rng.u16(0..count));
            self.tell(&format!("{gone} is deleted"));
            self.deleted.insert(gone);
        }
    }
}

fn ok(body: &str, inner: &str) -> Answer {
    ok_text(result(action(body), inner))
}

fn ok_text(text: String) -> Answer {
    (200, text.into_bytes())
}

fn refused(code: &str) -> Answer {
    (400, refusal(code).into_bytes())
}

fn rows(body: &str) -> Vec<(String, u16)> {
    let part = |n: usize, name: &str| field(body, &format!("Targets.member.{n}.{name}"));
    let row = |n: usize| {
        let id = part(n, "Id");
        (!id.is_empty()).then(|| (id, part(n, "Port").parse().unwrap_or(0)))
    };
    (1..).map_while(row).collect()
}

fn field(body: &str, name: &str) -> String {
    let pair = body.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    pair.unwrap_or_default().replace("%3A", ":").replace("%2F", "/")
}
