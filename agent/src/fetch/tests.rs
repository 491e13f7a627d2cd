//! A kept connection: used again, given up, and never believed beyond one answer.

use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const BOUND: Duration = Duration::from_secs(2);
/// After these bytes, which are not sent, a [`Host`] hangs up.
pub(crate) const HANG_UP: &[u8] = b"\xff\xffhang up";

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let host = Host::start(|_, request| Some(answer(request))).await;
    let line = host.line();
    for number in 0..50 {
        assert_eq!(text(&line, &format!("/{number}")).await, format!("/{number}"));
    }
    assert_eq!(host.connections(), 1);
}

#[tokio::test]
async fn requests_at_a_time_leave_one_connection_behind() {
    let host = Host::start(|_, request| Some(answer(request))).await;
    let line = host.line();
    let (a, b, c) = tokio::join!(text(&line, "/a"), text(&line, "/b"), text(&line, "/c"));
    assert_eq!((a.as_str(), b.as_str(), c.as_str()), ("/a", "/b", "/c"));
    host.open_are(1).await;
}

#[tokio::test]
async fn a_host_that_says_close_is_taken_at_its_word() {
    for head in ["HTTP/1.1 200 OK\r\nConnection: Close", "HTTP/1.0 200 OK"] {
        let host = Host::start(move |_, _| Some(format!("{head}\r\nContent-Length: 2\r\n\r\nok"))).await;
        let line = host.line();
        for _ in 0..3 {
            assert_eq!(text(&line, "/").await, "ok");
            host.open_are(0).await;
        }
        assert_eq!(host.connections(), 3, "{head}");
    }
}

#[tokio::test]
async fn a_connection_that_ended_meanwhile_is_no_outage() {
    // It answers once and hangs up without a word: at once, or when the next request comes.
    for quiet in [true, false] {
        let host = Host::start(move |number, request| match number {
            0 => Some(answer(request)),
            _ if quiet => None,
            _ => Some("nonsense".to_owned()),
        })
        .await;
        let line = host.line();
        for number in 1..=5 {
            assert_eq!(text(&line, "/again").await, "/again");
            assert_eq!(host.connections(), number);
        }
    }
}

#[tokio::test]
async fn bytes_beyond_an_answer_are_nobodys_answer() {
    let smuggled = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nTerminated";
    let host = Host::start(move |_, request| Some(answer(request) + smuggled)).await;
    let line = host.line();
    for number in 1..=5 {
        match line.ask(Method::GET, "/state", &[], BOUND).await {
            Ok(reply) => assert_eq!(&reply.body[..], b"/state"),
            Err(error) => assert!(matches!(error, Error::Broken(..)), "{error}"),
        }
        assert_eq!(host.connections(), number, "none is used again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_hangs_is_left_within_the_bound() {
    // Each connection answers once and is silent from then on.
    let host =
        Host::start(|number, request| Some(if number == 0 { answer(request) } else { String::new() })).await;
    let line = host.line();
    assert_eq!(text(&line, "/first").await, "/first");
    let before = tokio::time::Instant::now();
    assert_eq!(text(&line, "/second").await, "/second");
    assert!(before.elapsed() < BOUND, "{:?}", before.elapsed());
    host.open_are(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_given_up_leaves_no_connection() {
    let host = Host::start(|_, _| Some(String::new())).await;
    let line = host.line();
    let before = tokio::time::Instant::now();
    assert!(matches!(line.ask(Method::GET, "/", &[], BOUND).await, Err(Error::Timeout(..))));
    assert_eq!(before.elapsed().as_secs(), BOUND.as_secs());
    host.open_are(0).await;
}

#[tokio::test]
async fn a_flood_of_headers_is_cut_off() {
    let many = "X-Flood: 0123456789abcdef\r\n".repeat(200);
    let long = format!("X-Flood: {}\r\n", "f".repeat(4 * HEAD_LIMIT));
    for flood in [many, long] {
        let host =
            Host::start(move |_, _| Some(format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{flood}\r\n")))
                .await;
        let cut = host.line().ask(Method::GET, "/", &[], BOUND).await;
        assert!(matches!(cut, Err(Error::Broken(..))), "{cut:?}");
    }
}

fn answer(request: &str) -> String {
    let path = request.split(' ').nth(1).unwrap_or_default();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len())
}

async fn text(line: &Line, path: &str) -> String {
    let reply = line.ask(Method::GET, path, &[], BOUND).await.expect("the host answers");
    String::from_utf8(reply.body.to_vec()).expect("the host answers in text")
}

/// A host that says, to each request on a connection by its number from 0, whatever it likes; `None` hangs up.
pub(crate) struct Host {
    pub(crate) url: String,
    begun: Arc<AtomicUsize>,
    open: tokio::sync::watch::Receiver<usize>,
}

impl Host {
    pub(crate) async fn start<Bytes: AsRef<[u8]> + Send + 'static>(
        say: impl Fn(usize, &str) -> Option<Bytes> + Clone + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let begun = Arc::new(AtomicUsize::new(0));
        let (counter, open) = tokio::sync::watch::channel(0);
        let (accepted, counter) = (begun.clone(), Arc::new(counter));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::SeqCst);
                counter.send_modify(|open| *open += 1);
                let (say, counter) = (say.clone(), counter.clone());
                tokio::spawn(async move {
                    let mut request = [0; 2048];
                    for number in 0.. {
                        let Ok(length @ 1..) = stream.read(&mut request).await else { break };
                        let Some(said) = say(number, &String::from_utf8_lossy(&request[..length])) else {
                            break;
                        };
                        let said = said.as_ref();
                        let rest = said.strip_suffix(HANG_UP);
                        if stream.write_all(rest.unwrap_or(said)).await.is_err() || rest.is_some() {
                            break;
                        }
                    }
                    counter.send_modify(|open| *open -= 1);
                });
            }
        });
        Self { url, begun, open }
    }

    fn line(&self) -> Line {
        Line::new(Url::parse(&self.url).expect("a valid address"))
    }

    fn connections(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    /// Waits until so many connections are open.
    async fn open_are(&self, expected: usize) {
        let mut open = self.open.clone();
        open.wait_for(|open| *open == expected).await.expect("the host lives");
    }
}
