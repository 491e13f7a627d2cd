//! The AWS SDK's clients, built when the first call is due: an instance in steady state makes none but metrics.
//!
//! One retry layer, the SDK's: three attempts with jitter, each within [`ATTEMPT_BOUND`]. What waits longer than that
//! (a hook, a drain) asks again itself, by reading the state.

mod calls;
mod endpoint;
mod http;
mod json;
mod s3;
mod whole;
mod wire;

use crate::board::Board;
use crate::imds::{self, Imds};
use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_smithy_runtime_api::client::interceptors::SharedInterceptor;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use calls::Witness;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::OnceCell;

/// Bounds one attempt: an API that has not answered by then has lost the request.
const ATTEMPT_BOUND: Duration = Duration::from_secs(5);
/// Bounds one call with its retries, so that a drain sees its deadline in time.
const CALL_BOUND: Duration = Duration::from_secs(15);
/// Bounds the wait for the region from the metadata service; the caller comes again.
const REGION_BOUND: Duration = Duration::from_secs(5);

/// A service that is called without an SDK crate of its own: see [`Aws::json`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    /// AWS' id of it, which `AWS_ENDPOINT_URL_<ID>` is made of.
    id: &'static str,
    /// The beginning of its address; its name in a signature.
    name: &'static str,
    /// What `x-amz-target` begins with.
    target: &'static str,
}

/// Systems Manager: Parameter Store.
pub const SSM: Service = Service { id: "SSM", name: "ssm", target: "AmazonSSM" };
/// Secrets Manager.
pub const SECRETS_MANAGER: Service =
    Service { id: "Secrets Manager", name: "secretsmanager", target: "secretsmanager" };
/// `CloudWatch` Logs.
pub const LOGS: Service = Service { id: "CloudWatch Logs", name: "logs", target: "Logs_20140328" };

/// The clients.
pub struct Aws {
    imds: Arc<Imds>,
    config: OnceCell<SdkConfig>,
    http: OnceLock<http::Http>,
    witness: Option<Witness>,
}

impl std::fmt::Debug for Aws {
    /// Without the SDK's configuration, which holds the credentials.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Aws").finish_non_exhaustive()
    }
}

/// Why a call failed, as far as anyone decides by it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The service refused; `code` is its own word.
    #[error("failed to call {call}: {code}: {message}")]
    Refused {
        /// The operation.
        call: &'static str,
        /// The service's error code.
        code: String,
        /// The service's message.
        message: String,
    },
    /// No answer, or no credentials.
    #[error("failed to call {call}: {reason}")]
    Unreachable {
        /// The operation.
        call: &'static str,
        /// What the SDK says.
        reason: String,
    },
    /// An answer that is not what was asked for.
    #[error("failed to call {call}: {reason}")]
    Garbled {
        /// The operation.
        call: &'static str,
        /// What is wrong with it, without a word of what it says.
        reason: String,
    },
    /// The region or the instance is unknown as yet.
    #[error(transparent)]
    Imds(#[from] imds::Error),
}

impl Error {
    /// Sorts an SDK error.
    pub fn new<E>(call: &'static str, error: &E) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error,
    {
        match error.code() {
            Some(code) => Self::Refused {
                call,
                code: code.to_owned(),
                message: error.message().unwrap_or_default().to_owned(),
            },
            None => Self::Unreachable { call, reason: chain(error) },
        }
    }

    /// An answer without what it must hold: nothing is decided by it.
    pub fn lacks(call: &'static str, what: &str) -> Self {
        Self::Garbled { call, reason: format!("the answer lacks {what}") }
    }

    /// The cause in one word, for those that tell each cause once.
    pub fn cause(&self) -> &str {
        match self {
            Self::Refused { code, .. } => code,
            Self::Unreachable { .. } => "unreachable",
            Self::Garbled { .. } => "garbled",
            Self::Imds(_) => "metadata",
        }
    }

    /// Whether IAM says no.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code.starts_with("AccessDenied") || code.starts_with("Unauthorized"))
    }

    /// Whether nobody answered: a network that is down, a service that hangs, no credentials.
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Imds(_))
    }

    /// Whether the service answered with this code.
    pub fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Refused { code, .. } if code == wanted)
    }

    /// Whether the service found the request itself wrong, so that sending it again is no use.
    pub fn is_invalid(&self) -> bool {
        matches!(self, Self::Refused { code, .. }
            if code.starts_with("Invalid") || code.starts_with("Missing") || code == "ValidationError")
    }
}

impl Aws {
    /// Clients for the region and credentials of this instance.
    pub fn new(imds: Arc<Imds>) -> Self {
        Self { imds, config: OnceCell::new(), http: OnceLock::new(), witness: None }
    }

    /// Clients with a given configuration.
    pub fn with_config(imds: Arc<Imds>, config: SdkConfig) -> Self {
        Self { config: OnceCell::new_with(Some(config)), ..Self::new(imds) }
    }

    /// Reads the host's root certificates now: tens of milliseconds that would lie between the first notice and its effect.
    pub fn prepare(&self) {
        self.http.get_or_init(http::Http::new);
    }

    /// Clients whose calls are counted and told on `board`.
    #[must_use]
    pub fn watched_by(self, board: Board) -> Self {
        Self { witness: Some(Witness(board)), ..self }
    }

    /// EC2 Auto Scaling.
    pub async fn autoscaling(&self) -> Result<aws_sdk_autoscaling::Client, imds::Error> {
        let mut config = aws_sdk_autoscaling::config::Builder::from(self.config().await?);
        config.set_interceptors(self.interceptors());
        config.push_interceptor(SharedInterceptor::new(whole::Whole));
        Ok(aws_sdk_autoscaling::Client::from_conf(config.build()))
    }

    /// Elastic Load Balancing, version 2.
    pub async fn elbv2(&self) -> Result<aws_sdk_elasticloadbalancingv2::Client, imds::Error> {
        let mut config = aws_sdk_elasticloadbalancingv2::config::Builder::from(self.config().await?);
        config.set_interceptors(self.interceptors());
        config.push_interceptor(SharedInterceptor::new(whole::Whole));
        Ok(aws_sdk_elasticloadbalancingv2::Client::from_conf(config.build()))
    }

    /// `CloudWatch`.
    pub async fn cloudwatch(&self) -> Result<aws_sdk_cloudwatch::Client, imds::Error> {
        let mut config = aws_sdk_cloudwatch::config::Builder::from(self.config().await?);
        config.set_interceptors(self.interceptors());
        Ok(aws_sdk_cloudwatch::Client::from_conf(config.build()))
    }

    /// What sees every call; on the client, where each call of it passes.
    fn interceptors(&self) -> Vec<SharedInterceptor> {
        self.witness.iter().cloned().map(SharedInterceptor::new).collect()
    }

    async fn config(&self) -> Result<&SdkConfig, imds::Error> {
        self.config
            .get_or_try_init(|| async {
                let region = match region_of_environment() {
                    Some(region) => region,
                    None => self.imds.get_patiently("placement/region", REGION_BOUND).await?,
                };
                Ok(load(region, self.http.get_or_init(http::Http::new).clone()).await)
            })
            .await
    }
}

/// The error and what caused it, as messages only: the SDK's own rendering shows whole responses, tokens included,
/// and with their dates no two are alike.
fn chain(error: &dyn std::error::Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        // Wrappers often repeat what they wrap.
        if texts.last().is_none_or(|last| !last.ends_with(&text)) {
            texts.push(text);
        }
        next = error.source();
    }
    texts.join(": ")
}

/// The region that the SDK's own variables name, which wins over the instance's.
pub(crate) fn region_of_environment() -> Option<String> {
    ["AWS_REGION", "AWS_DEFAULT_REGION"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|region| !region.is_empty()))
}

async fn load(region: String, http: http::Http) -> SdkConfig {
    let bounds = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(3))
        .operation_attempt_timeout(ATTEMPT_BOUND)
        .operation_timeout(CALL_BOUND)
        .build();
    aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(Region::new(region))
        .http_client(http)
        .retry_config(RetryConfig::standard().with_max_attempts(3))
        .timeout_config(bounds)
        .load()
        .await
}
