//! What a builder instance writes into its object: where it is, and the last lines of what it ran.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// Nothing of it has been heard.
    Waiting,
    /// At work.
    Running,
    /// It is what it was to become.
    Done,
    /// It is not, and says why.
    Failed,
}

/// One report; each replaces the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) state: State,
    #[serde(default)]
    pub(super) tail: Vec<String>,
}

impl Report {
    /// Before the instance is there: so that nobody has to ask whether there is a report.
    pub(super) fn first() -> Self {
        Self { state: State::Waiting, tail: Vec::new() }
    }

    pub(super) fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).expect("a report is plain data").into()
    }

    /// One that makes no sense is that of an instance that has said nothing.
    pub(super) fn read(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or_else(|_| Self::first())
    }

    /// Whether the instance that has stopped may become an image.
    pub(super) fn judge(self, id: &str, reason: &str, lifetime: Duration) -> Result<(), Error> {
        let minutes = lifetime.as_secs() / 60;
        let what = match self.state {
            State::Done => return Ok(()),
            State::Failed => "failed".to_owned(),
            State::Running => {
                format!("stopped ({reason}) before it was done, at the latest after {minutes} minutes")
            }
            State::Waiting => format!(
                "stopped ({reason}) without a word, at the latest after {minutes} minutes: it needs a way to S3, and a base that runs user data"
            ),
        };
        Err(Error::Builder { id: id.to_owned(), what, tail: self.tail })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_instance_that_says_so_is_done() {
        let table = [
            (r#"{"state":"done","tail":["provision done"]}"#, None),
            (r#"{"state":"failed","tail":["E: no such package"]}"#, Some("i-1 failed\n  E: no such package")),
            (
                r#"{"state":"running","tail":["[1/4] packages"]}"#,
                Some("before it was done, at the latest after 60 minutes\n  [1/4] packages"),
            ),
            (r#"{"state":"waiting"}"#, Some("without a word")),
            ("<html>", Some("without a word")),
        ];
        for (text, expected) in table {
            let judged =
                Report::read(text.as_bytes()).judge("i-1", "User initiated", Duration::from_hours(1));
            let told = judged.err().map(|error| error.to_string());
            match expected {
                None => assert_eq!(told, None),
                Some(part) => {
                    assert!(told.as_ref().is_some_and(|told| told.contains(part)), "{text}: {told:?}");
                }
            }
        }
        assert_eq!(Report::read(&Report::first().to_bytes()), Report::first());
    }
}
