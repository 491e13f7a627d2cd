//! Several target groups, ports of their own: every row is told to leave by id and port, also those that the group forgets.

use kiln_stage::lifecycle::{Event, State};
use kiln_stage::targets::TargetGroup;
use kiln_stage::{Launch, Prop, arn};
use kiln_tests::story::{BOOT, Plan, serving, stream};
use kiln_tests::told::{completed_once, deregistered, no_request_failed, nothing_but_metrics};
use std::collections::BTreeSet;
use std::time::Duration;

/// Two more ports in front of the same site.
const PORTS: &str = "server { listen 8080; listen 8081; location / { proxy_pass http://127.0.0.1:80; } }\n";
const DELAY: Duration = Duration::from_secs(6);

#[test]
fn every_port_of_every_group_is_told_to_leave() {
    let mut plan = Plan::default();
    let api = TargetGroup::new(arn("kiln-api"), 8080, DELAY).checked_at("/api/health", Some(8081));
    plan.set.target_groups.push(api);
    // The agent is first: what the group has told already, it only reads.
    plan.set.timing.deregister_lag = DELAY;
    plan.props.push(Prop::file("/etc/nginx/conf.d/ports.conf", PORTS));
    plan.users.stream = Some(stream(3));
    plan.play(async |scene| {
        let id = serving(scene, Launch::default(), &[]).await;
        scene.register(&id, 1, 8081);
        scene.healthy(&id, BOOT).await.expect("the third row is healthy");
        let (from, held) = (scene.at(), scene.hold_stream().await.expect("a stream"));
        let notice = scene.at();
        scene.wish(&id, &Event::ScaledIn);
        assert_eq!(held.end().await.cut, None, "the stream in flight at the scale-in");
        let end = scene.reaches(&id, State::Terminated, BOOT).await;
        end.expect("it is released");

        let told = deregistered(scene, &id);
        let rows: BTreeSet<(&str, u16)> = told.iter().map(|(_, arn, port)| (arn.as_str(), *port)).collect();
        let (web, api) = (arn("kiln-rehearsal"), arn("kiln-api"));
        assert_eq!(rows, BTreeSet::from([(web.as_str(), 80), (api.as_str(), 8080), (api.as_str(), 8081)]));
        let completed = completed_once(scene, &id, "kiln-terminate", "Terminating:Wait");
        assert!(told.iter().all(|(at, ..)| *at < completed), "told after the hook was completed: {told:?}");
        nothing_but_metrics(scene, &id, from, notice);
        no_request_failed(scene).await;
    });
}
