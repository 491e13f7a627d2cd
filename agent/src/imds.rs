//! The instance metadata service, version 2 only: a token by PUT, then GETs with it.
//!
//! ```text
//!  404 → an answer: the item is absent      401 → one fresh token, once      else → an error, the caller backs off
//! ```

use crate::board::ImdsRow;
use crate::fetch::{self, Line, Reply, Url};
use crate::pauses::Pauses;
use bytes::Bytes;
use hyper::{Method, StatusCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// The documented address; `AWS_EC2_METADATA_SERVICE_ENDPOINT` names another.
pub const ENDPOINT: &str = "http://169.254.169.254";
/// The documented address on IPv6, chosen by `AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE=IPv6`.
pub const ENDPOINT_IPV6: &str = "http://[fd00:ec2::254]";

/// Six hours, the longest the service grants.
const TOKEN_SECONDS: &str = "21600";
/// A token is renewed this long before it ends, so that no request is refused for a slow clock.
const TOKEN_LIFE: Duration = Duration::from_mins(355);
/// Bounds one request: the service is local, and a caller that polls each second must not hang on a lost packet.
const REQUEST_BOUND: Duration = Duration::from_secs(2);
/// Longest pause between two attempts of [`Imds::get_patiently`].
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Why the service gave no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A fresh token was refused too.
    #[error("metadata service refused a fresh token (401) for '{0}'")]
    Unauthorized(String),
    /// Switched off, or forbidden.
    #[error("metadata service forbids '{0}' (403): allow it in the instance's metadata options")]
    Forbidden(String),
    /// Throttled or failing.
    #[error("metadata service answered {0} to '{1}'")]
    Status(u16, String),
    /// An answer that is no text.
    #[error("metadata service answered '{0}' with bytes that are no text")]
    Garbled(String),
    /// No answer.
    #[error("failed to ask the metadata service: {0}")]
    Transport(#[from] fetch::Error),
}

/// A client; one per process, since it keeps the token.
#[derive(Debug)]
pub struct Imds {
    line: Line,
    token: Mutex<Option<(Token, Instant)>>,
    requests: AtomicU64,
    errors: AtomicU64,
}

/// A session token: it opens the role's credentials, so it shows itself to nobody but the service.
#[derive(Clone)]
struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Token(…)")
    }
}

impl Imds {
    /// A client of the service at `endpoint`.
    pub fn new(endpoint: &str) -> Result<Self, String> {
        let base = Url::parse(endpoint).map_err(|error| {
            format!("AWS_EC2_METADATA_SERVICE_ENDPOINT '{endpoint}' is no address: {error}")
        })?;
        Ok(Self {
            line: Line::new(base),
            token: Mutex::new(None),
            requests: AtomicU64::new(0),
            errors: AtomicU64::new(0),
        })
    }

    /// A client of the service that the environment names, in the SDK's own variables, or of the documented address.
    pub fn from_env() -> Result<Self, String> {
        let given = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let (endpoint, mode) =
            (given("AWS_EC2_METADATA_SERVICE_ENDPOINT"), given("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"));
        Self::new(&endpoint_of(endpoint, mode.as_deref())?)
    }

    /// Reads one item under `latest/meta-data/`, trimmed; `None` when it is absent.
    pub async fn get(&self, item: &str) -> Result<Option<String>, Error> {
        let Some(body) = self.read(&format!("/latest/meta-data/{item}")).await? else {
            return Ok(None);
        };
        match std::str::from_utf8(&body) {
            Ok(text) if !text.contains('\0') => Ok(Some(text.trim().to_owned())),
            _ => Err(Error::Garbled(item.to_owned())),
        }
    }

    /// Reads the user data, or `None` when the instance has none.
    pub async fn user_data(&self) -> Result<Option<Bytes>, Error> {
        self.read("/latest/user-data").await
    }

    /// Reads one item that every instance has, through outages, for at most `bound`.
    pub async fn get_patiently(&self, item: &str, bound: Duration) -> Result<String, Error> {
        patiently(bound, || async {
            self.get(item)
                .await?
                .filter(|text| !text.is_empty())
                .ok_or_else(|| Error::Status(404, item.to_owned()))
        })
        .await
    }

    /// [`Imds::get`] through outages, for at most `bound`.
    pub async fn find_patiently(&self, item: &str, bound: Duration) -> Result<Option<String>, Error> {
        patiently(bound, || self.get(item)).await
    }

    /// [`Imds::user_data`] through outages, for at most `bound`.
    pub async fn user_data_patiently(&self, bound: Duration) -> Result<Option<Bytes>, Error> {
        patiently(bound, || self.user_data()).await
    }

    /// The service's wall clock, as it dates its answers (RFC 9110); `None` when it does not.
    pub async fn date(&self) -> Result<Option<String>, Error> {
        Ok(self.ask("/latest/meta-data/instance-id").await?.and_then(|reply| reply.date))
    }

    /// The requests so far.
    pub fn counts(&self) -> ImdsRow {
        let [requests, errors] = [&self.requests, &self.errors].map(|count| count.load(Ordering::Relaxed));
        ImdsRow { requests, errors }
    }

    /// One request, counted; a 401 is an error only when the token was fresh.
    async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        fresh: bool,
    ) -> Result<Reply, Error> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let reply = self.line.ask(method, path, headers, REQUEST_BOUND).await;
        let answered = reply.as_ref().is_ok_and(|reply| match reply.status {
            StatusCode::OK | StatusCode::NOT_FOUND => true,
            StatusCode::UNAUTHORIZED => !fresh,
            _ => false,
        });
        self.errors.fetch_add(u64::from(!answered), Ordering::Relaxed);
        Ok(reply?)
    }

    async fn read(&self, path: &str) -> Result<Option<Bytes>, Error> {
        Ok(self.ask(path).await?.map(|reply| reply.body))
    }

    async fn ask(&self, path: &str) -> Result<Option<Reply>, Error> {
        let mut fresh = false;
        loop {
            let token = self.token(fresh).await?;
            let header = [("x-aws-ec2-metadata-token", token.0.as_str())];
            let reply = self.request(Method::GET, path, &header, fresh).await?;
            return match reply.status {
                StatusCode::OK => Ok(Some(reply)),
                StatusCode::NOT_FOUND => Ok(None),
                StatusCode::UNAUTHORIZED if !fresh => {
                    fresh = true;
                    continue;
                }
                StatusCode::UNAUTHORIZED => Err(Error::Unauthorized(path.to_owned())),
                StatusCode::FORBIDDEN => Err(Error::Forbidden(path.to_owned())),
                status => Err(Error::Status(status.as_u16(), path.to_owned())),
            };
        }
    }

    async fn token(&self, fresh: bool) -> Result<Token, Error> {
        const PATH: &str = "/latest/api/token";
        let mut kept = self.token.lock().await;
        if let (Some((token, since)), false) = (&*kept, fresh)
            && since.elapsed() < TOKEN_LIFE
        {
            return Ok(token.clone());
        }
        *kept = None;
        let ttl = [("x-aws-ec2-metadata-token-ttl-seconds", TOKEN_SECONDS)];
        let reply = self.request(Method::PUT, PATH, &ttl, true).await?;
        let token = match reply.status {
            StatusCode::OK => String::from_utf8_lossy(&reply.body).trim().to_owned(),
            StatusCode::FORBIDDEN => return Err(Error::Forbidden(PATH.to_owned())),
            status => return Err(Error::Status(status.as_u16(), PATH.to_owned())),
        };
        // It goes back out in a header: what no header takes cannot be a token.
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::Garbled(PATH.to_owned()));
        }
        let token = Token(token);
        *kept = Some((token.clone(), Instant::now()));
        Ok(token)
    }
}

/// An address wins over a mode, as in the SDK.
fn endpoint_of(endpoint: Option<String>, mode: Option<&str>) -> Result<String, String> {
    match (endpoint, mode) {
        (Some(endpoint), _) => Ok(endpoint),
        (None, Some(mode)) if mode.eq_ignore_ascii_case("ipv6") => Ok(ENDPOINT_IPV6.to_owned()),
        (None, Some(mode)) if !mode.eq_ignore_ascii_case("ipv4") => {
            Err(format!("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE '{mode}' is neither IPv4 nor IPv6"))
        }
        (None, _) => Ok(ENDPOINT.to_owned()),
    }
}

async fn patiently<T, Ask, Answer>(bound: Duration, ask: Ask) -> Result<T, Error>
where
    Ask: Fn() -> Answer,
    Answer: Future<Output = Result<T, Error>>,
{
    let until = Instant::now() + bound;
    let mut pauses = Pauses::new(Duration::from_millis(100), LONGEST_PAUSE);
    loop {
        let error = match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let pause = pauses.next_pause();
        if Instant::now() + pause >= until {
            return Err(error);
        }
        tracing::debug!(reason = %error, "metadata service gave no answer, asking again");
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests;
