//! The flight record's calls, in forms that leave nothing behind.

use super::{Outcome, Trial, dry};
use crate::aws::{Aws, Error, LOGS};
use crate::config::{Config, RecordTo};
use serde::de::IgnoredAny;
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

/// A stream that no agent makes: theirs are named after an instance.
const NO_STREAM: &str = "kiln-doctor-tries-whether-it-may";
/// Likewise the object's name, after the prefix, under which IAM judges the real ones.
const NO_OBJECT: &str = "kiln-doctor-tries-whether-it-may";

/// The calls of the record's destination; none where it goes nowhere.
pub(in crate::doctor) async fn record(aws: &Aws, config: &Config) -> Vec<Trial> {
    match config.record.to {
        RecordTo::None => Vec::new(),
        RecordTo::Logs => {
            let put =
                Trial { outcome: events(&put_events(aws, config).await), ..Trial::new("logs:PutLogEvents") };
            // A stream is made or it is not: there is no form of the call that only asks.
            let why = "not tried: it would leave a stream behind; the agent makes one at the instance's end";
            vec![put, Trial::unknown("logs:CreateLogStream", why.to_owned())]
        }
        RecordTo::S3 => {
            let key = format!("{}{NO_OBJECT}", config.record.prefix);
            let answer = aws.put_no_object(&config.record.bucket, &key).await;
            vec![Trial { outcome: object(&answer), ..Trial::new("s3:PutObject") }]
        }
    }
}

async fn put_events(aws: &Aws, config: &Config) -> Result<(), Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let input = json!({
        "logGroupName": config.record.log_group,
        "logStreamName": NO_STREAM,
        "logEvents": [{ "timestamp": u64::try_from(now).unwrap_or_default(), "message": "doctor" }],
    });
    aws.json::<_, IgnoredAny>(&LOGS, "PutLogEvents", &input).await.map(|_| ())
}

/// The group is the real one and the stream is none: what is missing is said in the message alone.
fn events(answer: &Result<(), Error>) -> Outcome {
    match answer {
        Err(error @ Error::Refused { code, message, .. }) if code == "ResourceNotFoundException" => {
            if message.contains("stream") {
                Outcome::Allowed("refused for its stream, which is none, not by IAM: allowed, very likely")
            } else if message.contains("group") {
                Outcome::Missing(error.to_string())
            } else {
                Outcome::Unknown(error.to_string())
            }
        }
        answer => dry("logs:PutLogEvents", answer).outcome,
    }
}

/// The body is not what its digest says, so that nothing is stored. S3 asks IAM before it reads a body.
fn object(answer: &Result<(), Error>) -> Outcome {
    match answer {
        Err(error) if error.is("BadDigest") => {
            Outcome::Allowed("refused for its digest, which is wrong, not by IAM: allowed, very likely")
        }
        Err(error) if error.is("NoSuchBucket") => Outcome::Missing(error.to_string()),
        Err(error) if error.is_denied() || error.is_silence() => dry("s3:PutObject", answer).outcome,
        Err(error) => Outcome::Unknown(error.to_string()),
        // A store that heeds no digest: the object is empty.
        Ok(()) => Outcome::Allowed("answered"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_says_what_it_can_and_no_more() {
        type Case = (fn(&Result<(), Error>) -> Outcome, &'static str, &'static str, &'static str);
        let cases: [Case; 13] = [
            (events, "ResourceNotFoundException", "The specified log stream does not exist.", "allowed"),
            (events, "ResourceNotFoundException", "The specified log group does not exist.", "missing"),
            (events, "ResourceNotFoundException", "", "unknown"),
            (events, "AccessDeniedException", "not authorized", "denied"),
            (events, "InvalidParameterException", "the time", "allowed"),
            (events, "ThrottlingException", "slow down", "unknown"),
            (events, "ServiceUnavailableException", "later", "unknown"),
            (object, "BadDigest", "", "allowed"),
            (object, "AccessDenied", "Access Denied", "denied"),
            (object, "NoSuchBucket", "", "missing"),
            // Neither tells what IAM says.
            (object, "PermanentRedirect", "another region", "unknown"),
            (object, "InvalidRequest", "", "unknown"),
            (object, "SlowDown", "", "unknown"),
        ];
        for (judge, code, message, expected) in cases {
            let (code_, message_) = (code.to_owned(), message.to_owned());
            let error = Error::Refused { call: "PutLogEvents", code: code_, message: message_ };
            assert_eq!(word(&judge(&Err(error))), expected, "{code} {message}");
        }
        for judge in [events, object] {
            let silence = Error::Unreachable { call: "PutLogEvents", reason: "nobody".to_owned() };
            assert_eq!(word(&judge(&Err(silence))), "silent");
            assert_eq!(word(&judge(&Err(Error::lacks("PutLogEvents", "sense")))), "unknown");
            assert_eq!(word(&judge(&Ok(()))), "allowed");
        }
    }

    fn word(outcome: &Outcome) -> &'static str {
        match outcome {
            Outcome::Allowed(_) => "allowed",
            Outcome::Denied(_) => "denied",
            Outcome::Missing(_) => "missing",
            Outcome::Silent(_) => "silent",
            Outcome::Unknown(_) => "unknown",
        }
    }
}
