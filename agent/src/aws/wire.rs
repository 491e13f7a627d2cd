//! One signed request through the SDK's own machinery, for services that no SDK crate is linked for.
//!
//! ```text
//!  request ─▶ credentials (the SDK's provider and cache) ─▶ SigV4 ─▶ the SDK's HTTP client ─▶ reply
//!     ▲                                                                              │
//!     └── three attempts, full jitter: throttled, 5xx, transport ◀───────────────────┘
//! ```
//!
//! Timeouts, retries and the correction of a wrong clock are those of every other call: there is one retry layer.

mod refusal;

pub(super) use refusal::Refusal;

use super::{Aws, Error, Service, endpoint};
use aws_config::SdkConfig;
use aws_runtime::auth::sigv4::{SCHEME_ID, SigV4AuthScheme};
use aws_runtime::auth::{SigV4OperationSigningConfig, SigningOptions};
use aws_runtime::retries::classifiers::AwsErrorCodeClassifier;
use aws_runtime::service_clock_skew::{ServiceClockSkewClassifier, ServiceClockSkewInterceptor};
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime::client::retries::classifiers::{HttpStatusCodeClassifier, TransientErrorClassifier};
use aws_smithy_runtime_api::client::auth::AuthSchemeOptionResolverParams;
use aws_smithy_runtime_api::client::auth::static_resolver::StaticAuthSchemeOptionResolver;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponentsBuilder;
use aws_smithy_runtime_api::client::runtime_plugin::StaticRuntimePlugin;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::Layer;
use aws_types::SigningName;
use aws_types::region::SigningRegion;
use bytes::Bytes;

/// Statuses that are worth another attempt whatever the body says: throttled by something in between, or failing.
const PASSING: &[u16] = &[429, 500, 502, 503, 504];

/// What is sent.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) method: &'static str,
    /// Begins with a slash, encoded.
    pub(super) path: String,
    /// The bucket that the path is in.
    pub(super) bucket: Option<String>,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
}

impl std::fmt::Debug for Request {
    /// Without the body.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Request").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A body that came back: it may be a secret, so it shows itself to nobody but its reader.
struct Reply(Bytes);

impl std::fmt::Debug for Reply {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Reply(…)")
    }
}

/// Sends `request` to `service` as the operation `call`; gives back the body of a 2xx.
pub(super) async fn send(
    aws: &Aws,
    service: &Service,
    call: &'static str,
    mut request: Request,
) -> Result<Bytes, Error> {
    let config = aws.config().await?;
    let mut url = endpoint::endpoint(config, service);
    if let Some(bucket) = &request.bucket {
        let folder;
        (url, folder) = endpoint::bucket(config, service, bucket);
        request.path.insert_str(0, &folder);
    }
    let mut operation = Operation::builder()
        .service_name(service.id)
        .operation_name(call)
        .endpoint_url(&url)
        .with_connection_poisoning()
        .interceptor(ServiceClockSkewInterceptor::new())
        .retry_classifier(TransientErrorClassifier::<Refusal>::new())
        .retry_classifier(HttpStatusCodeClassifier::new_from_codes(PASSING))
        .retry_classifier(AwsErrorCodeClassifier::<Refusal>::new())
        .retry_classifier(ServiceClockSkewClassifier::<Refusal>::new())
        .runtime_plugin(signing(config, service))
        .serializer(serialize)
        .deserializer(deserialize);
    if let Some(witness) = &aws.witness {
        operation = operation.interceptor(witness.clone());
    }
    if let Some(version) = config.behavior_version() {
        operation = operation.behavior_version(version);
    }
    if let Some(http) = config.http_client() {
        operation = operation.http_client(http);
    }
    if let Some(retries) = config.retry_config() {
        operation = operation.standard_retry(retries);
    }
    if let Some(bounds) = config.timeout_config() {
        operation = operation.timeout_config(bounds.clone());
    }
    let reply = operation.build().invoke(request).await.map_err(|error| Error::new(call, &error))?;
    Ok(reply.0)
}

/// The signature: by the credentials that the SDK's clients use, from the cache that they share.
fn signing(config: &SdkConfig, service: &Service) -> StaticRuntimePlugin {
    let mut options = SigningOptions::default();
    // S3 alone signs the path as it is sent, and demands the body's digest in a header.
    options.double_uri_encode = service.name != "s3";
    options.normalize_uri_path = service.name != "s3";
    options.content_sha256_header = service.name == "s3";
    let mut layer = Layer::new("signing");
    layer.store_put(AuthSchemeOptionResolverParams::new(()));
    layer.store_put(SigV4OperationSigningConfig {
        region: config.region().cloned().map(SigningRegion::from),
        name: Some(SigningName::from_static(service.name)),
        signing_options: options,
        ..SigV4OperationSigningConfig::default()
    });
    let mut components = RuntimeComponentsBuilder::new("signing")
        .with_auth_scheme(SigV4AuthScheme::new())
        .with_auth_scheme_option_resolver(Some(StaticAuthSchemeOptionResolver::new(vec![SCHEME_ID])));
    if let Some(provider) = config.credentials_provider() {
        components = components.with_identity_resolver(SCHEME_ID, provider);
    }
    if let Some(cache) = config.identity_cache() {
        components = components.with_identity_cache(Some(cache));
    }
    StaticRuntimePlugin::new().with_config(layer.freeze()).with_runtime_components(components)
}

fn serialize(request: Request) -> Result<HttpRequest, aws_smithy_runtime_api::box_error::BoxError> {
    let mut http = HttpRequest::new(SdkBody::from(request.body));
    http.set_method(request.method)?;
    http.set_uri(request.path)?;
    http.headers_mut().insert("user-agent", concat!("kiln-agent/", env!("CARGO_PKG_VERSION")));
    for (name, value) in request.headers {
        http.headers_mut().try_insert(name, value)?;
    }
    Ok(http)
}

fn deserialize(response: &HttpResponse) -> Result<Reply, OrchestratorError<Refusal>> {
    let body = response.body().bytes().unwrap_or_default();
    if response.status().is_success() {
        return Ok(Reply(Bytes::copy_from_slice(body)));
    }
    let header = response.headers().get("x-amzn-errortype");
    Err(OrchestratorError::operation(Refusal::read(response.status().as_u16(), header, body)))
}
