//! The generator against a server that fails in every way it counts.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const PEER: &str = "HTTP/1.1 200 OK\r\nx-kiln-served-by: peer\r\ncontent-length: 2\r\n\r\nok";
const GOOD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const BAD: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
const CUT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok";
const CHUNKS: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n";

#[tokio::test]
async fn every_failure_is_counted_with_its_reason() {
    let address = server().await;
    let seen = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&seen);
    let on_failure: OnFailure = Arc::new(move |_| {
        told.fetch_add(1, Ordering::Relaxed);
    });
    let paths = ["/good", "/peer", "/bad", "/cut"].map(ToOwned::to_owned).to_vec();
    let load = Load::start(
        LoadConfig { targets: vec![address], paths, rate: 400.0, stream: None },
        Instant::now(),
        on_failure,
    );
    tokio::time::timeout(Duration::from_mins(1), async {
        while seen.load(Ordering::Relaxed) < 20 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("failures are seen");
    assert!(load.by_instance_since(0.0) > 0);
    assert_eq!(load.by_instance_since(1000.0), 0);
    let summary = load.finish().await;
    assert_eq!(summary.sent, summary.by_instance + summary.by_peer + summary.failed);
    assert!(summary.by_instance > 0 && summary.by_peer > 0, "{summary:?}");
    assert_eq!(summary.failed, seen.load(Ordering::Relaxed));
    let reason =
        |path: &str| summary.failures.iter().find(|failure| failure.path == path).map(|f| f.reason.clone());
    assert_eq!(reason("/bad").as_deref(), Some("status 503"));
    assert!(reason("/cut").is_some_and(|reason| reason.starts_with("truncated body")), "{summary:?}");
    assert!(summary.latency.p50 > 0.0 && summary.latency.p50 <= summary.latency.max);
}

#[tokio::test]
async fn a_refused_connection_is_a_failure() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let load = load(closed, None);
    tokio::time::timeout(Duration::from_mins(1), async {
        while load.failed() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("a failure");
    let summary = load.finish().await;
    assert!(summary.failed > 0 && summary.failures[0].reason.contains("onnect"), "{summary:?}");
}

#[tokio::test]
async fn a_stream_is_whole_or_it_is_not() {
    let address = server().await;
    for (path, ends_with, whole) in [
        ("/stream-whole", None, true),
        ("/stream-whole", Some("two"), true),
        ("/stream-whole", Some("three"), false),
        ("/stream-cut", None, false),
    ] {
        let stream = StreamRoute { path: path.to_owned(), ends_with: ends_with.map(ToOwned::to_owned) };
        let load = load(address, Some(stream));
        let held = load.hold_stream().await.unwrap();
        assert!(!held.by_peer);
        let end = held.end().await;
        assert_eq!(end.cut.is_none(), whole, "{path} {ends_with:?}: {end:?}");
        let summary = load.finish().await;
        assert_eq!((summary.streams, summary.streams_whole), (1, u64::from(whole)));
        assert_eq!(summary.failed, u64::from(!whole));
    }
}

fn load(target: SocketAddr, stream: Option<StreamRoute>) -> Load {
    let config = LoadConfig { targets: vec![target], paths: vec!["/good".to_owned()], rate: 1.0, stream };
    Load::start(config, Instant::now(), Arc::new(|_| {}))
}

/// Answers each connection's first request by its path, then closes.
async fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.unwrap_or(0);
                let text = String::from_utf8_lossy(&request[..length]).into_owned();
                let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
                let answer = match path.as_str() {
                    "/good" => GOOD.to_owned(),
                    "/peer" => PEER.to_owned(),
                    "/bad" => BAD.to_owned(),
                    "/cut" => CUT.to_owned(),
                    "/stream-whole" => format!("{CHUNKS}4\r\ntwo\n\r\n0\r\n\r\n"),
                    _ => CHUNKS.to_owned(),
                };
                let answer = answer.replacen("\r\n\r\n", "\r\nconnection: close\r\n\r\n", 1);
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    address
}
