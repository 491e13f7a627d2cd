//! The SDK without sockets: its requests are answered by a function, on whatever clock the test runs on.

use crate::aws::Aws;
use crate::board::Board;
use crate::config::Selector;
use crate::group::Group;
use crate::imds::Imds;
use aws_config::timeout::TimeoutConfig;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A status and a body, or a connection that breaks.
pub(crate) type Reply = Option<(u16, Vec<u8>)>;

struct Memory<F>(Arc<F>);

impl<F> fmt::Debug for Memory<F> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Memory")
    }
}

impl<F, Answer> HttpConnector for Memory<F>
where
    F: Fn(String) -> Answer + Send + Sync,
    Answer: Future<Output = Reply> + Send + 'static,
{
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = String::from_utf8_lossy(request.body().bytes().unwrap_or_default()).into_owned();
        let answer = (self.0)(body);
        HttpConnectorFuture::new(async move {
            match answer.await {
                Some((status, body)) => {
                    let status = status.try_into().expect("tests answer with valid statuses");
                    Ok(HttpResponse::new(status, SdkBody::from(body)))
                }
                None => Err(ConnectorError::io("connection reset".into())),
            }
        })
    }
}

/// The SDK's configuration with an attempt's bound as the agent has it and no retries: the agent's own are what is tested.
pub(crate) fn in_memory<F, Answer>(answer: F) -> aws_config::SdkConfig
where
    F: Fn(String) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = Reply> + Send + 'static,
{
    let answer = Arc::new(answer);
    let client = http_client_fn(move |_, _| SharedHttpConnector::new(Memory(answer.clone())));
    let bounds = TimeoutConfig::builder().operation_attempt_timeout(Duration::from_secs(5)).build();
    super::sdk("http://aws.invalid").into_builder().http_client(client).timeout_config(bounds).build()
}

/// A group whose clients are configured so, with an instance that is known to be i-0abc at 10.0.0.7.
pub(crate) fn known_group(config: aws_config::SdkConfig, board: &Board) -> Arc<Group> {
    // Nothing listens there, and nothing is asked: what an instance is asked for is known.
    let imds = Arc::new(Imds::new("http://127.0.0.1:9").expect("a valid address"));
    let aws = Arc::new(Aws::with_config(imds.clone(), config));
    let group = Group::new(aws, imds, Selector::Named("web".to_owned()), board.clone());
    group.instance_id.set("i-0abc".to_owned()).expect("it is new");
    group.addresses.set(vec!["10.0.0.7".to_owned()]).expect("it is new");
    Arc::new(group)
}
