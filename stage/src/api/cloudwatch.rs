//! `CloudWatch`: `PutMetricData` over Smithy RPC v2 CBOR, gzip allowed, within `CloudWatch`'s documented limits.

use std::io::Read;

use bytes::Bytes;
use ciborium::Value as Cbor;
use flate2::read::GzDecoder;
use http::{Request, Response, StatusCode};
use serde_json::{Map, Number, Value, json};

use super::{Outcome, Refusal, xml};
use crate::server::reply;

/// Metrics per call, dimensions per datum, values per datum: "`PutMetricData`" in the API reference.
const METRICS: usize = 1000;
const DIMENSIONS: usize = 30;
const VALUES: usize = 150;
/// 1 MB after decompression.
const BODY: u64 = 1 << 20;
/// Timestamps from two weeks back to two hours ahead.
const BACK: f64 = 14.0 * 86_400.0;
const AHEAD: f64 = 2.0 * 3600.0;

/// Reads CBOR calls.
pub(super) struct Call;

impl Call {
    pub(super) fn parse(request: &Request<Bytes>) -> Result<super::Call, Refusal> {
        let action = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let serialization = || Refusal::new("SerializationException", "the request body is not readable");
        let zipped = request.headers().get("content-encoding").is_some_and(|encoding| encoding == "gzip");
        let mut body = Vec::new();
        let mut reader: Box<dyn Read> = if zipped {
            Box::new(GzDecoder::new(&request.body()[..]))
        } else {
            Box::new(&request.body()[..])
        };
        reader.by_ref().take(BODY + 1).read_to_end(&mut body).map_err(|_| serialization())?;
        if body.len() as u64 > BODY {
            return Err(Refusal::new("RequestEntityTooLarge", "the request is larger than 1 MB"));
        }
        let document: Cbor = ciborium::from_reader(&body[..]).map_err(|_| serialization())?;
        Ok(super::Call { action, parameters: to_json(&document) })
    }
}

/// The document as JSON; timestamps (tag 1) become numbers, what JSON cannot say becomes text.
fn to_json(value: &Cbor) -> Value {
    match value {
        Cbor::Text(text) => Value::from(text.as_str()),
        Cbor::Bool(flag) => Value::from(*flag),
        Cbor::Integer(integer) => i64::try_from(*integer).map_or(Value::Null, Value::from),
        Cbor::Float(float) => {
            Number::from_f64(*float).map_or_else(|| Value::from(float.to_string()), Value::Number)
        }
        Cbor::Array(items) => items.iter().map(to_json).collect(),
        Cbor::Map(entries) => entries
            .iter()
            .map(|(key, value)| (key.as_text().unwrap_or_default().to_owned(), to_json(value)))
            .collect::<Map<_, _>>()
            .into(),
        Cbor::Tag(_, inner) => to_json(inner),
        _ => Value::Null,
    }
}

pub(super) fn answer(action: &str, parameters: &Value) -> Outcome {
    if action != "PutMetricData" {
        return Err(Refusal::new("UnknownOperationException", format!("the stage does not play {action}")));
    }
    let namespace = parameters.get("Namespace").and_then(Value::as_str).unwrap_or_default();
    if namespace.is_empty() || namespace.starts_with("AWS/") {
        return Err(invalid("The value for parameter Namespace is invalid."));
    }
    let datums = parameters.get("MetricData").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if datums.is_empty() || datums.len() > METRICS {
        return Err(invalid(format!("The collection MetricData must have 1 to {METRICS} members.")));
    }
    let now = jiff::Timestamp::now().as_duration().as_secs_f64();
    datums.iter().try_for_each(|datum| check(datum, now))?;
    Ok(xml::Reply { namespace: "", fields: Vec::new() })
}

fn check(datum: &Value, now: f64) -> Result<(), Refusal> {
    let list = |name: &str| datum.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let number = |name: &str| datum.get(name).is_none_or(Value::is_number);
    if datum.get("MetricName").and_then(Value::as_str).is_none_or(str::is_empty) {
        return Err(invalid("The parameter MetricName is required."));
    }
    if list("Dimensions").len() > DIMENSIONS {
        return Err(invalid(format!("No more than {DIMENSIONS} dimensions are allowed.")));
    }
    if list("Values").len() > VALUES
        || (!list("Counts").is_empty() && list("Counts").len() != list("Values").len())
    {
        return Err(invalid(format!("Values and Counts must be of the same size, at most {VALUES}.")));
    }
    if !number("Value") || !list("Values").iter().all(Value::is_number) {
        return Err(invalid("The value is not a finite number."));
    }
    let forms =
        ["Value", "Values", "StatisticValues"].iter().filter(|form| datum.get(**form).is_some()).count();
    if forms != 1 {
        return Err(invalid("Exactly one of Value, Values and StatisticValues is required."));
    }
    match datum.get("Timestamp").and_then(Value::as_f64) {
        Some(at) if at < now - BACK || at > now + AHEAD => Err(invalid("The timestamp is out of range.")),
        _ => Ok(()),
    }
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new("InvalidParameterValueException", message)
}

pub(super) fn render(outcome: &Result<(), Refusal>) -> Response<Bytes> {
    let (status, document) = match outcome {
        Ok(()) => (StatusCode::OK, json!({})),
        Err(refusal) => (
            refusal.status,
            json!({"__type": format!("com.amazonaws.cloudwatch#{}", refusal.code), "message": refusal.message}),
        ),
    };
    let mut body = Vec::new();
    // Writing to memory does not fail.
    let _ = ciborium::into_writer(&document, &mut body);
    let mut response = reply(status, "application/cbor", body);
    response.headers_mut().insert("smithy-protocol", http::HeaderValue::from_static("rpc-v2-cbor"));
    // Smithy's awsQueryCompatible trait: the SDKs read the error's old name from here.
    let old_name = outcome.as_ref().err().map(|refusal| refusal.code.trim_end_matches("Exception"));
    if let Some(value) = old_name.and_then(|name| format!("{name};Sender").parse().ok()) {
        response.headers_mut().insert("x-amzn-query-error", value);
    }
    response
}
