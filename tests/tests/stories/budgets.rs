//! What the agent may cost an instance that serves: memory, file descriptors, wakeups, metadata requests, and its size.

use kiln_stage::{Launch, Scene};
use kiln_tests::programs::agent;
use kiln_tests::story::{BOOT, Plan, inside, serving};
use kiln_tests::told::{no_request_failed, nothing_but_metrics};

/// Bytes that every image carries.
const BINARY: u64 = 6_000_000;
/// KiB of resident memory; on an instance, TLS and the root certificates come to it.
const MEMORY: u64 = 8_192;
/// Sixteen in service with nothing under way; a drain adds a connection to each of two services, and those of probes.
const DESCRIPTORS: u64 = 32;
/// Of all threads in a second. Seven are seen: one beat reads the state and the CPU's times, the balancer's probe comes
/// twice, and an answer of the metadata service or of the service itself takes one more.
const WAKEUPS: f64 = 15.0;
/// Of the metadata service in a minute: 74 are the state each second and the spot items each five and thirty seconds; into
/// a window of twenty one more of each may fall, and a read that was sent again.
const METADATA: f64 = 100.0;
/// Polls of the state, which come one a second, that the window lasts.
const POLLS: usize = 20;

#[test]
fn an_agent_in_service_stays_within_its_budgets() {
    let size = std::fs::metadata(agent()).expect("the agent is built").len();
    assert!(size <= BINARY, "{size} bytes");
    Plan::default().play(async |scene| {
        let id = serving(scene, Launch::default(), &[]).await;
        let (from, before) = (scene.at(), Cost::of(scene, &id).await);
        let polls = || metadata(scene, &id, from).filter(|path| path.contains("target-lifecycle-state")).count();
        let passed = scene.until(BOOT, || (polls() >= POLLS).then_some(())).await;
        passed.expect("the state is read each second");
        let after = Cost::of(scene, &id).await;
        let seconds = scene.at() - from;

        #[expect(clippy::cast_precision_loss, reason = "a count of hundreds")]
        let rate = |count: u64| count as f64 / seconds;
        let wakeups = rate(after.wakeups - before.wakeups);
        let asked = rate(metadata(scene, &id, from).count() as u64) * 60.0;
        scene.tell(format!(
            "{size} bytes, {} KiB, {} file descriptors, {wakeups:.1} wakeups/s, {asked:.0} metadata requests/min",
            after.memory, after.descriptors
        ));
        assert!(after.memory <= MEMORY, "{} KiB", after.memory);
        assert!(after.descriptors <= DESCRIPTORS, "{} file descriptors", after.descriptors);
        assert!(wakeups <= WAKEUPS, "{wakeups:.1} wakeups a second");
        assert!(asked <= METADATA, "{asked:.1} metadata requests a minute");
        nothing_but_metrics(scene, &id, from, scene.at());
        no_request_failed(scene).await;
    });
}

/// The paths that an instance has asked the metadata service for.
fn metadata(scene: &Scene, id: &str, from: f64) -> impl Iterator<Item = String> {
    let (id, requests) = (id.to_owned(), scene.requests());
    let ours = requests.into_iter().filter(move |asked| asked.service == "imds" && asked.at >= from);
    ours.filter(move |asked| asked.instance.as_deref() == Some(id.as_str())).map(|asked| asked.action)
}

/// What the kernel says of the process.
struct Cost {
    /// KiB that are resident.
    memory: u64,
    descriptors: u64,
    /// Times that a thread had waited and went on.
    wakeups: u64,
}

impl Cost {
    async fn of(scene: &Scene, id: &str) -> Self {
        const LOOK: &str = "cd /proc/$(systemctl show --property=MainPID --value kiln-agent.service) && \
            awk '/^VmRSS:/ {print $2}' status && ls fd | wc -l && \
            awk '/^voluntary_ctxt_switches:/ {sum += $2} END {print sum}' task/*/status";
        let said = inside(scene, id, &["sh", "-c", LOOK]).await;
        let mut numbers = said.lines().map(|line| line.trim().parse().expect("a number"));
        let mut next = || numbers.next().unwrap_or_else(|| panic!("three numbers: {said}"));
        Self { memory: next(), descriptors: next(), wakeups: next() }
    }
}
