//! The record on its way: events within `PutLogEvents`' limits, or one object.

use super::Record;
use crate::aws::{Error, LOGS};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

/// `PutLogEvents`: a batch is at most 1,048,576 bytes, each event counting 26 more than its text …
const BATCH_BYTES: usize = 1_048_576;
const EVENT_EXTRA: usize = 26;
/// … and has at most 10,000 events …
const BATCH_EVENTS: usize = 10_000;
/// … of at most 256 KiB each.
const EVENT_BYTES: usize = 256 * 1024 - EVENT_EXTRA;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct LogEvent<'a> {
    timestamp: u64,
    message: &'a str,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Put {
    rejected_log_events_info: Option<IgnoredAny>,
}

impl Record {
    pub(super) async fn to_logs(&self, stream: &str, lines: &[String]) -> Result<(), Error> {
        let (aws, group) = (self.group.aws(), &self.settings.log_group);
        let stream = json!({ "logGroupName": group, "logStreamName": stream });
        match aws.json::<_, IgnoredAny>(&LOGS, "CreateLogStream", &stream).await {
            // Of an earlier sending, or of an attempt whose answer was lost.
            Err(error) if !error.is("ResourceAlreadyExistsException") => return Err(error),
            _ => {}
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        for batch in batches(lines, u64::try_from(now.as_millis()).unwrap_or_default()) {
            let mut input = stream.clone();
            input["logEvents"] = json!(batch);
            let put: Put = aws.json(&LOGS, "PutLogEvents", &input).await?;
            if put.rejected_log_events_info.is_some() {
                let reason = "events were rejected: is the clock right?".to_owned();
                return Err(Error::Garbled { call: "PutLogEvents", reason });
            }
        }
        Ok(())
    }

    pub(super) async fn to_s3(&self, name: &str, lines: &[String]) -> Result<(), Error> {
        let key = format!("{}{name}.jsonl", self.settings.prefix);
        let body = lines.join("\n") + "\n";
        self.group.aws().put_object(&self.settings.bucket, &key, body.into()).await
    }
}

/// Events of the lines, up to `now` in milliseconds since 1970. A millisecond each keeps their order. The times are those
/// of the sending: a batch must not span more than a day, and a life may; each line tells its own.
pub(super) fn batches(lines: &[String], now: u64) -> Vec<Vec<LogEvent<'_>>> {
    let mut batches: Vec<Vec<LogEvent<'_>>> = Vec::new();
    let mut room = 0;
    for (line, back) in lines.iter().zip((0..lines.len() as u64).rev()) {
        let message = cut(line);
        let takes = message.len() + EVENT_EXTRA;
        if room < takes || batches.last().is_some_and(|batch| batch.len() == BATCH_EVENTS) {
            batches.push(Vec::new());
            room = BATCH_BYTES;
        }
        room -= takes;
        if let Some(batch) = batches.last_mut() {
            batch.push(LogEvent { timestamp: now.saturating_sub(back), message });
        }
    }
    batches
}

fn cut(line: &str) -> &str {
    let mut end = line.len().min(EVENT_BYTES);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    // An event must have a byte.
    if end == 0 { " " } else { &line[..end] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_usual_life_is_one_batch_in_order() {
        let lines: Vec<String> = (0..50).map(|number| format!("line {number}")).collect();
        let batches = batches(&lines, 1_800_000_000_000);
        assert_eq!(batches.len(), 1);
        assert!(batches[0].iter().map(|event| event.message).eq(lines.iter().map(String::as_str)));
        assert!(batches[0].windows(2).all(|pair| pair[0].timestamp < pair[1].timestamp));
        assert_eq!(batches[0][49].timestamp, 1_800_000_000_000);
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_between_characters() {
        let lines = ["ä".repeat(200_000), String::new()];
        let batches = batches(&lines, 10);
        let lengths: Vec<usize> = batches[0].iter().map(|event| event.message.len()).collect();
        assert_eq!(lengths, [EVENT_BYTES, 1]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn every_batch_is_within_the_limits_and_no_line_is_lost(
            lengths in proptest::collection::vec(prop_oneof![0..100_usize, 100_000..400_000_usize], 0..40),
            short in 0..25_000_usize,
        ) {
            let lines: Vec<String> =
                lengths.into_iter().chain(vec![1; short]).map(|length| "x".repeat(length)).collect();
            let batches = batches(&lines, 1_800_000_000_000);
            prop_assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), lines.len());
            for batch in batches {
                let bytes: usize = batch.iter().map(|event| event.message.len() + EVENT_EXTRA).sum();
                prop_assert!(!batch.is_empty() && batch.len() <= BATCH_EVENTS && bytes <= BATCH_BYTES);
            }
        }
    }
}
