//! One bounded HTTP/1.1 request over plain TCP: what the metadata service, the checks, nginx's status page and
//! `kiln-agent status` are asked with. No proxy, no redirects.
//!
//! [`fetch`] opens a connection for its one request, as a check must: to be accepted is part of being healthy. A [`Line`]
//! keeps its connection for the next request.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode, Uri, Version, body::Incoming, header};
use hyper_util::rt::TokioIo;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;

/// Bodies end here; the largest that is asked for is user data, 16 KiB.
const BODY_LIMIT: usize = 256 * 1024;
/// The head of an answer ends here: a flood of headers costs no more memory than this.
const HEAD_LIMIT: usize = 32 * 1024;

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
    let exchange = Box::pin(async {
        let headers = [&[("connection", "close")], headers].concat();
        Ok(Open::to(url).await?.exchange(method, url, &headers).await?.0)
    });
    within(bound, url, exchange).await
}

/// A host that is asked again and again: the connection is kept for the next request, where the host allows it.
///
/// At most one is kept. A request takes it out and puts it back after a whole answer, so that one which hangs, breaks or
/// was given up is closed.
pub struct Line {
    host: Url,
    kept: Mutex<Option<Open>>,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("Line").field(&self.host.authority).finish()
    }
}

impl Line {
    /// A line to the host of `url`; nothing is opened yet.
    pub fn new(host: Url) -> Self {
        Self { host, kept: Mutex::default() }
    }

    /// Sends one request for `path` and reads the whole answer within `bound`. The request may reach the host twice: when
    /// the kept connection breaks under it, or is silent for half of `bound`, it is sent again on a new one.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        bound: Duration,
    ) -> Result<Reply, Error> {
        let url = self.host.at(path);
        let kept = self.swap(None);
        let exchange = Box::pin(async {
            if let Some(mut open) = kept {
                let again = async {
                    if open.is_usable().await {
                        open.exchange(method.clone(), &url, headers).await.ok()
                    } else {
                        None
                    }
                };
                if let Ok(Some((reply, lasts))) = tokio::time::timeout(bound / 2, again).await {
                    self.swap(lasts.then_some(open));
                    return Ok(reply);
                }
            }
            let mut open = Open::to(&url).await?;
            let (reply, lasts) = open.exchange(method, &url, headers).await?;
            self.swap(lasts.then_some(open));
            Ok(reply)
        });
        within(bound, &url, exchange).await
    }

    fn swap(&self, open: Option<Open>) -> Option<Open> {
        // A connection is whole or it is not there: a holder that panicked left nothing half done.
        std::mem::replace(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner), open)
    }
}

/// The exchange comes on the heap: a future that asks would be kilobytes otherwise.
async fn within<T>(
    bound: Duration,
    url: &Url,
    exchange: Pin<Box<impl Future<Output = Result<T, Error>>>>,
) -> Result<T, Error> {
    let timeout = |_| Err(Error::Timeout(url.authority.clone(), bound));
    tokio::time::timeout(bound, exchange).await.unwrap_or_else(timeout)
}

/// An open connection. It is driven only while a request is under way, by the task that asks: dropping it closes the
/// socket at once, and an idle one wakes nobody.
struct Open {
    sender: http1::SendRequest<Empty<Bytes>>,
    connection: http1::Connection<TokioIo<TcpStream>, Empty<Bytes>>,
}

impl Open {
    async fn to(url: &Url) -> Result<Self, Error> {
        let stream = TcpStream::connect(&url.connect)
            .await
            .map_err(|error| Error::Connect(url.authority.clone(), error.to_string()))?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_LIMIT)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(url, &error))?;
        Ok(Self { sender, connection })
    }

    /// Whether the host has neither closed it nor said anything unasked since the last answer.
    async fn is_usable(&mut self) -> bool {
        let Self { sender, connection } = self;
        tokio::select! {
            biased;
            _ = connection => false,
            ready = sender.ready() => ready.is_ok(),
        }
    }

    /// One request and its answer, and whether the connection lasts for another.
    async fn exchange(
        &mut self,
        method: Method,
        url: &Url,
        headers: &[(&str, &str)],
    ) -> Result<(Reply, bool), Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(&url.path)
            .header("host", &url.authority)
            .header("user-agent", concat!("kiln-agent/", env!("CARGO_PKG_VERSION")));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| broken(url, &error))?;
        let Self { sender, connection } = self;
        let answer = async {
            let response = sender.send_request(request).await.map_err(|error| broken(url, &error))?;
            let (status, lasts) = (response.status(), lasts(&response));
            let date = response.headers().get(header::DATE);
            let date = date.and_then(|date| date.to_str().ok()).map(str::to_owned);
            let body = Limited::new(response.into_body(), BODY_LIMIT)
                .collect()
                .await
                .map_err(|error| broken(url, &error))?;
            Ok((Reply { status, body: body.to_bytes(), date }, lasts))
        };
        tokio::pin!(answer);
        tokio::select! {
            biased;
            reply = &mut answer => reply,
            ended = connection => match ended {
                Ok(()) => answer.await.map(|(reply, _)| (reply, false)),
                Err(error) => Err(broken(url, &error)),
            },
        }
    }
}

/// Whether the host leaves the connection open after this answer.
fn lasts(response: &Response<Incoming>) -> bool {
    response.version() == Version::HTTP_11
        && !response
            .headers()
            .get_all(header::CONNECTION)
            .iter()
            .any(|value| value.to_str().map_or(true, |value| value.to_ascii_lowercase().contains("close")))
}

fn broken(url: &Url, error: &dyn std::fmt::Display) -> Error {
    Error::Broken(url.authority.clone(), error.to_string())
}

#[cfg(test)]
pub(crate) mod tests;
