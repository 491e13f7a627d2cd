//! The promises of a life, judged from what was recorded. Pure.

mod hooks;
mod metrics;
#[cfg(test)]
mod tests;

use crate::life::LifeConfig;
use crate::load::{LoadSummary, StreamEnd};
use crate::record::Request;
use crate::rehearsal::Promise;
use crate::stage::{LAUNCH_HOOK, TERMINATE_HOOK, WEB};

/// What a play saw; times in seconds since it began, `None` where it did not come that far.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) id: String,
    pub(crate) namespace: String,
    pub(crate) streams: bool,
    /// The deregistration delay in seconds.
    pub(crate) delay: f64,
    /// What the agent gave as its reason when it was last asked before it served.
    pub(crate) words: Option<String>,
    /// The beginning of the play, Unix time.
    pub(crate) epoch: f64,
    pub(crate) launched: f64,
    pub(crate) in_service: Option<f64>,
    pub(crate) healthy: Option<f64>,
    pub(crate) notice: Option<f64>,
    pub(crate) draining: Option<f64>,
    pub(crate) served_while_draining: u64,
    /// The stream in flight at the notice: its start and how it ended.
    pub(crate) stream: Option<(f64, StreamEnd)>,
    /// Seconds it took, or why it had to be killed.
    pub(crate) power_off: Option<Result<f64, String>>,
    pub(crate) load: LoadSummary,
    pub(crate) requests: Vec<Request>,
}

impl Facts {
    pub(crate) fn new(config: &LifeConfig) -> Self {
        Self {
            namespace: config.namespace.clone(),
            streams: config.stream.is_some(),
            delay: config.timing.deregistration_delay.as_secs_f64(),
            ..Self::default()
        }
    }

    fn of<'a>(&'a self, action: &'a str) -> impl Iterator<Item = &'a Request> {
        self.requests.iter().filter(move |request| request.action == action)
    }

    fn completions<'a>(&'a self, hook: &'a str) -> impl Iterator<Item = &'a Request> {
        self.of("CompleteLifecycleAction")
            .filter(move |request| request.parameter("LifecycleHookName") == Some(hook))
    }

    /// When a hook was completed.
    fn completed(&self, hook: &str) -> Option<f64> {
        self.completions(hook).find(|request| request.succeeded()).map(|request| request.at)
    }

    fn deregistration(&self) -> Option<&Request> {
        self.of("DeregisterTargets").find(|request| {
            request.parameter("Targets.member.1.Id") == Some(&self.id)
                && request.parameter("Targets.member.1.Port") == Some(&WEB.to_string())
        })
    }

    /// When the balancer learned that the instance leaves: by the agent's call, or, looked for each moment, by the group's.
    pub(crate) fn left_at(&self) -> Option<f64> {
        let called = self.deregistration().map(|request| request.at);
        self.draining.map(|seen| called.map_or(seen, |called| called.min(seen)))
    }

    /// The figures of the report, in seconds.
    pub(crate) fn figures(&self) -> Vec<(String, f64)> {
        let ready = self.completed(LAUNCH_HOOK).map(|at| at - self.launched);
        let since_notice = |at: Option<f64>| Some(at? - self.notice?);
        let abandons =
            self.requests.iter().filter(|r| r.parameter("LifecycleActionResult") == Some("ABANDON")).count();
        let figures = [
            ("boot_to_ready_s", ready.filter(|_| self.in_service.is_some())),
            ("boot_to_healthy_s", self.healthy.map(|at| at - self.launched)),
            ("notice_to_deregistered_s", since_notice(self.deregistration().map(|request| request.at))),
            ("notice_to_drained_s", since_notice(self.completed(TERMINATE_HOOK))),
            ("abandons", Some(f64::from(u32::try_from(abandons).unwrap_or(u32::MAX)))),
        ];
        let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
        figures.into_iter().filter_map(|(name, value)| Some((name.to_owned(), rounded(value?)))).collect()
    }
}

/// Judges every promise, in the order of the life.
pub(crate) fn judge(facts: &Facts) -> Vec<Promise> {
    let mut promises = vec![
        came_into_service(facts),
        hooks::launch_completed_once(facts),
        hooks::ready_when_launched(facts),
        metrics::cpu_arrived(facts),
        metrics::group_only_while_serving(facts),
        deregistered_first(facts),
        served_while_draining(facts),
        stream_whole(facts),
        hooks::terminate_completed_once(facts),
        powered_off(facts),
    ];
    if !facts.streams {
        promises.retain(|promise| promise.promise != STREAM);
    }
    promises.push(nothing_failed(facts));
    promises
}

const STREAM: &str = "the stream in flight at the notice finished whole";

/// The evidence of a promise that was not played.
const NOT_REACHED: &str = "the life did not come that far";

fn promise(promise: &str, seen: Result<String, String>) -> Promise {
    let (kept, reached) = (seen.is_ok(), !seen.as_ref().is_err_and(|why| why == NOT_REACHED));
    Promise { promise: promise.to_owned(), kept, reached, evidence: seen.unwrap_or_else(|broken| broken) }
}

fn reached<T>(fact: Option<T>) -> Result<T, String> {
    fact.ok_or_else(|| NOT_REACHED.to_owned())
}

fn came_into_service(facts: &Facts) -> Promise {
    let seen = match (facts.in_service, facts.healthy) {
        (Some(at), Some(healthy)) => Ok(format!(
            "InService after {:.1} s, healthy after {:.1} s",
            at - facts.launched,
            healthy - facts.launched
        )),
        (Some(_), None) => Err("InService, but the target never became healthy".to_owned()),
        (None, _) => Err(never_in_service(facts)),
    };
    promise("the instance came into service and took traffic", seen)
}

/// Who ended the launch, and what the agent had to say before.
fn never_in_service(facts: &Facts) -> String {
    let answer = facts.completions(LAUNCH_HOOK).find(|call| call.succeeded());
    let ended = match answer.and_then(|call| Some((call.parameter("LifecycleActionResult")?, call.at))) {
        Some((result, at)) => format!("the agent answered the launch hook with {result} at {at:.1} s"),
        None => "nobody answered the launch hook".to_owned(),
    };
    match &facts.words {
        Some(words) => format!("never InService: {ended}: {words}"),
        None => format!("never InService: {ended}, and the agent could not be asked why"),
    }
}

fn deregistered_first(facts: &Facts) -> Promise {
    let seen = reached(facts.notice).and_then(|notice| {
        let calls = facts.of("DeregisterTargets").count();
        let call = facts.deregistration().ok_or_else(|| {
            format!("no DeregisterTargets with id {} and port {WEB} among {calls} call(s)", facts.id)
        })?;
        match facts.completed(TERMINATE_HOOK) {
            Some(completed) if completed <= call.at => {
                Err(format!("called at {:.1} s, after the hook was completed at {completed:.1} s", call.at))
            }
            _ => Ok(format!("{}:{WEB}, {:.1} s after the notice", facts.id, call.at - notice)),
        }
    });
    promise("targets were deregistered by id and port before the terminate hook was completed", seen)
}

fn served_while_draining(facts: &Facts) -> Promise {
    let seen = reached(facts.left_at()).and_then(|at| match facts.served_while_draining {
        0 => Err(format!(
            "no request that came after the deregistration at {at:.1} s was answered by the instance"
        )),
        n => Ok(format!("{n} requests that still came after the deregistration at {at:.1} s were answered")),
    });
    promise("the app went on serving while draining", seen)
}

fn stream_whole(facts: &Facts) -> Promise {
    let seen = reached(facts.notice).and_then(|notice| {
        let (started, end) =
            facts.stream.as_ref().ok_or("no stream of the instance was in flight at the notice")?;
        match &end.cut {
            Some(cut) => Err(format!(
                "{cut}, {:.1} s after the notice; the deregistration delay is {:.0} s, and what takes longer is cut",
                end.at - notice,
                facts.delay
            )),
            None if end.at <= notice => {
                Err(format!("it ended before the notice, after {:.1} s", end.at - started))
            }
            None => Ok(format!("{} bytes, ended {:.1} s after the notice", end.bytes, end.at - notice)),
        }
    });
    promise(STREAM, seen)
}

fn powered_off(facts: &Facts) -> Promise {
    let seen =
        reached(facts.power_off.clone()).and_then(|off| off.map(|took| format!("off after {took:.1} s")));
    promise("the instance powered off by itself in time", seen)
}

fn nothing_failed(facts: &Facts) -> Promise {
    let load = &facts.load;
    let seen = match load.failures.first() {
        Some(first) => Err(format!(
            "{} of {} failed, the first at {:.1} s: {}: {}",
            load.failed, load.sent, first.at, first.path, first.reason
        )),
        None => Ok(format!("{} requests, {} by the instance, none failed", load.sent, load.by_instance)),
    };
    promise("no request failed in the whole life", seen)
}
