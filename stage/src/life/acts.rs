//! The acts of a life, in order: each is bounded, and leaves its facts for the promises.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use super::LifeConfig;
use crate::cloud::Launch;
use crate::lifecycle::{Event as On, State};
use crate::load::HeldStream;
use crate::promises::{Facts, judge};
use crate::rehearsal::{Observer, Rehearsal, Verdict, Who};
use crate::root::Root;
use crate::scene::{Image, Scene, Users};
use crate::stage::Set;
use crate::targets::Health;
use crate::{Error, Ground};

/// After a refusal, for a second ABANDON that must not come.
const AFTER_ABANDON: Duration = Duration::from_secs(6);
/// A launch that takes longer than this is looked at, and again after as long.
const LOOK: Duration = Duration::from_secs(20);
/// From registration to two passed probes, with much room for a slow machine.
const HEALTHY: Duration = Duration::from_mins(1);
/// Lines of a report; enough for a failed boot without its routine.
const TAIL: usize = 60;

pub(super) struct Play<'a> {
    config: &'a LifeConfig,
    scene: Scene,
    id: String,
    facts: Facts,
    figures: BTreeMap<String, f64>,
    journal: Vec<String>,
}

impl<'a> Play<'a> {
    /// Sets the stage and lets the users come; the rest of the fleet serves them.
    pub(super) async fn begin(
        ground: &Ground,
        config: &'a LifeConfig,
        observer: Observer,
    ) -> Result<Self, Error> {
        let image = Image { root: Root::Own(config.root.clone()), props: Vec::new() };
        let set = Set::new(config.timing.clone());
        let mut scene = Scene::raise(ground, set, image, config.scratch.clone(), observer).await?;
        let (paths, stream) = (config.paths.clone(), config.stream.clone());
        scene.users(Users { paths, rate: config.rate, stream });
        let facts = Facts::new(config);
        Ok(Self { config, scene, id: String::new(), facts, figures: BTreeMap::new(), journal: Vec::new() })
    }

    /// From launch to `InService`; `false` when it did not come that far.
    pub(super) async fn launch(&mut self) -> Result<bool> {
        self.facts.launched = self.scene.at();
        let how = Launch { user_data: self.config.user_data.clone(), ..Launch::default() };
        self.id = self.scene.launch(how, &[]).await?;
        self.facts.id.clone_from(&self.id);
        // The hook's own timeout comes first; this one is for a lifecycle that does not move at all.
        let patience = self.scene.at() + self.config.timing.launch.as_secs_f64() + 5.0;
        let mut look = self.scene.at() + LOOK.as_secs_f64();
        while self.scene.at() < patience {
            if self.scene.reaches(&self.id, State::InService, Duration::from_millis(500)).await.is_ok() {
                self.facts.in_service = Some(self.scene.at());
                return Ok(true);
            }
            if self.scene.state(&self.id).is_some_and(State::going) {
                return Ok(false);
            }
            if !self.scene.is_on(&self.id) {
                self.scene.tell("the instance went off while it booted");
                return Ok(false);
            }
            if self.scene.at() >= look {
                look += LOOK.as_secs_f64();
                self.hear("launching").await;
            }
        }
        self.scene.tell("the instance did not come into service in time");
        Ok(false)
    }

    /// A launch that failed: looks at the instance, and waits for an ABANDON too many.
    pub(super) async fn fail(&mut self) {
        self.hear("failed").await;
        tokio::time::sleep(AFTER_ABANDON).await;
        self.read_journal().await;
        self.scene.kill(&self.id).await;
        self.scene.tell(format!("{} killed: the life ends here", self.id));
    }

    /// Keeps what the agent gives as its reason, up to the moment when it leaves for it.
    async fn hear(&mut self, moment: &str) {
        let snapshot = self.scene.look(&self.id, moment).await;
        let words = snapshot.status.get("reason").and_then(Value::as_str);
        let leaving = |words: &str| words.starts_with("drain");
        if let Some(words) = words.filter(|words| self.facts.words.is_none() || !leaving(words)) {
            self.facts.words = Some(words.to_owned());
        }
    }

    /// In service under load.
    pub(super) async fn serve(&mut self) {
        self.facts.healthy = self.scene.healthy(&self.id, HEALTHY).await.ok();
        tokio::time::sleep(self.config.timing.serve).await;
        self.scene.look(&self.id, "serving").await;
    }

    /// From the notice to powered off.
    pub(super) async fn leave(&mut self) {
        let timing = &self.config.timing;
        let stream = self.hold_stream().await;
        self.facts.notice = Some(self.scene.at());
        self.scene.tell(format!("notice: the group scales in, {} has to go", self.id));
        self.scene.wish(&self.id, &On::ScaledIn);
        let patience = timing.deregister_lag + Duration::from_secs(10);
        let draining = || {
            let rows = self.scene.rows(&self.id);
            rows.iter().any(|(.., health)| *health == Health::Draining).then_some(())
        };
        if self.scene.until(patience, draining).await.is_some() {
            self.facts.draining = Some(self.scene.at());
        }
        tokio::time::sleep(timing.propagation / 2).await;
        self.scene.look(&self.id, "draining").await;
        let patience = timing.deregistration_delay + timing.terminate_hook + patience + timing.power_off;
        if self.scene.reaches(&self.id, State::Terminated, patience).await.is_err() {
            self.scene.tell("the instance was not released in time");
            self.scene.shut_down(&self.id).await;
        }
        self.facts.power_off = self.scene.off(&self.id);
        self.figures
            .extend(self.facts.power_off.iter().flatten().map(|took| ("power_off_s".to_owned(), *took)));
        self.read_journal().await;
        if let Some(stream) = stream {
            self.facts.stream = Some((stream.started, stream.end().await));
        }
    }

    async fn hold_stream(&self) -> Option<HeldStream> {
        self.config.stream.as_ref()?;
        match self.scene.hold_stream().await {
            Ok(stream) => {
                let whose = if stream.by_peer { "the rest of the fleet" } else { "the instance" };
                self.scene.say(Who::Load, format!("a stream from {whose} is in flight"));
                (!stream.by_peer).then_some(stream)
            }
            Err(error) => {
                self.scene.say(Who::Load, format!("no stream in flight: {error:#}"));
                None
            }
        }
    }

    /// Keeps the whole journal in `journal.json` and its tail for the report.
    async fn read_journal(&mut self) {
        self.journal = self.scene.journal_tail(&self.id, TAIL).await;
        let journal = self.scene.journal(&self.id).await;
        if let Err(error) = tokio::fs::write(self.config.scratch.join("journal.json"), journal).await {
            self.scene.tell(format!("failed to keep the journal: {error}"));
        }
    }

    /// The load ends, the promises are judged.
    pub(super) async fn end(mut self, started_at: jiff::Timestamp) -> Rehearsal {
        self.facts.requests = self.scene.requests();
        if let Some(at) = self.facts.left_at() {
            self.facts.served_while_draining = self.scene.answered_since(at);
        }
        self.facts.load = self.scene.users_leave().await;
        self.facts.epoch = started_at.as_duration().as_secs_f64();
        let promises = judge(&self.facts);
        self.figures.extend(self.facts.figures());
        let kept = promises.iter().all(|promise| promise.kept);
        let verdict = match promises.iter().filter(|promise| !promise.kept && promise.reached).count() {
            0 => "every promise was kept".to_owned(),
            n => format!("{n} of {} promises broken", promises.len()),
        };
        self.scene.tell(verdict);
        let rehearsal = Rehearsal {
            scenario: "life".to_owned(),
            subject: self.config.subject.clone(),
            started_at: started_at.to_string(),
            seconds: self.scene.at(),
            verdict: if kept { Verdict::Kept } else { Verdict::Broken },
            promises,
            figures: self.figures,
            load: self.facts.load,
            snapshots: self.scene.looks(),
            timeline: self.scene.timeline(),
            requests: self.facts.requests,
            journal_tail: if kept { Vec::new() } else { self.journal },
        };
        self.scene.strike().await;
        rehearsal
    }
}
