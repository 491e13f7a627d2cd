//! A scene: the stage with instances and users on it, as a script sees it. A story is a page of these words.
//!
//! ```text
//!  let mut scene = Scene::raise(…);  scene.users(…);
//!  let id = scene.launch(…);         scene.reaches(&id, State::InService, …);
//!  scene.wish(&id, Event::ScaledIn); scene.asked(&id, "DeregisterTargets", …);  scene.kill_agent(&id);
//!  scene.reaches(&id, State::Terminated, …);  scene.users_leave();  scene.requests() …
//! ```

mod group;
mod watch;

use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::task::JoinSet;

use crate::balancer::front;
use crate::cloud::{Cloud, Launch};
use crate::life::StreamRoute;
use crate::lifecycle::Event as Happening;
use crate::load::{Failure, HeldStream, Load, LoadConfig, LoadSummary};
use crate::machines::Machines;
use crate::record::Request;
use crate::rehearsal::{Event, Observer, Who};
use crate::root::{Prop, Root};
use crate::stage::{Set, Stage};
use crate::{Error, Ground, missing, network};

/// Failures that get a line in the timeline; all are in the summary.
const FAILURES_TOLD: u32 = 10;
/// One command inside an instance: protects a script from one that hangs.
const COMMAND: Duration = Duration::from_mins(1);

/// Users, and what they want.
#[derive(Debug, Clone)]
pub struct Users {
    /// Asked for in turn, of every target group's listener.
    pub paths: Vec<String>,
    /// Requests per second, 1 to 1000, whether or not earlier ones were answered.
    pub rate: f64,
    /// A route whose answer takes seconds.
    pub stream: Option<StreamRoute>,
}

/// What the instances are made of.
#[derive(Debug, Clone)]
pub struct Image {
    /// Their root.
    pub root: Root,
    /// Files that every instance finds in it besides.
    pub props: Vec<Prop>,
}

/// A stage with what plays on it. Dropping it ends all.
pub struct Scene {
    cloud: Arc<Cloud>,
    machines: Arc<Machines>,
    load: Option<Load>,
    groups: u16,
    tasks: JoinSet<()>,
    _stage: Stage,
}

impl std::fmt::Debug for Scene {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scene").field("load", &self.load).finish_non_exhaustive()
    }
}

impl Scene {
    /// Sets the stage. `scratch` is an existing folder for the stage's own files; its path must be short (a unix
    /// socket's path ends at 107 bytes).
    ///
    /// # Errors
    /// [`Error::Missing`] when a tool is not installed; any other when the stage cannot be set up.
    pub async fn raise(
        _: &Ground,
        set: Set,
        image: Image,
        scratch: PathBuf,
        observer: Observer,
    ) -> Result<Self, Error> {
        missing::check()?;
        let groups = u16::try_from(set.target_groups.len()).unwrap_or_default();
        let power_off = set.timing.power_off;
        let (stage, orders) = Stage::raise(set, &scratch, observer).await?;
        let cloud = Arc::clone(&stage.cloud);
        let Image { root, props } = image;
        let machines = Arc::new(Machines::new(Arc::clone(&cloud), root, props, scratch, power_off));
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&machines).obey(orders));
        Ok(Self { cloud, machines, load: None, groups, tasks, _stage: stage })
    }

    /// The users come. They are served by the rest of the fleet wherever no instance is.
    pub fn users(&mut self, users: Users) {
        let Users { paths, rate, stream } = users;
        let targets = (0..self.groups).map(front).collect();
        let (cloud, told) = (Arc::clone(&self.cloud), AtomicU32::new(0));
        let on_failure = Arc::new(move |failure: &Failure| {
            if told.fetch_add(1, Ordering::Relaxed) < FAILURES_TOLD {
                cloud.tell(Who::Load, format!("request failed: {}: {}", failure.path, failure.reason));
            }
        });
        let config = LoadConfig { targets, paths, rate, stream };
        self.load = Some(Load::start(config, self.cloud.began(), on_failure));
        self.cloud.tell(Who::Load, format!("{rate} requests a second, open loop"));
    }

    /// The users leave; what is in flight is waited for.
    pub async fn users_leave(&mut self) -> LoadSummary {
        let Some(load) = self.load.take() else { return LoadSummary::default() };
        let load = load.finish().await;
        self.cloud.tell(
            Who::Load,
            format!("{} requests: {} by the instance, {} failed", load.sent, load.by_instance, load.failed),
        );
        load
    }

    /// Answers of instances to requests that were due at or after `at` seconds.
    pub fn answered_since(&self, at: f64) -> u64 {
        self.load.as_ref().map_or(0, |load| load.by_instance_since(at))
    }

    /// Requests that failed so far.
    pub fn failed(&self) -> u64 {
        self.load.as_ref().map_or(0, Load::failed)
    }

    /// Starts a stream and returns when its first bytes came, so that it is in flight.
    ///
    /// # Errors
    /// When there are no users or no stream among their wishes, or it failed before its first bytes.
    pub async fn hold_stream(&self) -> Result<HeldStream> {
        self.load.as_ref().context("there are no users")?.hold_stream().await
    }

    /// A new instance, booting; returns its id.
    ///
    /// # Errors
    /// When its root cannot be laid or its container not be started.
    pub async fn launch(&self, how: Launch, props: &[Prop]) -> Result<String> {
        self.machines.launch(how, props).await
    }

    /// What the group or an operator wants of an instance: a scale-in, standby, a place in the warm pool.
    pub fn wish(&self, id: &str, wish: &Happening) {
        // Only a completion or a heartbeat can be refused.
        let _ = self.cloud.apply(id, wish);
    }

    /// EC2 announces that it takes a spot instance back in `ahead`, and then does. `action`: `terminate`, `stop` or
    /// `hibernate`.
    pub fn spot_notice(&mut self, id: &str, action: &'static str, ahead: Duration) {
        let time = jiff::Timestamp::now() + ahead;
        if let Some(member) = self.cloud.lock().members.get_mut(id) {
            member.interruption = Some((action, time));
        }
        self.cloud.tell(Who::Stage, format!("{id}: spot interruption, {action} in {} s", ahead.as_secs()));
        let (machines, cloud, id) = (Arc::clone(&self.machines), Arc::clone(&self.cloud), id.to_owned());
        self.tasks.spawn(async move {
            tokio::time::sleep(ahead).await;
            if cloud.lock().state(&id).is_some_and(|state| !state.gone()) {
                cloud.tell(Who::Stage, format!("{id}: EC2 takes it back"));
                machines.power_off(&id).await;
                let _ = cloud.apply(&id, &Happening::PoweredOff);
            }
        });
    }

    /// EC2 recommends to rebalance.
    pub fn rebalance(&self, id: &str) {
        if let Some(member) = self.cloud.lock().members.get_mut(id) {
            member.rebalance = Some(jiff::Timestamp::now());
        }
        self.cloud.tell(Who::Stage, format!("{id}: rebalance recommended"));
    }

    /// Runs a command inside an instance.
    ///
    /// # Errors
    /// When the instance is off or the command does not end within a minute.
    pub async fn exec(&self, id: &str, command: &[&str]) -> Result<Output> {
        self.machines.instance(id).context("the instance is off")?.exec(command, COMMAND).await
    }

    /// Kills the agent's daemon with SIGKILL.
    ///
    /// # Errors
    /// When the instance is off, or systemd refuses.
    pub async fn kill_agent(&self, id: &str) -> Result<()> {
        self.cloud.tell(Who::Stage, format!("{id}: kill -9 of its agent"));
        let kill = ["systemctl", "kill", "--kill-whom=main", "--signal=KILL", "kiln-agent.service"];
        let output = self.exec(id, &kill).await?;
        if !output.status.success() {
            bail!("systemctl kill: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Shuts an instance down without a notice, as EC2's `TerminateInstances` does; returns when it is off.
    pub async fn shut_down(&self, id: &str) {
        self.cloud.tell(Who::Stage, format!("{id}: shut down without a notice"));
        self.machines.power_off(id).await;
        let _ = self.cloud.apply(id, &Happening::PoweredOff);
    }

    /// Lets go of an instance that is gone, with all that was kept of it: for plays of hundreds.
    pub fn forget(&self, id: &str) {
        self.machines.forget(id);
    }

    /// Pulls an instance's plug; its place in the group is not told.
    pub async fn kill(&self, id: &str) {
        self.machines.kill(id).await;
    }

    /// Starts it from cold, on the disk that it had; its place in the group is not told.
    ///
    /// # Errors
    /// When systemd-nspawn cannot be started.
    pub async fn power_on(&self, id: &str) -> Result<()> {
        self.machines.start(id).await
    }

    /// Waits until it has rebooted itself: the container ends, and is started again as EC2 would.
    ///
    /// # Errors
    /// When it is still on after `bound`, or cannot be started.
    pub async fn reboots(&self, id: &str, bound: Duration) -> Result<()> {
        let off = self.until(bound, || (!self.is_on(id)).then_some(())).await;
        off.context("the instance did not reboot")?;
        self.tell(format!("{id} reboots"));
        self.machines.start(id).await
    }

    /// Where its root is, in the mounts of this process.
    pub fn root(&self, id: &str) -> Option<PathBuf> {
        self.machines.root(id)
    }

    /// Whether it runs.
    pub fn is_on(&self, id: &str) -> bool {
        self.machines.instance(id).is_some_and(|instance| !instance.is_off())
    }

    /// Seconds that its last power-off took, or why it had to be killed.
    pub fn off(&self, id: &str) -> Option<Result<f64, String>> {
        self.machines.off(id)
    }

    /// Every request to IMDS and the AWS APIs so far.
    pub fn requests(&self) -> Vec<Request> {
        self.cloud.record.all()
    }

    /// What happened so far.
    pub fn timeline(&self) -> Vec<Event> {
        self.cloud.timeline()
    }

    /// Adds a line of the stage's to it.
    pub fn tell(&self, text: impl Into<String>) {
        self.say(Who::Stage, text);
    }

    /// Adds a line to it.
    pub fn say(&self, who: Who, text: impl Into<String>) {
        self.cloud.tell(who, text);
    }

    /// Seconds since the play began.
    pub fn at(&self) -> f64 {
        self.cloud.at()
    }

    /// Takes the bridge down, so that the next play in this process finds none.
    pub async fn strike(self) {
        drop(self);
        network::strike().await;
    }
}
