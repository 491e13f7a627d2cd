//! Objects in S3 by presigned URLs: for this machine, and for an instance that has no credentials of its own.
//!
//! Three calls are no reason to compile the SDK of S3: its signature and its HTTP client are there already.

use std::time::{Duration, SystemTime};

use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation,
    SigningSettings, UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime::client::retries::classifiers::{HttpStatusCodeClassifier, TransientErrorClassifier};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::service_config::ServiceConfigKey;
use bytes::Bytes;

use crate::call::{CallError, Kind};
use crate::clients::Clients;
use crate::error::Error;

/// Statuses that are worth another attempt.
const PASSING: &[u16] = &[429, 500, 502, 503, 504];
/// For a bundle of some hundred MiB over a slow line; the SDK counts the sending, too.
const PUT_BOUND: Duration = Duration::from_mins(15);
/// Of a URL that is used at once.
const AT_ONCE: Duration = Duration::from_mins(20);

/// A bucket in the clients' region.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket<'a> {
    pub(crate) clients: &'a Clients,
    pub(crate) name: &'a str,
}

/// What S3 says when it says no: a status, and a code in XML.
#[derive(Debug, thiserror::Error)]
#[error("status {status}")]
struct Refused {
    status: u16,
    body: String,
}

impl Bucket<'_> {
    /// A URL that does `method` on `key` for whoever has it. It ends with the credentials that signed it, too.
    pub(crate) async fn presigned(
        &self,
        method: &str,
        key: &str,
        expires: Duration,
    ) -> Result<String, Error> {
        let config = self.clients.config();
        let url = self.url(key);
        let action = action(method);
        let refuse = |kind, why: String| {
            Error::Call(CallError { kind, action, resource: self.object(key), code: None, message: why })
        };
        let provider = config
            .credentials_provider()
            .ok_or_else(|| refuse(Kind::Credentials, "no provider of credentials".to_owned()))?;
        let credentials = provider.provide_credentials().await;
        let identity = credentials.map_err(|error| refuse(Kind::Credentials, error.to_string()))?.into();
        let mut settings = SigningSettings::default();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(expires);
        // S3 signs the path as it is sent.
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::NoHeader;
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.clients.region)
            .name("s3")
            .time(SystemTime::now())
            .settings(settings)
            .build()
            .map_err(|error| refuse(Kind::Refused, error.to_string()))?
            .into();
        let request = SignableRequest::new(method, &url, std::iter::empty(), SignableBody::UnsignedPayload);
        let signed = request.and_then(|request| sign(request, &params));
        let (instructions, _) =
            signed.map_err(|error| refuse(Kind::Refused, error.to_string()))?.into_parts();
        let mut request = http::Request::builder()
            .uri(&url)
            .body(())
            .map_err(|error| refuse(Kind::Refused, error.to_string()))?;
        instructions.apply_to_request_http1x(&mut request);
        Ok(request.uri().to_string())
    }

    /// Stores an object.
    pub(crate) async fn put(&self, key: &str, body: Bytes) -> Result<(), Error> {
        self.send("PUT", key, body).await.map(drop)
    }

    /// An object that is there: of one that is not, S3 tells only those who may list the bucket.
    pub(crate) async fn get(&self, key: &str) -> Result<Bytes, Error> {
        self.send("GET", key, Bytes::new()).await
    }

    /// Removes an object, or finds that there is none.
    pub(crate) async fn delete(&self, key: &str) -> Result<(), Error> {
        match self.send("DELETE", key, Bytes::new()).await {
            // The bucket itself is gone.
            Err(Error::Call(error)) if error.kind == Kind::NotFound => Ok(()),
            answer => answer.map(drop),
        }
    }

    async fn send(&self, method: &'static str, key: &str, body: Bytes) -> Result<Bytes, Error> {
        let url = self.presigned(method, key, AT_ONCE).await?;
        let config = self.clients.config();
        let (start, path) =
            match url.find("://").and_then(|at| url[at + 3..].find('/').map(|end| at + 3 + end)) {
                Some(end) => url.split_at(end),
                None => (url.as_str(), "/"),
            };
        let bounds = match config.timeout_config().filter(|_| method != "PUT") {
            Some(bounds) => bounds.clone(),
            None => TimeoutConfig::builder()
                .connect_timeout(Duration::from_secs(4))
                .operation_attempt_timeout(PUT_BOUND)
                .build(),
        };
        let mut operation = Operation::builder()
            .service_name("s3")
            .operation_name(action(method))
            .endpoint_url(start)
            .no_auth()
            .with_connection_poisoning()
            .retry_classifier(TransientErrorClassifier::<Refused>::new())
            .retry_classifier(HttpStatusCodeClassifier::new_from_codes(PASSING))
            .timeout_config(bounds)
            .serializer(move |(path, body): (String, Bytes)| {
                let mut request = HttpRequest::new(SdkBody::from(body));
                request.set_method(method)?;
                request.set_uri(path)?;
                Ok(request)
            })
            .deserializer(read);
        if let Some(version) = config.behavior_version() {
            operation = operation.behavior_version(version);
        }
        if let Some(http) = config.http_client() {
            operation = operation.http_client(http);
        }
        if let Some(sleep) = config.sleep_impl() {
            operation = operation.sleep_impl(sleep);
        }
        if let Some(retries) = config.retry_config() {
            operation = operation.standard_retry(retries);
        }
        let answer = operation.build().invoke((path.to_owned(), body)).await;
        answer.map_err(|error| {
            let failed = CallError {
                kind: Kind::Unreachable,
                action: action(method),
                resource: self.object(key),
                code: None,
                message: String::new(),
            };
            Error::Call(match error.as_service_error() {
                Some(refused) => failed.said(refused),
                // The URL would open the bucket to a log's readers: the error alone is told.
                None => CallError { message: crate::call::chain(&error).replace(&url, "…"), ..failed },
            })
        })
    }

    fn object(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.name)
    }

    /// By the bucket's own host name; by a path where the endpoint is given, or a certificate does not cover the name.
    fn url(&self, key: &str) -> String {
        let (bucket, region) = (self.name, &self.clients.region);
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        match self.given() {
            Some(start) => format!("{start}/{bucket}/{key}"),
            None if bucket.contains('.') => format!("https://s3.{region}.{domain}/{bucket}/{key}"),
            None => format!("https://{bucket}.s3.{region}.{domain}/{key}"),
        }
    }

    /// `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL` or the profile's.
    fn given(&self) -> Option<String> {
        let config = self.clients.config();
        let key =
            ServiceConfigKey::builder().service_id("S3").env("AWS_ENDPOINT_URL").profile("endpoint_url");
        let own = config.service_config().zip(key.build().ok());
        let own = own.and_then(|(settings, key)| settings.load_config(key));
        let given = own.or_else(|| config.endpoint_url().map(str::to_owned)).filter(|url| !url.is_empty());
        given.map(|url| url.trim_end_matches('/').to_owned())
    }
}

impl CallError {
    fn said(self, refused: &Refused) -> Self {
        let between = |tag: &str| {
            let (_, rest) = refused.body.split_once(&format!("<{tag}>"))?;
            rest.split_once(&format!("</{tag}>")).map(|(text, _)| text.to_owned())
        };
        let code = between("Code");
        let kind = match (refused.status, code.as_deref()) {
            (_, Some("ExpiredToken" | "InvalidAccessKeyId" | "InvalidToken" | "SignatureDoesNotMatch")) => {
                Kind::Credentials
            }
            (403, _) => Kind::Denied,
            (404, _) => Kind::NotFound,
            (429 | 503, _) => Kind::Throttled,
            (500.., _) => Kind::Failed,
            _ => Kind::Refused,
        };
        Self { kind, code, message: between("Message").unwrap_or_else(|| refused.to_string()), ..self }
    }
}

fn action(method: &str) -> &'static str {
    match method {
        "PUT" => "s3:PutObject",
        "GET" => "s3:GetObject",
        _ => "s3:DeleteObject",
    }
}

fn read(response: &HttpResponse) -> Result<Bytes, OrchestratorError<Refused>> {
    let body = response.body().bytes().unwrap_or_default();
    if response.status().is_success() {
        return Ok(Bytes::copy_from_slice(body));
    }
    let body = String::from_utf8_lossy(body).into_owned();
    Err(OrchestratorError::operation(Refused { status: response.status().as_u16(), body }))
}
