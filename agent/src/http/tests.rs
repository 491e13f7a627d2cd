//! The endpoints as a load balancer and a person see them.

use super::*;
use crate::clock::Moment;
use crate::fetch::{Reply, Url, fetch};
use crate::lifecycle::{Event, Lifecycle, Notice, Policy};
use tokio::io::AsyncWriteExt;

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

#[tokio::test]
async fn a_crowd_of_slow_callers_does_not_hold_up_a_probe() {
    let server = Server::start(&Lifecycle::new(Policy::default(), Moment::default())).await;
    let mut crowd = Vec::new();
    for _ in 0..CONNECTIONS - 1 {
        let mut slow = tokio::net::TcpStream::connect(&server.address).await.expect("it listens");
        slow.write_all(b"GET /livez HTTP/1.1\r\n").await.expect("it reads");
        crowd.push(slow);
    }
    assert_eq!(server.get("/livez").await.status, 200);
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
