//! The stage set up: network, endpoints, balancer, and the control plane's heartbeat.

use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;

use crate::api::Api;
use crate::balancer::{Balancer, PEER, Place};
use crate::cloud::{ACCOUNT, Cloud, REGION};
use crate::imds::Imds;
use crate::life::Timing;
use crate::lifecycle::{ActionResult, Hook, Order, Transition};
use crate::network::{AWS, IMDS, mac_of};
use crate::peer::Peer;
use crate::rehearsal::{Observer, Who};
use crate::server::{Endpoint, serve, status_of};
use crate::targets::{Health, Route, TargetGroup, TargetId};
use crate::{dhcp, network};

/// Port of the instance's web server, and of the target group.
pub(crate) const WEB: u16 = 80;
/// Path of the target group's health check.
pub(crate) const HEALTH_PATH: &str = "/healthz";
pub(crate) const LAUNCH_HOOK: &str = "kiln-launch";
pub(crate) const TERMINATE_HOOK: &str = "kiln-terminate";

/// How often timers are looked at and routes brought up to date.
const BEAT: Duration = Duration::from_millis(100);

/// What is there before the first instance: the group's hooks and target groups, and how long AWS takes.
#[derive(Debug)]
pub struct Set {
    /// The stage's own timings.
    pub timing: Timing,
    /// The group's hooks.
    pub hooks: Vec<Hook>,
    /// The target groups that the group is attached to, each behind a listener of its own.
    pub target_groups: Vec<TargetGroup>,
}

impl Set {
    /// One launch hook, one terminate hook, one target group.
    pub fn new(timing: Timing) -> Self {
        let hooks = vec![
            hook(LAUNCH_HOOK, Transition::Launching, timing.launch),
            hook(TERMINATE_HOOK, Transition::Terminating, timing.terminate_hook),
        ];
        let target_groups = vec![TargetGroup::new(arn("kiln-rehearsal"), WEB, timing.deregistration_delay)];
        Self { timing, hooks, target_groups }
    }
}

/// A hook whose default is ABANDON, as it is on AWS.
pub fn hook(name: &str, transition: Transition, heartbeat: Duration) -> Hook {
    let default_result = ActionResult::Abandon;
    Hook { name: name.to_owned(), transition, heartbeat, default_result, notifies: None }
}

/// The ARN of a target group by that name.
pub fn arn(name: &str) -> String {
    format!("arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:targetgroup/{name}/0123456789abcdef")
}

/// A stage that is set up. Dropping it ends all of it but the bridge, which goes with the namespace.
pub(crate) struct Stage {
    pub(crate) cloud: Arc<Cloud>,
    _tasks: JoinSet<()>,
}

impl Stage {
    /// Sets it up in the namespace of this process. The receiver gets what EC2 has to do with which instance.
    pub(crate) async fn raise(
        set: Set,
        scratch: &Path,
        observer: Observer,
    ) -> Result<(Self, UnboundedReceiver<(String, Order)>)> {
        network::strike().await;
        network::raise().await?;
        let Set { timing, hooks, target_groups } = set;
        let groups = u16::try_from(target_groups.len()).context("too many target groups")?;
        let (cloud, orders) = Cloud::new(hooks, target_groups, timing.deregister_lag, observer);
        let cloud = Arc::new(cloud);
        let mut tasks = JoinSet::new();
        listen(&mut tasks, SocketAddr::from((IMDS, 80)), Imds::new(Arc::clone(&cloud))).await?;
        listen(&mut tasks, SocketAddr::from((AWS, 80)), Api::new(Arc::clone(&cloud), WEB)).await?;
        listen(&mut tasks, PEER, Peer).await?;
        let balancer = Balancer::start(scratch, groups).await?;
        tasks.spawn(lease_addresses(Arc::clone(&cloud)));
        tasks.spawn(beat(Arc::clone(&cloud), balancer, timing.propagation));
        tasks.spawn(probe(Arc::clone(&cloud), timing.probe_interval));
        cloud.tell(Who::Stage, "the stage is set: network, DHCP, IMDSv2, AWS endpoint, HAProxy");
        Ok((Self { cloud, _tasks: tasks }, orders))
    }
}

async fn listen<E: Endpoint>(tasks: &mut JoinSet<()>, address: SocketAddr, endpoint: E) -> Result<()> {
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("failed to listen on {address}"))?;
    tasks.spawn(serve(listener, Arc::new(endpoint)));
    Ok(())
}

async fn lease_addresses(cloud: Arc<Cloud>) {
    let lease = |mac: [u8; 6]| {
        let inner = cloud.lock();
        let text = mac.map(|byte| format!("{byte:02x}")).join(":");
        inner.members.values().map(|member| member.address).find(|address| mac_of(*address) == text)
    };
    if let Err(error) = dhcp::serve(lease).await {
        cloud.tell(Who::Stage, format!("{error:#}"));
        pending::<()>().await;
    }
}

/// The control plane: time passes, and the balancer follows the target states.
async fn beat(cloud: Arc<Cloud>, mut balancer: Balancer, propagation: Duration) {
    let mut beats = tokio::time::interval(BEAT);
    let mut known = Vec::new();
    loop {
        beats.tick().await;
        cloud.tick();
        let routes = routes(&cloud, propagation);
        if let Err(error) = balancer.route(&routes).await {
            cloud.tell(Who::Stage, format!("{error:#}"));
        }
        if routes != known {
            for (place, _, route) in routes.iter().filter(|route| !known.contains(route)) {
                let was_ready =
                    known.iter().any(|(other, _, route)| other == place && *route == Route::Ready);
                match route {
                    Route::Ready => tell(&cloud, &place.1, "sends requests to"),
                    Route::Drain if was_ready => tell(&cloud, &place.1, "sends no new requests to"),
                    _ => {}
                }
            }
            known = routes;
        }
    }
}

fn tell(cloud: &Cloud, target: &TargetId, what: &str) {
    cloud.tell(Who::Stage, format!("the balancer {what} {}:{}", target.0, target.1));
}

fn routes(cloud: &Cloud, propagation: Duration) -> Vec<(Place, Ipv4Addr, Route)> {
    let (now, inner) = (cloud.now(), cloud.lock());
    let mut routes = Vec::new();
    for (number, group) in (0..).zip(&inner.target_groups) {
        for (target, _) in group.targets() {
            if let Some(member) = inner.members.get(&target.0) {
                let route = group.route(target, now, propagation);
                routes.push(((number, target.clone()), member.address, route));
            }
        }
    }
    routes
}

/// `HealthCheckTimeoutSeconds`, AWS's default: what answers late on a busy machine is not unhealthy.
const PROBE_BOUND: Duration = Duration::from_secs(5);

/// The target groups' health checks; a draining target is not checked.
async fn probe(cloud: Arc<Cloud>, interval: Duration) {
    let mut probes = tokio::time::interval(interval);
    loop {
        probes.tick().await;
        // Side by side: an instance that does not answer must not keep the others from being asked.
        let mut running = JoinSet::new();
        for (group, target, address, path) in due(&cloud) {
            running.spawn(async move {
                let status = status_of(address, &path, PROBE_BOUND).await;
                (group, target, status.is_ok_and(|status| status == 200))
            });
        }
        while let Some(Ok((group, target, passed))) = running.join_next().await {
            cloud.probed(group, &target, passed);
        }
    }
}

fn due(cloud: &Cloud) -> Vec<(usize, TargetId, SocketAddr, String)> {
    let inner = cloud.lock();
    let mut due = Vec::new();
    for (number, group) in inner.target_groups.iter().enumerate() {
        for (target, _) in group.targets().filter(|(_, health)| *health != Health::Draining) {
            if let Some(member) = inner.members.get(&target.0) {
                let address = SocketAddr::from((member.address, group.health_port.unwrap_or(target.1)));
                due.push((number, target.clone(), address, group.health_path.clone()));
            }
        }
    }
    due
}
