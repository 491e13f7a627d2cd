//! A small HTTP/1.1 server for the stage's own endpoints, and a small client for its own questions.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// `PutMetricData`'s limit of 1 MB, with room for its envelope.
const BODY_LIMIT: usize = 2 << 20;

/// What an endpoint is: a question from an address and its answer; `None` closes the connection instead.
pub(crate) trait Endpoint: Send + Sync + 'static {
    fn answer(
        &self,
        peer: Ipv4Addr,
        request: Request<Bytes>,
    ) -> impl Future<Output = Option<Response<Bytes>>> + Send;
}

/// Serves until the future is dropped, which closes every connection, too.
pub(crate) async fn serve<E: Endpoint>(listener: TcpListener, endpoint: Arc<E>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(connection(stream, peer, Arc::clone(&endpoint)));
                }
                // Out of file descriptors, most likely: try again when some connection has ended.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection<E: Endpoint>(stream: TcpStream, peer: SocketAddr, endpoint: Arc<E>) {
    let peer = match peer.ip() {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => address.to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED),
    };
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let endpoint = Arc::clone(&endpoint);
        async move {
            let (parts, body) = request.into_parts();
            let response = match Limited::new(body, BODY_LIMIT).collect().await {
                Ok(body) => endpoint.answer(peer, Request::from_parts(parts, body.to_bytes())).await,
                Err(_) => Some(reply(StatusCode::PAYLOAD_TOO_LARGE, "text/plain", "body too large\n")),
            };
            response
                .map(|response| response.map(Full::new))
                .ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionAborted))
        }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(75));
    // A client that breaks off is its own business.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

/// A response with one content type.
pub(crate) fn reply(status: StatusCode, content_type: &str, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    if let Ok(value) = content_type.parse() {
        response.headers_mut().insert(http::header::CONTENT_TYPE, value);
    }
    response
}

/// GETs a path on a fresh connection and returns the status; `bound` covers all of it.
pub(crate) async fn status_of(address: SocketAddr, path: &str, bound: Duration) -> Result<u16> {
    let ask = async {
        let stream = TcpStream::connect(address).await.context("connect")?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::get(path)
            .header("host", "stage")
            .header("user-agent", "ELB-HealthChecker/2.0")
            .header("connection", "close")
            .body(Empty::<Bytes>::new())?;
        let asked = async {
            let response = sender.send_request(request).await?;
            let status = response.status().as_u16();
            response.into_body().collect().await?;
            anyhow::Ok(status)
        };
        let (status, _) = tokio::join!(asked, connection);
        status
    };
    tokio::time::timeout(bound, ask).await.context("no answer in time")?
}
