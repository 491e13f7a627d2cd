//! A drain script that hangs: it is killed whole at the deadline, and the hook is completed.

use kiln_stage::lifecycle::{ActionResult, Event, State, Transition};
use kiln_stage::{Launch, Prop, hook};
use kiln_tests::story::{BOOT, Plan, agent, serving};
use kiln_tests::told::{completed_once, drain_took, no_request_failed};
use std::time::Duration;

const DRAIN: &str = "[drain]\nmax = \"8s\"\nscripts = [[\"/usr/local/bin/hang\"]]\n[lifecycle]\nterminate_hook = \"kiln-terminate\"\n";
/// As configured there.
const DEADLINE: Duration = Duration::from_secs(8);
/// Deaf to SIGTERM, which comes before the deadline; its child would outlive a kill of the script alone.
const HANG: &str = "#!/bin/sh\ntrap '' TERM\nsleep 3333 &\nsleep 3333\n";

#[test]
fn a_script_that_hangs_costs_the_deadline_and_no_more() {
    let mut plan = Plan::default();
    // Holds the instance for a look at what is left of the script.
    plan.set.hooks.push(hook("inspection", Transition::Terminating, Duration::from_mins(5)));
    plan.props.extend([agent("script", DRAIN), Prop::program("/usr/local/bin/hang", HANG)]);
    plan.play(async |scene| {
        let id = serving(scene, Launch::default(), &[]).await;
        let notice = scene.at();
        scene.wish(&id, &Event::ScaledIn);
        scene.phase(&id, "draining", BOOT).await.expect("it drains");
        let runs = ["pgrep", "--full", "--count", "sleep 3333"];
        let count = async || {
            String::from_utf8_lossy(&scene.exec(&id, &runs).await.expect("pgrep").stdout).trim().to_owned()
        };
        let started = scene.until_async(BOOT, async || (count().await == "2").then_some(())).await;
        started.expect("the script and its child run");
        scene.phase(&id, "drained", BOOT).await.expect("the drain ends");
        // By the agent's own clock: not before the deadline, and not by the script's end, which is an hour away.
        let took = drain_took(scene, &id).await;
        assert!(took >= DEADLINE && took < 4 * DEADLINE, "drained after {took:?}");
        let gone = scene.until_async(BOOT, async || (count().await == "0").then_some(()));
        gone.await.expect("no process of the script is left");

        scene.asked(&id, "CompleteLifecycleAction", notice, BOOT).await.expect("the hook is completed");
        scene.reaches(&id, State::TerminatingWait, BOOT).await.expect("the other hook holds it");
        scene.wish(&id, &Event::Completed("inspection".to_owned(), ActionResult::Continue));
        scene.reaches(&id, State::Terminated, BOOT).await.expect("it is released");
        completed_once(scene, &id, "kiln-terminate", "Terminating:Wait");
        no_request_failed(scene).await;
    });
}
