//! The four endpoints, answered from memory: a probe costs no check, and a crowd of slow callers delays none.

mod exposition;

use crate::board::{Board, Status};
use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Connections at a time. One more takes the place of the oldest, so that a crowd of slow callers holds up itself and no
/// probe: an answer takes one turn of the loop, and who has not asked by then can ask again.
const CONNECTIONS: usize = 128;
/// From the connection to the end of its request's head.
const HEAD_BOUND: Duration = Duration::from_secs(2);
/// A whole exchange: protects the places from callers that do not read.
const WHOLE_BOUND: Duration = Duration::from_secs(5);
/// A head of more bytes is refused.
const HEAD_LIMIT: usize = 8 * 1024;

/// Serves until the process ends.
pub async fn serve(listener: TcpListener, board: Board) {
    let mut exchanges: VecDeque<JoinHandle<()>> = VecDeque::with_capacity(CONNECTIONS);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, mostly: some come back with the next exchange that ends.
                tracing::warn!(reason = %error, "connection not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        exchanges.retain(|exchange| !exchange.is_finished());
        if exchanges.len() == CONNECTIONS
            && let Some(oldest) = exchanges.pop_front()
        {
            oldest.abort();
        }
        let board = board.clone();
        exchanges.push_back(tokio::spawn(async move {
            let service = service_fn(move |request| {
                let reply = answer(&request, &board);
                async move { Ok::<_, Infallible>(reply) }
            });
            let exchange = hyper::server::conn::http1::Builder::new()
                .keep_alive(false)
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_BOUND)
                .max_buf_size(HEAD_LIMIT)
                .serve_connection(TokioIo::new(stream), service);
            // A caller that went away has its answer in its own log.
            let _ = tokio::time::timeout(WHOLE_BOUND, exchange).await;
        }));
        // Each has its turn before the next one is let in, which might push it out.
        tokio::task::yield_now().await;
    }
}

fn answer(request: &Request<Incoming>, board: &Board) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return reply(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET is answered\n".to_owned());
    }
    match request.uri().path() {
        "/livez" => reply(StatusCode::OK, "text/plain", "ok\n".to_owned()),
        "/readyz" => readyz(&board.lock()),
        "/status" => match serde_json::to_string_pretty(&board.snapshot()) {
            Ok(json) => reply(StatusCode::OK, "application/json", json + "\n"),
            Err(error) => reply(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", format!("{error}\n")),
        },
        "/metrics" => reply(StatusCode::OK, exposition::KIND, exposition::text(&board.snapshot())),
        _ => reply(
            StatusCode::NOT_FOUND,
            "text/plain",
            "ask /livez, /readyz, /status or /metrics\n".to_owned(),
        ),
    }
}

fn readyz(status: &Status) -> Response<Full<Bytes>> {
    let code = if status.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "ready": status.ready, "phase": status.phase, "reason": status.reason });
    reply(code, "application/json", format!("{body}\n"))
}

fn reply(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    // A probe's answer is true for now only.
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
