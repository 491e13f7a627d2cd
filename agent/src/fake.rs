//! For tests: a server on loopback that answers by a function and remembers what it was asked.

mod memory;

pub(crate) use memory::{Reply, in_memory, known_group};

use crate::aws::Aws;
use crate::board::Board;
use crate::clock::Moment;
use crate::config::Selector;
use crate::group::Group;
use crate::imds::Imds;
use crate::lifecycle::{Lifecycle, Policy};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

/// One request as it came in.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) token: Option<String>,
    pub(crate) body: String,
    pub(crate) headers: hyper::HeaderMap,
}

impl Asked {
    /// A header's text; empty when it was not sent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// A running server; it ends with the test's runtime.
pub(crate) struct Fake {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    /// Serves answers of `reply`: a status and a body, by the request and its number from 0.
    pub(crate) async fn start<Body: Into<Bytes> + Send + 'static>(
        reply: impl Fn(&Asked, usize) -> (u16, Body) + Send + Sync + 'static,
    ) -> Self {
        Self::start_at("127.0.0.1:0", reply).await
    }

    /// The same at an address of the caller's choice.
    pub(crate) async fn start_at<Body: Into<Bytes> + Send + 'static>(
        address: &str,
        reply: impl Fn(&Asked, usize) -> (u16, Body) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.expect("loopback has a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, reply) = (asked.clone(), Arc::new(reply));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, reply) = (log.clone(), reply.clone());
                let service = service_fn(move |request| answer(request, log.clone(), reply.clone()));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Self { url, asked }
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no test panics with the log held").clone()
    }
}

async fn answer<Body: Into<Bytes>>(
    request: Request<Incoming>,
    log: Arc<Mutex<Vec<Asked>>>,
    reply: Arc<impl Fn(&Asked, usize) -> (u16, Body)>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let asked = Asked {
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        token: header("x-aws-ec2-metadata-token"),
        body: String::new(),
        headers: request.headers().clone(),
    };
    let body = request.into_body().collect().await.expect("tests send whole bodies").to_bytes();
    let asked = Asked { body: String::from_utf8_lossy(&body).into_owned(), ..asked };
    let number = {
        let mut log = log.lock().expect("no test panics with the log held");
        log.push(asked.clone());
        log.len() - 1
    };
    let (status, body) = reply(&asked, number);
    // Only CloudWatch's protocol asks for it; the others do not mind.
    let response = Response::builder().status(status).header("smithy-protocol", "rpc-v2-cbor");
    Ok(response.body(Full::new(body.into())).expect("a plain response"))
}

/// An answer of a metadata service that has these items under `/latest/`.
pub(crate) fn metadata(asked: &Asked, items: &[(&str, &str)]) -> (u16, String) {
    if asked.method == "PUT" {
        return (200, "a-token".to_owned());
    }
    if asked.token.as_deref() != Some("a-token") {
        return (401, String::new());
    }
    let item = asked.path.trim_start_matches("/latest/");
    match items.iter().find(|(name, _)| *name == item) {
        Some((_, value)) => (200, (*value).to_owned()),
        None => (404, "<html>404 - Not Found</html>".to_owned()),
    }
}

/// The SDK's configuration for services at `url`.
pub(crate) fn sdk(url: &str) -> aws_config::SdkConfig {
    use aws_config::{BehaviorVersion, Region, retry::RetryConfig};
    use aws_sdk_autoscaling::config::{Credentials, SharedCredentialsProvider};
    aws_config::SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("eu-central-1"))
        .endpoint_url(url)
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("a", "b", None, None, "test")))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        // So that a test can read what was sent, and counts what the agent itself asks.
        .disable_request_compression(true)
        .retry_config(RetryConfig::disabled())
        .build()
}

/// The operation that a query-protocol body asks for.
pub(crate) fn action(body: &str) -> &str {
    body.strip_prefix("Action=").and_then(|rest| rest.split('&').next()).unwrap_or_default()
}

/// A query-protocol answer.
pub(crate) fn result(action: &str, inner: &str) -> String {
    format!("<{action}Response><{action}Result>{inner}</{action}Result></{action}Response>")
}

/// A query-protocol error.
pub(crate) fn refusal(code: &str) -> String {
    format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>so it is</Message></Error></ErrorResponse>"
    )
}

/// What `DescribeAutoScalingInstances` says of i-0abc, which is in the group `web`.
pub(crate) fn member(state: &str) -> String {
    let fields = [("InstanceId", "i-0abc"), ("AutoScalingGroupName", "web"), ("LifecycleState", state)];
    let fields: Vec<_> = fields.iter().map(|(name, value)| format!("<{name}>{value}</{name}>")).collect();
    let list = format!("<AutoScalingInstances><member>{}</member></AutoScalingInstances>", fields.concat());
    result("DescribeAutoScalingInstances", &list)
}

/// A group whose clients ask the fake.
pub(crate) fn group(fake: &Fake, board: &Board) -> Arc<Group> {
    let imds = Arc::new(Imds::new(&fake.url).expect("the fake has a valid address"));
    let aws = Arc::new(Aws::with_config(imds.clone(), sdk(&fake.url)));
    Arc::new(Group::new(aws, imds, Selector::Auto, board.clone()))
}

/// A board of a life that has just begun.
pub(crate) fn board() -> Board {
    Board::new(&Lifecycle::new(Policy::default(), Moment::default()))
}
