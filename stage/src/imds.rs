//! `IMDSv2` as an instance sees it: tokens, and the instance's own data by its address.

mod tree;

use std::collections::HashMap;
use std::future::pending;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::cloud::{ACCOUNT, Cloud, IMAGE, INSTANCE_TYPE, Member, REGION, ZONE};
use crate::faults::{Asked, Fault};
use crate::record::Request as Logged;
use crate::server::{Endpoint, reply};

pub(crate) const ACCESS_KEY: &str = "ASIAKILNREHEARSAL000";
pub(crate) const ROLE: &str = "kiln-rehearsal";
/// IMDS's limits for `X-aws-ec2-metadata-token-ttl-seconds`.
const TTL: std::ops::RangeInclusive<u64> = 1..=21_600;

/// The endpoint at 169.254.169.254.
pub(crate) struct Imds {
    cloud: Arc<Cloud>,
    tokens: Mutex<HashMap<String, (Ipv4Addr, Instant)>>,
}

impl Imds {
    pub(crate) fn new(cloud: Arc<Cloud>) -> Self {
        Self { cloud, tokens: Mutex::default() }
    }

    fn respond(&self, peer: Ipv4Addr, request: &Request<Bytes>) -> (StatusCode, Bytes) {
        let path = request.uri().path();
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        if path == "/latest/api/token" {
            return match (
                request.method(),
                header("x-forwarded-for"),
                header("x-aws-ec2-metadata-token-ttl-seconds"),
            ) {
                (&Method::PUT, Some(_), _) => (StatusCode::FORBIDDEN, Bytes::new()),
                (&Method::PUT, None, ttl) => {
                    match ttl.and_then(|ttl| ttl.parse().ok()).filter(|ttl| TTL.contains(ttl)) {
                        Some(ttl) => (StatusCode::OK, self.token(peer, Duration::from_secs(ttl)).into()),
                        None => (StatusCode::BAD_REQUEST, Bytes::new()),
                    }
                }
                _ => (StatusCode::METHOD_NOT_ALLOWED, Bytes::new()),
            };
        }
        match (request.method(), tree::versioned(path)) {
            // A token path of another version is forbidden, too.
            (&Method::PUT, _) => (StatusCode::FORBIDDEN, Bytes::new()),
            (&Method::GET, _) if !self.knows(peer, header("x-aws-ec2-metadata-token")) => {
                (StatusCode::UNAUTHORIZED, Bytes::new())
            }
            (&Method::GET, Some(item)) => {
                let inner = self.cloud.lock();
                match inner.at(peer).and_then(|(id, member)| found(id, member, item)) {
                    Some(value) => (StatusCode::OK, value),
                    None => (StatusCode::NOT_FOUND, Bytes::new()),
                }
            }
            (&Method::GET, None) => (StatusCode::NOT_FOUND, Bytes::new()),
            _ => (StatusCode::METHOD_NOT_ALLOWED, Bytes::new()),
        }
    }

    fn token(&self, peer: Ipv4Addr, ttl: Duration) -> String {
        let token = format!("AQAE{:032x}==", rand::random::<u128>());
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.insert(token.clone(), (peer, Instant::now() + ttl));
        token
    }

    /// Whether the token was given to this very instance and is still good.
    fn knows(&self, peer: Ipv4Addr, token: Option<&str>) -> bool {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        token
            .and_then(|token| tokens.get(token))
            .is_some_and(|(owner, end)| *owner == peer && Instant::now() < *end)
    }
}

impl Endpoint for Imds {
    async fn answer(&self, peer: Ipv4Addr, request: Request<Bytes>) -> Option<Response<Bytes>> {
        let path = request.uri().path();
        let fault = self.cloud.strikes(Asked::Item(tree::versioned(path).unwrap_or(path)));
        if let Some(Fault::Delayed(by)) = fault {
            tokio::time::sleep(by).await;
        }
        let (status, body) = match fault {
            Some(Fault::Throttled) => (StatusCode::SERVICE_UNAVAILABLE, Bytes::new()),
            Some(Fault::Denied) => (StatusCode::FORBIDDEN, Bytes::new()),
            Some(Fault::ServerError | Fault::Unanswered | Fault::Closed) => {
                (StatusCode::INTERNAL_SERVER_ERROR, Bytes::new())
            }
            _ => self.respond(peer, &request),
        };
        let (instance, state) = {
            let inner = self.cloud.lock();
            inner
                .at(peer)
                .map(|(id, member)| (id.clone(), member.lifecycle.state().name().to_owned()))
                .unzip()
        };
        self.cloud.record.add(Logged {
            at: self.cloud.at(),
            service: "imds".to_owned(),
            action: format!("{} {}", request.method(), request.uri().path()),
            instance,
            state,
            parameters: Value::Null,
            status: if matches!(fault, Some(Fault::Unanswered | Fault::Closed)) {
                0
            } else {
                status.as_u16()
            },
            error: if status.is_success() { String::new() } else { status.to_string() },
            notes: fault.map(|fault| ("fault".to_owned(), Value::from(fault.name()))).into_iter().collect(),
        });
        match fault {
            Some(Fault::Closed | Fault::ReplyLost) => return None,
            Some(Fault::Unanswered) => pending().await,
            _ => {}
        }
        let mut response = reply(status, "text/plain", body);
        // The token's answer repeats its lifetime; clients count from it.
        if let Some(ttl) = request.headers().get("x-aws-ec2-metadata-token-ttl-seconds") {
            response.headers_mut().insert("x-aws-ec2-metadata-token-ttl-seconds", ttl.clone());
        }
        Some(response)
    }
}

/// An item or, where there is none of that name, the names in that folder; `None` is a 404.
fn found(id: &str, member: &Member, path: &str) -> Option<Bytes> {
    let names = || tree::listing(member, path, |item| item_of(id, member, item).is_some());
    item_of(id, member, path).or_else(|| names().map(Bytes::from))
}

/// One item of an instance's data.
fn item_of(id: &str, member: &Member, item: &str) -> Option<Bytes> {
    let host = format!("ip-{}.ec2.internal", member.address.to_string().replace('.', "-"));
    let text = match item.trim_end_matches('/') {
        "user-data" => return member.user_data.clone().map(Bytes::from),
        "dynamic/instance-identity/document" => identity(id, member).to_string(),
        "meta-data/instance-id" => id.to_owned(),
        "meta-data/ami-id" => IMAGE.to_owned(),
        "meta-data/instance-type" => INSTANCE_TYPE.to_owned(),
        "meta-data/instance-life-cycle" => if member.spot { "spot" } else { "on-demand" }.to_owned(),
        "meta-data/local-ipv4" => member.address.to_string(),
        "meta-data/hostname" | "meta-data/local-hostname" => host,
        "meta-data/mac" => crate::network::mac_of(member.address),
        "meta-data/placement/region" => REGION.to_owned(),
        "meta-data/placement/availability-zone" => ZONE.to_owned(),
        "meta-data/services/domain" => "amazonaws.com".to_owned(),
        "meta-data/services/partition" => "aws".to_owned(),
        "meta-data/autoscaling/target-lifecycle-state" => member.lifecycle.target()?.to_owned(),
        "meta-data/iam/info" => profile().to_string(),
        "meta-data/iam/security-credentials" => ROLE.to_owned(),
        "meta-data/iam/security-credentials/kiln-rehearsal" => credentials().to_string(),
        "meta-data/spot/instance-action" => {
            let (action, time) = member.interruption.as_ref()?;
            json!({ "action": action, "time": rfc3339(*time) }).to_string()
        }
        "meta-data/events/recommendations/rebalance" => {
            json!({ "noticeTime": rfc3339(member.rebalance?) }).to_string()
        }
        // Tags are off, as they are by default: `tags/instance` is absent.
        other => tree::card(member, other)?,
    };
    Some(text.into())
}

/// As IMDS writes times.
fn rfc3339(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The instance profile, named like the role in it, as the console makes them.
fn profile() -> Value {
    json!({
        "Code": "Success",
        "LastUpdated": rfc3339(jiff::Timestamp::now()),
        "InstanceProfileArn": format!("arn:aws:iam::{ACCOUNT}:instance-profile/{ROLE}"),
        "InstanceProfileId": "AIPAKILNREHEARSAL000",
    })
}

fn credentials() -> Value {
    let now = jiff::Timestamp::now();
    json!({
        "Code": "Success",
        "LastUpdated": rfc3339(now),
        "Type": "AWS-HMAC",
        "AccessKeyId": ACCESS_KEY,
        "SecretAccessKey": "rehearsal",
        "Token": "rehearsal",
        "Expiration": rfc3339(now + Duration::from_hours(6)),
    })
}

fn identity(id: &str, member: &Member) -> Value {
    json!({
        "accountId": ACCOUNT,
        "architecture": "x86_64",
        "availabilityZone": ZONE,
        "imageId": IMAGE,
        "instanceId": id,
        "instanceType": INSTANCE_TYPE,
        "privateIp": member.address.to_string(),
        "region": REGION,
        "version": "2017-09-30",
    })
}

#[cfg(test)]
mod tests;
