//! The AWS endpoint: Auto Scaling, Elastic Load Balancing and `CloudWatch` for the calls that an agent makes.
//!
//! Every call is recorded with the instance's state at that moment. Signatures are not checked, keys are.

mod xml;
mod autoscaling;
mod elb;
mod cloudwatch;

use std::collections::BTreeMap;
use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde_json::Value;

use crate::cloud::{ACCOUNT, Cloud};
use crate::faults::{Asked, Fault};
use crate::imds::{ACCESS_KEY, ROLE};
use crate::record::Request as Logged;
use crate::rehearsal::Who;
use crate::server::{Endpoint, reply, status_of};

/// How long the stage itself asks `/healthz` while an instance completes a hook; the agent waits five seconds for that
/// call's answer.
const HEALTHZ_BOUND: Duration = Duration::from_secs(3);

/// An error reply, as AWS words it.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code, message: message.into() }
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new("ValidationError", message)
    }

    fn throttled(cbor: bool) -> Self {
        Self::new(if cbor { "ThrottlingException" } else { "Throttling" }, "Rate exceeded")
    }

    /// IAM's refusal, in the words that name who may not do what; not every service adds the resource.
    fn denied(service: &str, action: &str, instance: &str, cbor: bool) -> Self {
        let prefix = if service == "monitoring" { "cloudwatch" } else { service };
        let message = format!(
            "User: arn:aws:sts::{ACCOUNT}:assumed-role/{ROLE}/{instance} is not authorized to perform: {prefix}:{action} \
             because no identity-based policy allows the {prefix}:{action} action"
        );
        let code = if cbor { "AccessDeniedException" } else { "AccessDenied" };
        Self { status: StatusCode::FORBIDDEN, code, message }
    }

    fn server_error() -> Self {
        let message = "The request processing has failed because of an unknown error".to_owned();
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, code: "InternalFailure", message }
    }

    fn unknown_action(action: &str, version: &str) -> Self {
        Self::new("InvalidAction", format!("Could not find operation {action} for version {version}"))
    }
}

/// The endpoint at 169.254.169.250.
pub(crate) struct Api {
    cloud: Arc<Cloud>,
    /// Port of the instance's web server.
    web: u16,
}

impl Api {
    pub(crate) fn new(cloud: Arc<Cloud>, web: u16) -> Self {
        Self { cloud, web }
    }

    /// What the stage looks at in the very moment of a call.
    async fn notes(&self, action: &str, peer: Ipv4Addr) -> BTreeMap<String, Value> {
        let mut notes = BTreeMap::new();
        if action == "CompleteLifecycleAction" {
            let healthz = status_of(SocketAddr::from((peer, self.web)), "/healthz", HEALTHZ_BOUND).await;
            notes.insert("healthz".to_owned(), healthz.map_or(Value::Null, Value::from));
        }
        notes
    }

    /// Does what is asked, unless a fault forbids it, and writes it down.
    fn perform(
        &self,
        peer: Ipv4Addr,
        service: Option<(String, String)>,
        Call { action, parameters }: &Call,
        fault: Option<Fault>,
        notes: BTreeMap<String, Value>,
        cbor: bool,
    ) -> Outcome {
        let caller = {
            let inner = self.cloud.lock();
            inner.at(peer).map(|(id, member)| (id.clone(), member.lifecycle.state().name()))
        };
        let at = self.cloud.at();
        if let Some(line) = headline(action, parameters) {
            self.cloud.tell(Who::Agent, line);
        }
        let mut log = self.cloud.record.writer();
        let outcome = match &service {
            _ if fault == Some(Fault::Throttled) => Err(Refusal::throttled(cbor)),
            _ if matches!(fault, Some(Fault::ServerError | Fault::Unanswered | Fault::Closed)) => {
                Err(Refusal::server_error())
            }
            None => Err(Refusal {
                status: StatusCode::FORBIDDEN,
                code: if cbor { "MissingAuthenticationTokenException" } else { "MissingAuthenticationToken" },
                message: "Request is missing Authentication Token".to_owned(),
            }),
            Some((key, _)) if key != ACCESS_KEY => Err(Refusal {
                status: StatusCode::FORBIDDEN,
                code: "InvalidClientTokenId",
                message: "The security token included in the request is invalid.".to_owned(),
            }),
            Some((_, service)) if fault == Some(Fault::Denied) => {
                let id = caller.as_ref().map_or("unknown", |(id, _)| id.as_str());
                Err(Refusal::denied(service, action, id, cbor))
            }
            Some((_, service)) => match service.as_str() {
                "autoscaling" => autoscaling::answer(&self.cloud, action, parameters),
                "elasticloadbalancing" => elb::answer(&self.cloud, action, parameters),
                "monitoring" => cloudwatch::answer(action, parameters),
                other => Err(Refusal::new("UnknownService", format!("the stage does not play {other}"))),
            },
        };
        let service = service.map_or_else(|| "unsigned".to_owned(), |(_, service)| service);
        let (status, error) = match (&outcome, fault) {
            // Zero: nobody was told.
            (_, Some(Fault::Unanswered | Fault::Closed)) => (0, String::new()),
            (Ok(_), _) => (200, String::new()),
            (Err(refusal), _) => (refusal.status.as_u16(), format!("{}: {}", refusal.code, refusal.message)),
        };
        if !error.is_empty() {
            self.cloud.tell(Who::Stage, format!("refused {action}: {error}"));
        }
        let (instance, state) = caller.map(|(id, state)| (id, state.to_owned())).unzip();
        let (action, parameters) = (action.clone(), parameters.clone());
        log.push(Logged { at, service, action, instance, state, parameters, status, error, notes });
        outcome
    }
}

impl Endpoint for Api {
    async fn answer(&self, peer: Ipv4Addr, request: Request<Bytes>) -> Option<Response<Bytes>> {
        let service = signed_service(&request);
        let id = format!("{:08x}-0000-4000-8000-{:012x}", rand::random::<u32>(), rand::random::<u32>());
        let cbor = request.headers().get("smithy-protocol").is_some_and(|value| value == "rpc-v2-cbor");
        let call = if cbor { cloudwatch::Call::parse(&request) } else { xml::parse(&request) };
        let (action, parameters) = match call {
            Ok(call) => (call.action, call.parameters),
            Err(refusal) => return Some(render(cbor, "", &id, Err(refusal))),
        };
        let fault = self.cloud.strikes(Asked::Call(&action));
        if let Some(Fault::Delayed(by)) = fault {
            tokio::time::sleep(by).await;
        }
        let mut notes = self.notes(&action, peer).await;
        notes.extend(fault.map(|fault| ("fault".to_owned(), Value::from(fault.name()))));
        let outcome =
            self.perform(peer, service, &Call { action: action.clone(), parameters }, fault, notes, cbor);
        match fault {
            Some(Fault::Closed | Fault::ReplyLost) => None,
            Some(Fault::Unanswered) => pending().await,
            _ => Some(render(cbor, &action, &id, outcome)),
        }
    }
}

/// The line of the timeline for calls that change or report something; reads stay in the request log.
fn headline(action: &str, parameters: &Value) -> Option<String> {
    let get = |name: &str| parameters.get(name).and_then(Value::as_str).unwrap_or("-");
    let done = match action {
        "CompleteLifecycleAction" => {
            format!("completes hook {} with {}", get("LifecycleHookName"), get("LifecycleActionResult"))
        }
        "RecordLifecycleActionHeartbeat" => format!("heartbeat for hook {}", get("LifecycleHookName")),
        "DeregisterTargets" | "RegisterTargets" => {
            format!("{action} {}:{}", get("Targets.member.1.Id"), get("Targets.member.1.Port"))
        }
        "PutMetricData" => {
            let datums = parameters.get("MetricData").and_then(Value::as_array).map_or(0, Vec::len);
            format!("PutMetricData {}: {datums} datum(s)", get("Namespace"))
        }
        _ => return None,
    };
    Some(done)
}

/// Access key and service name, from the signature's credential scope.
fn signed_service(request: &Request<Bytes>) -> Option<(String, String)> {
    let header = request.headers().get("authorization")?.to_str().ok()?;
    let scope = header.strip_prefix("AWS4-HMAC-SHA256 ")?.split("Credential=").nth(1)?.split(',').next()?;
    let mut parts = scope.trim().split('/');
    Some((parts.next()?.to_owned(), parts.nth(2)?.to_owned()))
}

/// What a call answers: an XML result for the query protocol, nothing for the one CBOR call.
type Outcome = Result<xml::Reply, Refusal>;

fn render(cbor: bool, action: &str, id: &str, outcome: Outcome) -> Response<Bytes> {
    let mut response = match (cbor, outcome) {
        (true, outcome) => cloudwatch::render(&outcome.map(drop)),
        (false, Ok(result)) => reply(StatusCode::OK, "text/xml", result.render(action, id)),
        (false, Err(refusal)) => {
            reply(refusal.status, "text/xml", xml::error(refusal.code, &refusal.message, id))
        }
    };
    if let Ok(id) = id.parse() {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    response
}

/// A call of either protocol.
pub(crate) struct Call {
    action: String,
    parameters: Value,
}

/// The parameter, or AWS's words for its absence.
fn required<'a>(parameters: &'a Value, name: &str) -> Result<&'a str, Refusal> {
    let missing = || {
        let message = format!(
            "1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null"
        );
        Refusal::invalid(message)
    };
    parameters.get(name).and_then(Value::as_str).ok_or_else(missing)
}

/// The values of `Prefix.member.1`, `.2` …
fn members<'a>(parameters: &'a Value, prefix: &str) -> Vec<&'a str> {
    (1..).map_while(|n| parameters.get(format!("{prefix}.member.{n}")).and_then(Value::as_str)).collect()
}

#[cfg(test)]
mod tests;
