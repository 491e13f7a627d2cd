//! Plays a story: instances of the starter's image on a stage of their own, with users who count every failure.
//!
//! A test starts itself again in namespaces of its own; there, the stage is set and the story is played. So stories run
//! side by side, and nothing of them outlives their process.

use crate::programs::target;
use crate::starter::{Baked, baked};
use kiln_stage::life::Timing;
use kiln_stage::lifecycle::State;
use kiln_stage::{
    Event, Image, Launch, Observer, Prop, Request, Root, Scene, Set, StreamRoute, Users, entered,
};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// Says which story this process plays.
const PLAYED: &str = "KILN_STORY_PLAYED";
/// Set by a person who wants to see calls and journals of a good story, too.
const TOLD: &str = "KILN_STORY_TOLD";
/// Where the image's root is.
const ROOT: &str = "KILN_STORY_ROOT";
/// From a launch to a healthy target; a boot takes seconds, and minutes on a machine that does much besides.
pub const BOOT: Duration = Duration::from_mins(2);
/// Longer than any story.
const LONGEST: Duration = Duration::from_mins(6);
/// The lines of a journal that a failed story shows.
const TAIL: usize = 80;

/// Hooks of AWS's least timeout, and a deregistration delay as short as the stories' streams allow: one of four seconds
/// may begin as late as the balancer's lag of one, and the machine may be slow.
pub fn timing() -> Timing {
    Timing {
        launch: Duration::from_mins(2),
        deregistration_delay: Duration::from_secs(7),
        deregister_lag: Duration::from_secs(1),
        terminate_hook: Duration::from_secs(30),
        probe_interval: Duration::from_millis(500),
        ..Timing::default()
    }
}

/// What a story begins with.
#[derive(Debug)]
pub struct Plan {
    /// What the instances are made of.
    pub image: fn() -> Baked,
    /// The stage.
    pub set: Set,
    /// Files in every instance: a `drain.quiet` that is short, and well above the balancer's propagation of a second. An
    /// instance that is stopped when it is drained must not be asked any more by then.
    pub props: Vec<Prop>,
    /// What the users want.
    pub users: Users,
    /// Ends a story that hangs.
    pub bound: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        let paths = ["/", "/api/hello", "/api/health"].map(str::to_owned).to_vec();
        Self {
            image: baked,
            set: Set::new(timing()),
            props: vec![agent("quiet", "[drain]\nquiet = \"3s\"\n")],
            users: Users { paths, rate: 40.0, stream: None },
            bound: LONGEST,
        }
    }
}

/// A fragment of the agent's configuration.
pub fn agent(name: &str, text: &str) -> Prop {
    Prop::file(format!("/etc/kiln/agent.d/50-{name}.toml"), text)
}

/// The starter's route that streams for so many seconds.
pub fn stream(seconds: u32) -> StreamRoute {
    StreamRoute { path: format!("/api/stream?seconds={seconds}"), ends_with: Some("done".to_owned()) }
}

impl Plan {
    /// Plays the story of the running test.
    pub fn play(self, story: impl AsyncFnOnce(&mut Scene)) {
        let name = std::thread::current().name().expect("a test has a name").to_owned();
        match std::env::var(PLAYED) {
            Ok(played) if played == name => self.here(story),
            _ => elsewhere(&name, &(self.image)().root()),
        }
    }

    fn here(self, story: impl AsyncFnOnce(&mut Scene)) {
        let ground = entered().expect("a story is played in namespaces of its own");
        let scratch = PathBuf::from(std::env::var_os("KILN_STORY_SCRATCH").expect("a scratch folder"));
        let root = PathBuf::from(std::env::var_os(ROOT).expect("the image's root"));
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("tmpfs"), &scratch, Some("tmpfs"), flags, Some("mode=700"))
            .expect("mount a scratch folder that goes with this process");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let image = Image { root: Root::Shared(root), props: self.props };
        let raised = runtime.block_on(Scene::raise(&ground, self.set, image, scratch, teller()));
        let mut scene = raised.expect("the stage is set");
        // A runtime's own: the generator is a task of it.
        runtime.block_on(async { scene.users(self.users) });
        let played = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async {
                tokio::time::timeout(self.bound, story(&mut scene))
                    .await
                    .expect("the story comes to its end");
            });
        }));
        if played.is_err() || std::env::var_os(TOLD).is_some() {
            runtime.block_on(why(&scene));
        }
        if let Err(panic) = played {
            resume_unwind(panic);
        }
        runtime.block_on(scene.strike());
    }
}

/// Each event as it happens, for a reader with `--nocapture` and for one of a failed story.
fn teller() -> Observer {
    Arc::new(|event: &Event| {
        let line = format!("{:7.2}  {:5}  {}\n", event.at, event.who.name(), event.text);
        // A closed terminal is no reason to fail.
        let _ = std::io::stderr().write_all(line.as_bytes());
    })
}

async fn why(scene: &Scene) {
    let mut told = Vec::new();
    for call in scene.requests().iter().filter(|request| request.service != "imds") {
        let (state, fault) = (call.state.as_deref().unwrap_or("-"), call.notes.get("fault"));
        let Request { at, action, status, error, .. } = call;
        told.push(format!("{at:7.2}  {action} in {state}: {status} {error} {fault:?}"));
    }
    for id in scene.instances() {
        told.push(format!("--- journal of {id}"));
        told.extend(scene.journal_tail(&id, TAIL).await);
    }
    let _ = std::io::stderr().write_all(told.join("\n").as_bytes());
}

/// Starts this test again, alone and in namespaces of its own, and waits for its end.
fn elsewhere(name: &str, root: &Path) {
    let scratch = tempfile::Builder::new().prefix("kiln-").tempdir().expect("make a scratch folder");
    let mut command = played_with(root, name, scratch.path());
    // As it happens, for who wants to see it.
    let live = std::env::args().any(|argument| argument == "--nocapture");
    command.stdout(Stdio::piped()).stderr(if live { Stdio::inherit() } else { Stdio::piped() });
    let story = command.spawn().expect("the story starts");
    let output = story.wait_with_output().expect("the story ends");
    let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name}\n{said}\n{told}");
}

/// Whether this process plays a story, rather than starting one.
pub fn is_played() -> bool {
    std::env::var_os(PLAYED).is_some()
}

/// The command that plays one story of this program.
pub fn played(name: &str, scratch: &Path) -> Command {
    played_with(&baked().root(), name, scratch)
}

fn played_with(root: &Path, name: &str, scratch: &Path) -> Command {
    // Dies with this thread, which waits for it.
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "unshare", "--net", "--mount", "--"])
        .arg(std::env::current_exe().expect("a test knows its own path"))
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(PLAYED, name)
        .env(ROOT, root)
        .env("KILN_STORY_SCRATCH", scratch)
        .current_dir(target())
        .stdin(Stdio::null());
    command
}

/// Launches an instance and waits until it serves; its id.
pub async fn serving(scene: &Scene, how: Launch, props: &[Prop]) -> String {
    let id = scene.launch(how, props).await.expect("an instance boots");
    served(scene, &id).await;
    id
}

/// Waits until an instance is in service, healthy and asked by users; when that was.
pub async fn served(scene: &Scene, id: &str) -> f64 {
    scene.reaches(id, State::InService, BOOT).await.expect("it comes into service");
    let healthy = scene.healthy(id, BOOT).await.expect("it is healthy");
    let asked = scene.until(BOOT, || (scene.answered_since(healthy) > 0).then_some(()));
    asked.await.expect("users are sent to it");
    scene.at()
}

/// What a command inside an instance prints; waits until there is a process to enter, which a container's first moments
/// do not have.
pub async fn inside(scene: &Scene, id: &str, command: &[&str]) -> String {
    let said = scene.until_async(BOOT, async || scene.exec(id, command).await.ok()).await;
    String::from_utf8_lossy(&said.expect("the instance is on").stdout).into_owned()
}
