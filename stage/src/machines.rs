//! EC2's side of the instances: boots them, stops, hibernates and starts them, gives them a new root, powers them off.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;

use crate::cloud::{Cloud, Launch};
use crate::instance::{Boot, Instance};
use crate::lifecycle::{Event as On, Order};
use crate::missing;
use crate::network::address_of;
use crate::record::seconds;
use crate::rehearsal::{Snapshot, Who};
use crate::root::{Mounted, Prop, Root};
use crate::server::status_of;
use crate::stage::{HEALTH_PATH, WEB};

/// The agent's own port, inside the instance.
const AGENT: u16 = 9180;
/// One question to the instance; it is alive, but the machine may be busy booting others.
const ASK: Duration = Duration::from_secs(15);

/// One instance as EC2 has it.
#[derive(Debug)]
struct Machine {
    address: SocketAddr,
    folder: PathBuf,
    root: Mounted,
    boots: u32,
    frozen: bool,
    instance: Option<Arc<Instance>>,
    /// Seconds that the last power-off took, or why it had to be killed.
    off: Option<Result<f64, String>>,
    /// `journalctl -o json`, as last read.
    journal: Vec<u8>,
}

/// All instances of a play.
pub(crate) struct Machines {
    cloud: Arc<Cloud>,
    root: Root,
    props: Vec<Prop>,
    scratch: PathBuf,
    power_off: Duration,
    all: Mutex<BTreeMap<String, Machine>>,
    launched: AtomicUsize,
    pub(crate) snapshots: Mutex<Vec<Snapshot>>,
}

impl Machines {
    pub(crate) fn new(
        cloud: Arc<Cloud>,
        root: Root,
        props: Vec<Prop>,
        scratch: PathBuf,
        power_off: Duration,
    ) -> Self {
        let (all, snapshots) = (Mutex::default(), Mutex::default());
        Self { cloud, root, props, scratch, power_off, all, launched: AtomicUsize::new(0), snapshots }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Machine>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new instance, booting; returns its id.
    pub(crate) async fn launch(&self, how: Launch, props: &[Prop]) -> Result<String> {
        let id = format!("i-{:017x}", rand::random::<u64>() >> 4);
        let address = address_of(self.launched.fetch_add(1, Ordering::Relaxed));
        // A folder for each: the name of a unix socket in it must stay short.
        let folder = self.scratch.join(&id[..8]);
        std::fs::create_dir(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
        let props: Vec<Prop> = self.props.iter().chain(props).cloned().collect();
        let root = Mounted::make(&self.root, &folder, &props)?;
        let machine = Machine {
            address: SocketAddr::from((address, WEB)),
            folder,
            root,
            boots: 0,
            frozen: false,
            instance: None,
            off: None,
            journal: Vec::new(),
        };
        self.lock().insert(id.clone(), machine);
        self.cloud.launch(&id, address, how);
        self.boot(&id).await?;
        Ok(id)
    }

    async fn boot(&self, id: &str) -> Result<()> {
        let (address, number, root, console) = {
            let mut all = self.lock();
            let machine = all.get_mut(id).context("no such instance")?;
            machine.boots += 1;
            let root = machine.root.path().to_owned();
            (machine.address, machine.boots, root, machine.folder.join("console.log"))
        };
        let SocketAddr::V4(address) = address else { anyhow::bail!("the stage has no IPv6") };
        let boot = Boot { id, address: *address.ip(), number, root: &root, console };
        let instance = Arc::new(Instance::launch(boot).await?);
        let mut all = self.lock();
        let machine = all.get_mut(id).context("no such instance")?;
        (machine.instance, machine.off, machine.frozen) = (Some(instance), None, false);
        Ok(())
    }

    pub(crate) fn root(&self, id: &str) -> Option<PathBuf> {
        self.lock().get(id).map(|machine| machine.root.path().to_owned())
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// Lets go of an instance: it is killed if it runs, and its root and its journal are gone.
    pub(crate) fn forget(&self, id: &str) {
        let machine = self.lock().remove(id);
        if let Some(machine) = machine {
            let folder = machine.folder.clone();
            drop(machine);
            // What is left there is in the way of nothing.
            let _ = std::fs::remove_dir_all(folder);
        }
    }

    /// The instance, while it runs.
    pub(crate) fn instance(&self, id: &str) -> Option<Arc<Instance>> {
        self.lock().get(id).and_then(|machine| machine.instance.clone())
    }

    /// Where its web server listens.
    pub(crate) fn address(&self, id: &str) -> Option<SocketAddr> {
        self.lock().get(id).map(|machine| machine.address)
    }

    /// How its last power-off went.
    pub(crate) fn off(&self, id: &str) -> Option<Result<f64, String>> {
        self.lock().get(id).and_then(|machine| machine.off.clone())
    }

    /// Its journal as last read, by itself or before it went off.
    pub(crate) fn journal(&self, id: &str) -> Vec<u8> {
        self.lock().get(id).map(|machine| machine.journal.clone()).unwrap_or_default()
    }

    /// Does what it is told, each instance's orders beside the others'.
    pub(crate) async fn obey(self: Arc<Self>, mut orders: UnboundedReceiver<(String, Order)>) {
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                Some((id, order)) = orders.recv() => {
                    let machines = Arc::clone(&self);
                    running.spawn(async move { machines.perform(&id, order).await });
                }
                Some(_) = running.join_next() => {}
                else => return,
            }
        }
    }

    async fn perform(&self, id: &str, order: Order) {
        let done = match order {
            Order::PowerOff => {
                self.snapshot(id, "drained").await;
                self.power_off(id).await;
                Ok(Some(On::PoweredOff))
            }
            Order::Stop => {
                self.power_off(id).await;
                Ok(Some(On::Stopped))
            }
            Order::Hibernate => self.freeze(id, true).map(|()| Some(On::Stopped)),
            Order::Start => self.start(id).await.map(|()| None),
            Order::ReplaceRoot => self.replace_root(id).await.map(|()| None),
        };
        match done {
            // What came too late, such as the end of one that is gone already, changes nothing.
            Ok(event) => drop(event.map(|event| self.cloud.apply(id, &event))),
            Err(error) => self.cloud.tell(Who::Stage, format!("{order:?} of {id}: {error:#}")),
        }
    }

    /// Powers it off as EC2 does: asks its systemd, and pulls the plug when that takes too long.
    pub(crate) async fn power_off(&self, id: &str) {
        self.read_journal(id).await;
        let Some(instance) = self.instance(id) else { return };
        let off = instance.power_off(self.power_off).await;
        match &off {
            Ok(took) => {
                self.cloud.tell(Who::Stage, format!("{id} is off after {:.1} s", took.as_secs_f64()));
            }
            Err(error) => self.cloud.tell(Who::Stage, format!("{id}: {error:#}")),
        }
        self.set_off(id, off.map(seconds).map_err(|error| format!("{error:#}")));
        self.read_left_journal(id).await;
    }

    /// Pulls the plug.
    pub(crate) async fn kill(&self, id: &str) {
        if let Some(instance) = self.instance(id) {
            instance.kill().await;
            self.set_off(id, Err("killed".to_owned()));
        }
    }

    fn set_off(&self, id: &str, off: Result<f64, String>) {
        if let Some(machine) = self.lock().get_mut(id) {
            (machine.instance, machine.off) = (None, Some(off));
        }
    }

    fn freeze(&self, id: &str, frozen: bool) -> Result<()> {
        self.instance(id).context("it is off")?.freeze(frozen)?;
        if let Some(machine) = self.lock().get_mut(id) {
            machine.frozen = frozen;
        }
        Ok(())
    }

    /// Starts it again, or lets it go on.
    pub(crate) async fn start(&self, id: &str) -> Result<()> {
        let frozen = self.lock().get(id).is_some_and(|machine| machine.frozen);
        if frozen { self.freeze(id, false) } else { self.boot(id).await }
    }

    async fn replace_root(&self, id: &str) -> Result<()> {
        self.power_off(id).await;
        if let Some(machine) = self.lock().get(id) {
            machine.root.renew()?;
        }
        self.boot(id).await
    }

    /// Asks the instance how it is.
    pub(crate) async fn snapshot(&self, id: &str, moment: &str) -> Snapshot {
        let at = self.cloud.at();
        let (instance, address) = (self.instance(id), self.address(id));
        let healthz = match address.filter(|_| instance.is_some()) {
            Some(address) => status_of(address, HEALTH_PATH, ASK).await.ok(),
            None => None,
        };
        let (readyz, status) = match instance {
            Some(instance) => {
                let status = instance.exec(&["kiln-agent", "status", "--json"], ASK).await;
                let parsed = status.map(|output| {
                    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                    serde_json::from_str(&text).unwrap_or(Value::from(text))
                });
                (instance.http_status(AGENT, "/readyz", ASK).await.ok(), parsed.unwrap_or_default())
            }
            None => (None, Value::Null),
        };
        let say = |status: Option<u16>| status.map_or("no answer".to_owned(), |status| status.to_string());
        // In service the two statuses say it all.
        let words = status.get("reason").and_then(Value::as_str).filter(|_| readyz != Some(200));
        let words = words.map(|words| format!(": {words}")).unwrap_or_default();
        self.cloud
            .tell(Who::Agent, format!("{moment}: /healthz {}, /readyz {}{words}", say(healthz), say(readyz)));
        let snapshot = Snapshot { at, moment: moment.to_owned(), healthz, readyz, status };
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner).push(snapshot.clone());
        snapshot
    }

    /// Reads the instance's whole journal, so that it is there when the instance is not.
    pub(crate) async fn read_journal(&self, id: &str) {
        let Some(instance) = self.instance(id) else { return };
        let read = ["journalctl", "--no-pager", "--quiet", "-o", "json"];
        if let Ok(output) = instance.exec(&read, ASK * 2).await
            && !output.stdout.is_empty()
            && let Some(machine) = self.lock().get_mut(id)
        {
            machine.journal = output.stdout;
        }
    }

    /// Reads what the instance left on its disk: its last words, too.
    async fn read_left_journal(&self, id: &str) {
        let Some(folder) = self.lock().get(id).map(|machine| machine.root.path().join("var/log/journal"))
        else {
            return;
        };
        let mut read = Command::new("journalctl");
        read.arg("-D").arg(folder).args(["--no-pager", "--quiet", "-o", "json"]).env("PATH", missing::path());
        read.stdin(Stdio::null()).kill_on_drop(true);
        // An image that keeps no journal on disk leaves what was read before.
        if let Ok(Ok(output)) = tokio::time::timeout(ASK * 2, read.output()).await
            && !output.stdout.is_empty()
            && let Some(machine) = self.lock().get_mut(id)
        {
            machine.journal = output.stdout;
        }
    }

    /// The last lines of its console.
    pub(crate) fn console_tail(&self, id: &str, lines: usize) -> Vec<String> {
        let console = self.lock().get(id).map(|machine| machine.folder.join("console.log"));
        let bytes = console.and_then(|console| std::fs::read(console).ok()).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].iter().map(|line| (*line).to_owned()).collect()
    }
}
