//! Several hooks on a transition: the agent answers its own and leaves the others to whoever they belong to.

use kiln_stage::lifecycle::{ActionResult, Event, State, Transition};
use kiln_stage::{Launch, hook};
use kiln_tests::story::{BOOT, Plan, agent, served};
use kiln_tests::told::{completed_once, no_request_failed, of};
use std::time::Duration;

const OURS: &str = "[lifecycle]\nlaunch_hook = \"kiln-launch\"\nterminate_hook = \"kiln-terminate\"\n";
/// Of the other hooks: longer than any boot, since they end the launch when they run out.
const TIMEOUT: Duration = Duration::from_mins(5);

#[test]
fn the_other_hooks_are_not_ours() {
    let mut plan = Plan::default();
    plan.set.hooks.push(hook("inventory", Transition::Launching, TIMEOUT));
    plan.set.hooks.push(hook("archive", Transition::Terminating, TIMEOUT));
    plan.props.push(agent("hooks", OURS));
    plan.play(async |scene| {
        let id = scene.launch(Launch::default(), &[]).await.expect("an instance boots");
        let launched = scene.asked(&id, "CompleteLifecycleAction", 0.0, BOOT).await;
        assert_eq!(launched.expect("ours is answered").parameter("LifecycleHookName"), Some("kiln-launch"));
        assert_eq!(scene.state(&id), Some(State::PendingWait), "the other one holds it");
        done(scene, &id, "inventory");
        served(scene, &id).await;

        let notice = scene.at();
        scene.wish(&id, &Event::ScaledIn);
        scene.asked(&id, "CompleteLifecycleAction", notice, BOOT).await.expect("ours is answered");
        assert_eq!(scene.state(&id), Some(State::TerminatingWait), "the other one holds it");
        done(scene, &id, "archive");
        scene.reaches(&id, State::Terminated, BOOT).await.expect("it is released");
        completed_once(scene, &id, "kiln-launch", "Pending:Wait");
        completed_once(scene, &id, "kiln-terminate", "Terminating:Wait");
        assert_eq!(of(scene, &id, "CompleteLifecycleAction").len(), 2, "and nothing else");
        no_request_failed(scene).await;
    });
}

#[test]
fn hooks_that_nobody_named_are_left_alone_and_said_so() {
    let mut plan = Plan::default();
    plan.set.hooks.retain(|hook| hook.transition == Transition::Terminating);
    for name in ["one", "other"] {
        plan.set.hooks.push(hook(name, Transition::Launching, TIMEOUT));
    }
    plan.play(async |scene| {
        let id = scene.launch(Launch::default(), &[]).await.expect("an instance boots");
        scene.phase(&id, "serving", BOOT).await.expect("it is ready");
        let said = scene.until_async(BOOT, async || {
            let error = scene.status(&id).await.ok()?["errors"]["launch hook"].as_str()?.to_owned();
            Some(error)
        });
        let said = said.await.expect("the status says what is wrong");
        assert!(said.contains("one") && said.contains("other") && said.contains("launch_hook"), "{said}");
        assert_eq!(of(scene, &id, "CompleteLifecycleAction").len(), 0);
        // Whoever they belong to lets it in all the same.
        for name in ["one", "other"] {
            done(scene, &id, name);
        }
        served(scene, &id).await;
        no_request_failed(scene).await;
    });
}

fn done(scene: &kiln_stage::Scene, id: &str, hook: &str) {
    scene.wish(id, &Event::Completed(hook.to_owned(), ActionResult::Continue));
}
