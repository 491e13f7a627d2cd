//! The socket, as operators and others meet it.

use super::*;
use crate::clock::Moment;
use crate::lifecycle::{Lifecycle, Place, Policy};

#[tokio::test]
async fn a_drain_is_asked_for_and_taken_back_by_one_line_each() {
    let story = Story::start(Lifecycle::new(policy(), Moment::default())).await;
    let drained = story.say(r#"{"ask":"drain","timeout_ms":60000}"#).await;
    assert_eq!(drained, Reply { done: true, text: "draining".to_owned() });
    let ready = story.say(r#"{"ask":"ready"}"#).await;
    assert_eq!(ready, Reply { done: true, text: "bootstrapping".to_owned() });
    let again = story.say(r#"{"ask":"ready"}"#).await;
    assert!(again.done, "what is so already is done: {again:?}");
}

#[tokio::test]
async fn ready_is_refused_with_the_reason() {
    let mut life = Lifecycle::new(policy(), Moment::default());
    life.handle(Event::Notice { notice: Notice::Group, deadline: None }, Moment::default());
    let story = Story::start(life).await;
    let refused = story.say(r#"{"ask":"ready"}"#).await;
    assert_eq!(refused, refuse("it leaves for another reason: notice from group".to_owned()));
    let merged = story.say(r#"{"ask":"drain"}"#).await;
    assert_eq!(merged.text, "draining; it leaves anyway: notice from group");
    assert!(merged.done);

    let mut life = Lifecycle::new(policy(), Moment::default());
    life.handle(Event::Target(Place::Standby), Moment::default());
    let story = Story::start(life).await;
    let refused = story.say(r#"{"ask":"ready"}"#).await;
    assert!(!refused.done && refused.text.contains("on standby"), "{refused:?}");
}

#[tokio::test]
async fn nonsense_is_refused_and_nothing_happens() {
    let story = Story::start(Lifecycle::new(policy(), Moment::default())).await;
    for line in ["", "{", "null", "[]", r#"{"ask":"die"}"#, r#"{"ask":"drain","why":1}"#, "\u{0}"] {
        let reply = story.say(line).await;
        assert!(!reply.done, "{line}: {reply:?}");
    }
    // Too long to be read whole: whether the answer is seen is up to the kernel.
    let mut stream = UnixStream::connect(&story.path).await.expect("the socket is there");
    let _ = stream.write_all("x".repeat(100_000).as_bytes()).await;
    let _ = stream.read_to_end(&mut Vec::new()).await;
    assert!(story.board.lock().notices.is_empty());
}

#[tokio::test]
async fn callers_that_say_nothing_do_not_keep_others_out() {
    let story = Story::start(Lifecycle::new(policy(), Moment::default())).await;
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS {
        silent.push(UnixStream::connect(&story.path).await.expect("the socket is there"));
    }
    let reply = story.say(r#"{"ask":"drain"}"#).await;
    assert!(reply.done, "{reply:?}");
}

#[tokio::test]
async fn the_socket_is_for_its_owner_and_replaces_a_dead_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(PATH);
    drop(bind(&path).expect("the folder is ours"));
    let _listener = bind(&path).expect("a dead socket is in nobody's way");
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn root_and_the_agents_own_user_may_speak() {
    assert!(may_speak(0, 990) && may_speak(990, 990));
    assert!(!may_speak(991, 990) && !may_speak(1000, 0));
}

/// A socket with a life behind it.
struct Story {
    path: PathBuf,
    board: Board,
    _folder: tempfile::TempDir,
}

impl Story {
    async fn start(mut life: Lifecycle) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(PATH);
        let (board, clock) = (Board::new(&life), Clock::anchored(Moment::default()));
        let (events, mut heard) = mpsc::channel(8);
        tokio::spawn(serve(path.clone(), board.clone(), clock, events));
        let record = board.clone();
        tokio::spawn(async move {
            while let Some(event) = heard.recv().await {
                life.handle(event, clock.now());
                record.record(&life, clock.now());
            }
        });
        while !path.exists() {
            tokio::task::yield_now().await;
        }
        Self { path, board, _folder: folder }
    }

    async fn say(&self, line: &str) -> Reply {
        let mut stream = UnixStream::connect(&self.path).await.expect("the socket is there");
        // A caller with too much to say is answered before it has said it all.
        let _ = stream.write_all(format!("{line}\n").as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        serde_json::from_slice(&answer).expect("a line of JSON")
    }
}

fn policy() -> Policy {
    Policy { drain_max: Duration::from_mins(5), ..Policy::default() }
}
