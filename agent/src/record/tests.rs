//! The record against a small AWS on loopback: what goes out, how often, and what a kill or an outage does to it.

use super::*;
use crate::fake::{self, Asked, Fake, metadata};
use config::RecordTo;
use std::sync::atomic::{AtomicBool, Ordering};

#[tokio::test]
async fn a_life_goes_out_once_as_a_stream_of_its_own() {
    let cloud = Cloud::start().await;
    let record = cloud.record(RecordTo::Logs);
    cloud.board.note("phase is serving");
    cloud.board.error("targets", Some("denied"));
    cloud.board.note("phase is drained");
    record.send(End::Over).await;
    record.send(End::Over).await;
    record.send(End::Near).await;
    assert_eq!(cloud.operations(), ["Logs_20140328.CreateLogStream", "Logs_20140328.PutLogEvents"]);
    let put: Value = serde_json::from_str(&cloud.calls()[1].body).expect("it is JSON");
    assert_eq!(put["logGroupName"], "/kiln/record");
    assert_eq!(put["logStreamName"], format!("i-0abc/{}", clock::boot_id()));
    let lines = messages(&put);
    assert_eq!(lines[0]["instance"]["id"], "i-0abc");
    assert_eq!(lines[0]["instance"]["ami"], "ami-1");
    assert_eq!(lines[0]["instance"]["zone"], Value::Null, "absent is no reason to stay silent");
    assert_eq!(told(&lines), ["phase is serving", "targets: denied", "phase is drained"]);
    let status = &lines[lines.len() - 1]["status"];
    assert_eq!(status["errors"]["targets"], "denied");
    assert_eq!(status["timeline"], json!([]), "it stands above");
}

#[tokio::test]
async fn a_life_that_goes_on_adds_to_its_stream_and_a_restarted_agent_repeats_nothing() {
    let cloud = Cloud::start().await;
    let record = cloud.record(RecordTo::Logs);
    cloud.board.note("launch hook completed with ABANDON");
    record.send(End::Near).await;
    drop(record);

    // Another process, with a board of its own: it finds the story and the mark.
    let cloud = Cloud { board: fake::board(), ..cloud };
    let record = cloud.record(RecordTo::Logs);
    record.send(End::Near).await;
    assert_eq!(cloud.calls().len(), 2, "that end was sent by the one before");
    cloud.board.note("notice from group");
    record.send(End::Over).await;
    let put: Value = serde_json::from_str(&cloud.calls()[3].body).expect("it is JSON");
    assert_eq!(told(&messages(&put)), ["notice from group"]);

    // The unit was stopped, which looked like the end, and started again.
    let record = cloud.record(RecordTo::Logs);
    record.goes_on().await;
    cloud.board.note("phase is serving");
    record.send(End::Over).await;
    let put: Value = serde_json::from_str(&cloud.calls()[5].body).expect("it is JSON");
    assert_eq!(told(&messages(&put)), ["phase is serving"]);
}

#[tokio::test]
async fn an_object_is_whole_each_time() {
    let cloud = Cloud::start().await;
    let record = cloud.record(RecordTo::S3);
    cloud.board.note("one");
    record.send(End::Near).await;
    cloud.board.note("two");
    record.send(End::Over).await;
    let calls = cloud.calls();
    let path = format!("/records/kiln/i-0abc/{}.jsonl", clock::boot_id());
    assert!(calls.len() == 2 && calls.iter().all(|asked| asked.method == "PUT" && asked.path == path));
    let lines: Vec<Value> =
        calls[1].body.lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect();
    assert_eq!(told(&lines), ["one", "two"]);
}

#[tokio::test]
async fn what_cannot_be_sent_is_said_and_tried_at_the_next_end() {
    let cloud = Cloud::start().await;
    let record = cloud.record(RecordTo::Logs);
    cloud.board.note("one");
    cloud.denies.store(true, Ordering::Relaxed);
    record.send(End::Over).await;
    let error = cloud.board.snapshot().errors.remove("record").expect("it is said");
    assert!(error.contains("failed to call CreateLogStream: AccessDeniedException"), "{error}");
    cloud.denies.store(false, Ordering::Relaxed);
    record.send(End::Over).await;
    assert!(cloud.board.snapshot().errors.is_empty());
    let put: Value = serde_json::from_str(&cloud.calls()[2].body).expect("it is JSON");
    assert_eq!(told(&messages(&put))[0], "one");
}

#[tokio::test]
async fn events_that_are_rejected_are_not_taken_for_sent() {
    let fake = Fake::start(|asked, _| match asked.path.as_str() {
        "/" => (200, r#"{"rejectedLogEventsInfo":{"tooNewLogEventStartIndex":0}}"#.to_owned()),
        _ => metadata(asked, &[("meta-data/instance-id", "i-0abc")]),
    })
    .await;
    let cloud = Cloud::around(fake);
    cloud.record(RecordTo::Logs).send(End::Over).await;
    assert!(cloud.board.snapshot().errors["record"].contains("is the clock right?"));
}

#[tokio::test]
async fn nothing_is_kept_and_nothing_sent_unless_asked_for() {
    let cloud = Cloud::start().await;
    let record = cloud.record(RecordTo::None);
    cloud.board.note("one");
    record.send(End::Over).await;
    assert!(cloud.calls().is_empty() && !cloud.root.path().join(story::PATH).exists());
}

#[tokio::test]
async fn an_instance_id_that_is_none_names_nothing() {
    let fake = Fake::start(|asked, _| metadata(asked, &[("meta-data/instance-id", "../../etc")])).await;
    let cloud = Cloud::around(fake);
    cloud.record(RecordTo::S3).send(End::Over).await;
    assert!(cloud.calls().is_empty());
    assert!(cloud.board.snapshot().errors["record"].contains("it is no instance id"));
}

struct Cloud {
    fake: Fake,
    board: Board,
    root: tempfile::TempDir,
    denies: Arc<AtomicBool>,
}

impl Cloud {
    async fn start() -> Self {
        let denies = Arc::new(AtomicBool::new(false));
        let denying = denies.clone();
        let fake = Fake::start(move |asked, _| {
            if asked.path.starts_with("/latest/") {
                let items = [("meta-data/instance-id", "i-0abc"), ("meta-data/ami-id", "ami-1")];
                return metadata(asked, &items);
            }
            let refusal = r#"{"__type":"AccessDeniedException","message":"no"}"#;
            if denying.load(Ordering::Relaxed) { (400, refusal.to_owned()) } else { (200, String::new()) }
        })
        .await;
        Self { denies, ..Self::around(fake) }
    }

    fn around(fake: Fake) -> Self {
        let root = tempfile::tempdir().expect("a folder for the files");
        let folder = root.path().join(story::PATH);
        std::fs::create_dir_all(folder.parent().expect("it lies in a folder")).expect("it is ours");
        Self { fake, board: fake::board(), root, denies: Arc::default() }
    }

    fn record(&self, to: RecordTo) -> Record {
        let settings = config::Record {
            to,
            log_group: "/kiln/record".to_owned(),
            bucket: "records".to_owned(),
            prefix: "kiln/".to_owned(),
        };
        let imds = Arc::new(Imds::new(&self.fake.url).expect("a valid address"));
        let group = fake::group(&self.fake, &self.board);
        Record::new(settings, group, imds, self.board.clone(), self.root.path())
    }

    /// What AWS was asked.
    fn calls(&self) -> Vec<Asked> {
        let asked = self.fake.asked();
        asked.into_iter().filter(|asked| !asked.path.starts_with("/latest/")).collect()
    }

    fn operations(&self) -> Vec<String> {
        self.calls().iter().map(|asked| asked.header("x-amz-target").to_owned()).collect()
    }
}

fn messages(put: &Value) -> Vec<Value> {
    let events = put["logEvents"].as_array().expect("a list of events");
    let text = |event: &Value| event["message"].as_str().unwrap_or_default().to_owned();
    events.iter().map(|event| serde_json::from_str(&text(event)).expect("a line is JSON")).collect()
}

/// What the story's lines tell.
fn told(lines: &[Value]) -> Vec<&str> {
    lines.iter().filter_map(|line| line["what"].as_str()).collect()
}
