//! One bounded HTTP/1.1 request over plain TCP: what the metadata service, the checks, nginx's status page and
//! `kiln-agent status` are asked with. No proxy, no redirects, no connection kept.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;

/// Bodies end here; the largest that is asked for is user data, 16 KiB.
const BODY_LIMIT: usize = 256 * 1024;

/// An `http://` address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    authority: String,
    connect: String,
    path: String,
}

impl Url {
    /// Takes `http://host[:port][/path]` apart. The error says what is wrong, as the end of a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|error| format!("{error}"))?;
        if uri.scheme_str() != Some("http") {
            return Err("it must begin with http://".to_owned());
        }
        let authority = uri.authority().ok_or("it names no host")?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err("it must name a host, and no user".to_owned());
        }
        Ok(Self {
            connect: format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80)),
            authority: authority.to_string(),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        })
    }

    /// The same host with another path, which begins with a slash.
    #[must_use]
    pub fn at(&self, path: &str) -> Self {
        Self { path: format!("{}{path}", self.path.trim_end_matches('/')), ..self.clone() }
    }
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub status: StatusCode,
    /// The body.
    pub body: Bytes,
    /// The `Date`, where there is one that is text.
    pub date: Option<String>,
}

/// Why nothing came back.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No connection.
    #[error("failed to connect to {0}: {1}")]
    Connect(String, String),
    /// A connection, and then no HTTP, or too much of it.
    #[error("failed to read the answer of {0}: {1}")]
    Broken(String, String),
    /// Nothing within the bound.
    #[error("no answer from {0} within {1:?}")]
    Timeout(String, Duration),
}

/// Sends one request and reads the whole answer within `bound`.
pub async fn fetch(
    method: Method,
    url: &Url,
    headers: &[(&str, &str)],
    bound: Duration,
) -> Result<Reply, Error> {
    tokio::time::timeout(bound, exchange(method, url, headers))
        .await
        .unwrap_or_else(|_| Err(Error::Timeout(url.authority.clone(), bound)))
}

async fn exchange(method: Method, url: &Url, headers: &[(&str, &str)]) -> Result<Reply, Error> {
    let refused = |error: &dyn std::fmt::Display| Error::Connect(url.authority.clone(), error.to_string());
    let broken = |error: &dyn std::fmt::Display| Error::Broken(url.authority.clone(), error.to_string());
    let stream = TcpStream::connect(&url.connect).await.map_err(|error| refused(&error))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    let mut request = Request::builder()
        .method(method)
        .uri(&url.path)
        .header("host", &url.authority)
        .header("user-agent", concat!("kiln-agent/", env!("CARGO_PKG_VERSION")))
        .header("connection", "close");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| broken(&error))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let status = response.status();
        let date = response.headers().get(hyper::header::DATE);
        let date = date.and_then(|date| date.to_str().ok()).map(str::to_owned);
        let body =
            Limited::new(response.into_body(), BODY_LIMIT).collect().await.map_err(|error| broken(&error))?;
        Ok(Reply { status, body: body.to_bytes(), date })
    };
    // The connection's own task ends with the answer: dropping it here closes the socket even when the bound ran out.
    tokio::pin!(connection, answer);
    tokio::select! {
        biased;
        reply = &mut answer => reply,
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(broken(&error)),
        },
    }
}
