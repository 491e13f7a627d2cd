//! The acts of a life, in order: each is bounded, and leaves its facts for the promises.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::LifeConfig;
use crate::balancer::FRONT;
use crate::instance::Instance;
use crate::lifecycle::{Event as On, State};
use crate::load::{HeldStream, Load, LoadConfig};
use crate::network;
use crate::promises::{Facts, judge};
use crate::record::seconds;
use crate::rehearsal::{Observer, Rehearsal, Snapshot, Verdict, Who};
use crate::stage::{Stage, WEB};
use crate::targets::Health;
use anyhow::Result;

/// After a refusal, for a second ABANDON that must not come.
const AFTER_ABANDON: Duration = Duration::from_secs(6);
/// A launch that takes longer than this is looked at, and again after as long.
const LOOK: Duration = Duration::from_secs(20);
/// From registration to two passed probes, with much room for a slow machine.
const HEALTHY: Duration = Duration::from_secs(30);
/// Failures that get a line in the timeline; all are in the summary.
const FAILURES_TOLD: u32 = 10;

pub(super) struct Play<'a> {
    pub(super) config: &'a LifeConfig,
    pub(super) stage: Stage,
    load: Load,
    pub(super) instance: Option<Instance>,
    id: String,
    pub(super) address: SocketAddr,
    facts: Facts,
    figures: BTreeMap<String, f64>,
    pub(super) snapshots: Vec<Snapshot>,
    pub(super) journal: Vec<String>,
}

impl<'a> Play<'a> {
    /// Sets the stage and lets the users come; the rest of the fleet serves them.
    pub(super) async fn begin(config: &'a LifeConfig, observer: Observer) -> Result<Self> {
        let stage = Stage::raise(&config.timing, &config.scratch, observer).await?;
        let load = LoadConfig {
            target: FRONT,
            paths: config.paths.clone(),
            rate: config.rate,
            stream: config.stream.clone(),
        };
        let (cloud, told) = (Arc::clone(&stage.cloud), AtomicU32::new(0));
        let on_failure = Arc::new(move |failure: &crate::load::Failure| {
            if told.fetch_add(1, Ordering::Relaxed) < FAILURES_TOLD {
                cloud.tell(Who::Load, format!("request failed: {}: {}", failure.path, failure.reason));
            }
        });
        let load = Load::start(load, stage.cloud.began(), on_failure);
        stage.cloud.tell(Who::Load, format!("{} requests a second, open loop", config.rate));
        let id = format!("i-{:017x}", rand::random::<u64>() >> 4);
        Ok(Self {
            config,
            stage,
            load,
            instance: None,
            address: SocketAddr::from((network::address_of(0), WEB)),
            facts: Facts::new(&id, config),
            id,
            figures: BTreeMap::new(),
            snapshots: Vec::new(),
            journal: Vec::new(),
        })
    }

    /// From launch to `InService`; `false` when it did not come that far.
    pub(super) async fn launch(&mut self) -> Result<bool> {
        let (config, cloud, address) = (self.config, Arc::clone(&self.stage.cloud), network::address_of(0));
        self.facts.launched = cloud.at();
        cloud.launch(&self.id, address, config.user_data.clone());
        self.instance = Some(Instance::launch(&self.id, address, &config.root, &config.scratch).await?);
        // The hook's own timeout comes first; this one is for a lifecycle that does not move at all.
        let patience = cloud.now() + config.timing.launch + Duration::from_secs(5);
        let mut look = cloud.now() + LOOK;
        while cloud.now() < patience {
            let past =
                |state: State| !matches!(state, State::Pending | State::PendingWait | State::PendingProceed);
            let state = cloud
                .wait(Duration::from_millis(500), |inner| inner.state(&self.id).filter(|state| past(*state)))
                .await;
            match state {
                Some(State::InService) => {
                    self.facts.in_service = Some(cloud.at());
                    return Ok(true);
                }
                Some(_) => return Ok(false),
                None if self.instance.as_mut().is_some_and(Instance::is_off) => {
                    cloud.tell(Who::Stage, "the instance went off while it booted");
                    return Ok(false);
                }
                None if cloud.now() >= look => {
                    look += LOOK;
                    self.snapshot("launching").await;
                }
                None => {}
            }
        }
        cloud.tell(Who::Stage, "the instance did not come into service in time");
        Ok(false)
    }

    /// A launch that failed: looks at the instance, and waits for an ABANDON too many.
    pub(super) async fn fail(&mut self) {
        self.snapshot("failed").await;
        tokio::time::sleep(AFTER_ABANDON).await;
        self.read_journal().await;
        if let Some(mut instance) = self.instance.take() {
            instance.kill().await;
            self.stage.cloud.tell(Who::Stage, format!("{} killed: the life ends here", self.id));
        }
    }

    /// Keeps what the agent gives as its reason, up to the moment when it leaves for it.
    pub(super) fn heard(&mut self, words: Option<&str>) {
        let leaving = |words: &str| words.starts_with("drain");
        if let Some(words) = words.filter(|words| self.facts.words.is_none() || !leaving(words)) {
            self.facts.words = Some(words.to_owned());
        }
    }

    /// In service under load.
    pub(super) async fn serve(&mut self) {
        let cloud = &self.stage.cloud;
        let target = (self.id.clone(), WEB);
        let healthy = |health: Option<Health>| health == Some(Health::Healthy);
        let found =
            cloud.wait(HEALTHY, |inner| healthy(inner.target_groups[0].health(&target)).then_some(())).await;
        self.facts.healthy = found.map(|()| cloud.at());
        tokio::time::sleep(self.config.timing.serve).await;
        self.snapshot("serving").await;
    }

    /// From the notice to powered off.
    pub(super) async fn leave(&mut self) {
        let timing = &self.config.timing;
        let stream = self.hold_stream().await;
        let cloud = Arc::clone(&self.stage.cloud);
        self.facts.notice = Some(cloud.at());
        cloud.tell(Who::Stage, format!("notice: the group scales in, {} has to go", self.id));
        // An instance in service always takes this event.
        let _ = cloud.apply(&self.id, &On::ScaledIn);
        let target = (self.id.clone(), WEB);
        let patience = timing.deregister_lag + Duration::from_secs(10);
        let draining = |health: Option<Health>| health == Some(Health::Draining);
        if cloud
            .wait(patience, |inner| draining(inner.target_groups[0].health(&target)).then_some(()))
            .await
            .is_some()
        {
            self.facts.draining = Some(cloud.at());
        }
        tokio::time::sleep(timing.propagation / 2).await;
        self.snapshot("draining").await;
        let patience = timing.deregistration_delay + timing.terminate_hook + patience;
        let told = tokio::time::timeout(patience, self.stage.power_off.recv()).await;
        if !matches!(told, Ok(Some(_))) {
            cloud.tell(Who::Stage, "the instance was not released in time");
        }
        self.snapshot("drained").await;
        self.read_journal().await;
        self.power_off().await;
        if let Some(stream) = stream {
            self.facts.stream = Some((stream.started, stream.end().await));
        }
    }

    async fn hold_stream(&self) -> Option<HeldStream> {
        self.config.stream.as_ref()?;
        match self.load.hold_stream().await {
            Ok(stream) => {
                let whose = if stream.by_peer { "the rest of the fleet" } else { "the instance" };
                self.stage.cloud.tell(Who::Load, format!("a stream from {whose} is in flight"));
                (!stream.by_peer).then_some(stream)
            }
            Err(error) => {
                self.stage.cloud.tell(Who::Load, format!("no stream in flight: {error:#}"));
                None
            }
        }
    }

    async fn power_off(&mut self) {
        let Some(mut instance) = self.instance.take() else {
            return;
        };
        let cloud = Arc::clone(&self.stage.cloud);
        match instance.power_off(self.config.timing.power_off).await {
            Ok(took) => {
                self.figures.insert("power_off_s".to_owned(), seconds(took));
                self.facts.power_off = Some(Ok(seconds(took)));
                cloud.tell(Who::Stage, format!("{} is off after {:.1} s", self.id, took.as_secs_f64()));
            }
            Err(error) => {
                cloud.tell(Who::Stage, format!("{}: {error:#}", self.id));
                self.facts.power_off = Some(Err(format!("{error:#}")));
            }
        }
        // A terminated instance takes it silently.
        let _ = cloud.apply(&self.id, &On::PoweredOff);
    }

    /// The load ends, the promises are judged.
    pub(super) async fn end(mut self, started_at: jiff::Timestamp) -> Rehearsal {
        if let Some(at) = self.facts.draining {
            self.facts.served_while_draining = self.load.by_instance_since(at);
        }
        let cloud = Arc::clone(&self.stage.cloud);
        let load = self.load.finish().await;
        cloud.tell(
            Who::Load,
            format!("{} requests: {} by the instance, {} failed", load.sent, load.by_instance, load.failed),
        );
        self.facts.epoch = started_at.as_duration().as_secs_f64();
        self.facts.load = load;
        self.facts.requests = cloud.record.all();
        let promises = judge(&self.facts);
        self.figures.extend(self.facts.figures());
        let kept = promises.iter().all(|promise| promise.kept);
        let verdict = match promises.iter().filter(|promise| !promise.kept && promise.reached).count() {
            0 => "every promise was kept".to_owned(),
            n => format!("{n} of {} promises broken", promises.len()),
        };
        cloud.tell(Who::Stage, verdict);
        network::strike().await;
        Rehearsal {
            scenario: "life".to_owned(),
            subject: self.config.subject.clone(),
            started_at: started_at.to_string(),
            seconds: cloud.at(),
            verdict: if kept { Verdict::Kept } else { Verdict::Broken },
            promises,
            figures: self.figures,
            load: self.facts.load,
            snapshots: self.snapshots,
            timeline: cloud.timeline(),
            requests: self.facts.requests,
            journal_tail: if kept { Vec::new() } else { self.journal },
        }
    }
}
