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
use crate::balancer::{Balancer, PEER};
use crate::cloud::{ACCOUNT, Cloud, REGION};
use crate::imds::Imds;
use crate::life::Timing;
use crate::lifecycle::{ActionResult, Hook, Transition};
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

/// A stage that is set up. Dropping it ends all of it but the bridge, which goes with the namespace.
pub(crate) struct Stage {
    pub(crate) cloud: Arc<Cloud>,
    /// Instances that EC2 has to power off.
    pub(crate) power_off: UnboundedReceiver<String>,
    _tasks: JoinSet<()>,
}

impl Stage {
    /// Sets it up in the namespace of this process.
    pub(crate) async fn raise(timing: &Timing, scratch: &Path, observer: Observer) -> Result<Self> {
        network::strike().await;
        network::raise().await?;
        let arn = format!(
            "arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:targetgroup/kiln-rehearsal/0123456789abcdef"
        );
        let group = TargetGroup::new(arn, WEB, timing.deregistration_delay);
        let (cloud, power_off) = Cloud::new(hooks(timing), vec![group], timing.deregister_lag, observer);
        let cloud = Arc::new(cloud);
        let mut tasks = JoinSet::new();
        listen(&mut tasks, SocketAddr::from((IMDS, 80)), Imds::new(Arc::clone(&cloud))).await?;
        listen(&mut tasks, SocketAddr::from((AWS, 80)), Api::new(Arc::clone(&cloud), WEB)).await?;
        listen(&mut tasks, PEER, Peer).await?;
        let balancer = Balancer::start(scratch).await?;
        tasks.spawn(lease_addresses(Arc::clone(&cloud)));
        tasks.spawn(beat(Arc::clone(&cloud), balancer, timing.propagation));
        tasks.spawn(probe(Arc::clone(&cloud), timing.probe_interval));
        cloud.tell(Who::Stage, "the stage is set: network, DHCP, IMDSv2, AWS endpoint, HAProxy");
        Ok(Self { cloud, power_off, _tasks: tasks })
    }
}

fn hooks(timing: &Timing) -> Vec<Hook> {
    let hook = |name: &str, transition, heartbeat| Hook {
        name: name.to_owned(),
        transition,
        heartbeat,
        default_result: ActionResult::Abandon,
    };
    vec![
        hook(LAUNCH_HOOK, Transition::Launching, timing.launch),
        hook(TERMINATE_HOOK, Transition::Terminating, timing.terminate_hook),
    ]
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
            for (target, _, route) in routes.iter().filter(|route| !known.contains(route)) {
                let was_ready =
                    known.iter().any(|(other, _, route)| other == target && *route == Route::Ready);
                match route {
                    Route::Ready => tell(&cloud, target, "sends requests to"),
                    Route::Drain if was_ready => tell(&cloud, target, "sends no new requests to"),
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

fn routes(cloud: &Cloud, propagation: Duration) -> Vec<(TargetId, Ipv4Addr, Route)> {
    let (now, inner) = (cloud.now(), cloud.lock());
    let group = &inner.target_groups[0];
    let targets = group.targets().map(|(target, _)| target);
    targets
        .filter_map(|target| {
            Some((
                target.clone(),
                inner.members.get(&target.0)?.address,
                group.route(target, now, propagation),
            ))
        })
        .collect()
}

/// The target group's health checks; a draining target is not checked.
async fn probe(cloud: Arc<Cloud>, interval: Duration) {
    let mut probes = tokio::time::interval(interval);
    loop {
        probes.tick().await;
        let due: Vec<(TargetId, Ipv4Addr)> = {
            let inner = cloud.lock();
            let targets = inner.target_groups[0].targets().filter(|(_, health)| *health != Health::Draining);
            targets
                .filter_map(|(target, _)| Some((target.clone(), inner.members.get(&target.0)?.address)))
                .collect()
        };
        for (target, address) in due {
            let status = status_of(SocketAddr::from((address, target.1)), HEALTH_PATH, interval * 2).await;
            cloud.probed(0, &target, status.is_ok_and(|status| status == 200));
        }
    }
}
