//! The endpoints as a load balancer and a person see them.

use super::*;
use crate::clock::Moment;
use crate::fetch::{Reply, Url, fetch};
use crate::lifecycle::{Event, Lifecycle, Notice, Policy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn readyz_follows_the_life() {
    let mut life = Lifecycle::new(Policy::default(), Moment::default());
    let server = Server::start(&life).await;
    assert_eq!(server.get("/livez").await.status, 200);
    assert_eq!(server.readyz().await, (503, "user data has not run to its end".to_owned()));
    life.handle(Event::Bootstrapped { ok: true }, Moment::default());
    life.handle(Event::Healthy, Moment::default());
    server.board.record(&life, Moment::default());
    assert_eq!(server.readyz().await, (200, "serving".to_owned()));
    life.handle(Event::Notice { notice: Notice::Group, deadline: None }, Moment::default());
    server.board.record(&life, Moment::default());
    assert_eq!(server.readyz().await, (503, "draining: notice from group".to_owned()));
}

#[tokio::test]
async fn a_failed_bootstrap_says_why() {
    let mut life = Lifecycle::new(Policy::default(), Moment::default());
    let server = Server::start(&life).await;
    server.board.lock().failure_detail = Some("user data script exited with 3".to_owned());
    life.handle(Event::Bootstrapped { ok: false }, Moment::default());
    server.board.record(&life, Moment::default());
    assert_eq!(server.readyz().await, (503, "bootstrap failed: user data script exited with 3".to_owned()));
}

#[tokio::test]
async fn status_and_metrics_are_whole_documents() {
    let life = Lifecycle::new(Policy::default(), Moment::default());
    let server = Server::start(&life).await;
    let status: Status =
        serde_json::from_slice(&server.get("/status").await.body).expect("status is its own schema");
    assert_eq!(status.phase, life.phase());
    let metrics = String::from_utf8(server.get("/metrics").await.body.to_vec()).expect("metrics are text");
    assert!(
        metrics.contains("kiln_ready 0\n") && metrics.contains("kiln_phase{phase=\"bootstrapping\"} 1\n"),
        "{metrics}"
    );
    assert_eq!(server.get("/etc/passwd").await.status, 404);
    assert_eq!(
        fetch(Method::POST, &server.url("/status"), &[], BOUND).await.expect("it answers").status,
        405
    );
}

#[tokio::test(start_paused = true)]
async fn a_crowd_of_slow_callers_does_not_hold_up_a_probe() {
    let server = Server::start(&Lifecycle::new(Policy::default(), Moment::default())).await;
    let mut crowd = Vec::new();
    for _ in 0..200 {
        let mut slow = tokio::net::TcpStream::connect(&server.address).await.expect("it listens");
        slow.write_all(b"GET /livez HTTP/1.1\r\n").await.expect("it reads");
        crowd.push(slow);
    }
    let before = tokio::time::Instant::now();
    assert_eq!(server.get("/livez").await.status, 200);
    assert!(before.elapsed() < Duration::from_millis(500), "not after the crowd: {:?}", before.elapsed());
    // Nobody of the crowd is kept for longer than a head may take.
    for mut slow in crowd {
        let mut said = Vec::new();
        // Pushed out, with or without a word.
        let _ = slow.read_to_end(&mut said).await;
    }
    assert!(before.elapsed() <= HEAD_BOUND + Duration::from_millis(500), "{:?}", before.elapsed());
}

#[tokio::test]
async fn a_burst_of_probes_is_answered_to_the_last_one() {
    let server = Server::start(&Lifecycle::new(Policy::default(), Moment::default())).await;
    let mut burst = tokio::task::JoinSet::new();
    for _ in 0..2 * CONNECTIONS {
        let url = server.url("/readyz");
        burst.spawn(
            async move { fetch(Method::GET, &url, &[], BOUND).await.map(|reply| reply.status.as_u16()) },
        );
    }
    while let Some(answer) = burst.join_next().await {
        assert_eq!(answer.expect("no panic").expect("an answer"), 503);
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_never_reads_or_never_ends_is_let_go() {
    let server = Server::start(&Lifecycle::new(Policy::default(), Moment::default())).await;
    // A head without an end, one too long, and a body that is announced and never sent.
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(4 * HEAD_LIMIT));
    for head in ["GET /livez", long.as_str(), "GET /livez HTTP/1.1\r\nContent-Length: 9\r\n\r\n"] {
        let mut stream = tokio::net::TcpStream::connect(&server.address).await.expect("it listens");
        let before = tokio::time::Instant::now();
        // It may be refused before all of it is sent.
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
        assert!(before.elapsed() <= WHOLE_BOUND + Duration::from_millis(10), "{:?}", before.elapsed());
    }
}

const BOUND: Duration = Duration::from_secs(5);

struct Server {
    address: String,
    board: Board,
}

impl Server {
    async fn start(life: &Lifecycle) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let board = Board::new(life);
        tokio::spawn(serve(listener, board.clone()));
        Self { address, board }
    }

    fn url(&self, path: &str) -> Url {
        Url::parse(&format!("http://{}{path}", self.address)).expect("a valid address")
    }

    async fn get(&self, path: &str) -> Reply {
        fetch(Method::GET, &self.url(path), &[], BOUND).await.expect("it answers")
    }

    async fn readyz(&self) -> (u16, String) {
        let reply = self.get("/readyz").await;
        let body: serde_json::Value = serde_json::from_slice(&reply.body).expect("the reason is JSON");
        (reply.status.as_u16(), body["reason"].as_str().unwrap_or_default().to_owned())
    }
}
