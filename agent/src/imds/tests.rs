//! What the service may answer, and what becomes of it.

use super::*;
use crate::fake::{Asked, Fake, metadata};
use crate::fetch::tests::{HANG_UP, Host};
use proptest::prelude::*;
use std::sync::Arc;

const STATE: &str = "autoscaling/target-lifecycle-state";

#[tokio::test]
async fn an_item_is_read_with_one_token_for_all() {
    let fake = Fake::start(|asked, _| metadata(asked, &[("meta-data/instance-id", "i-0abc\n")])).await;
    let imds = client(&fake);
    assert_eq!(imds.get("instance-id").await.expect("it is there"), Some("i-0abc".to_owned()));
    assert_eq!(imds.get(STATE).await.expect("absent is an answer"), None);
    assert_eq!(imds.user_data().await.expect("absent is an answer"), None);
    let methods: Vec<String> = fake.asked().into_iter().map(|asked| asked.method).collect();
    assert_eq!(methods, ["PUT", "GET", "GET", "GET"]);
    assert_eq!(imds.counts(), ImdsRow { requests: 4, errors: 0 });
}

#[tokio::test]
async fn an_endpoint_on_ipv6_is_asked_as_any_other() {
    let items = [("meta-data/instance-id", "i-0abc")];
    let fake = Fake::start_at("[::1]:0", move |asked, _| metadata(asked, &items)).await;
    let imds = client(&fake);
    for _ in 0..2 {
        assert_eq!(imds.get("instance-id").await.expect("it is there"), Some("i-0abc".to_owned()));
    }
    let asked = fake.asked();
    assert_eq!(asked.len(), 3, "one token, and the connection is kept");
    let host = fake.url.trim_start_matches("http://");
    assert!(
        host.starts_with("[::1]:") && asked.iter().all(|asked| asked.header("host") == host),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_token_is_shown_to_nobody() {
    let fake = Fake::start(|asked, _| metadata(asked, &[("meta-data/instance-id", "i-0abc")])).await;
    let imds = client(&fake);
    imds.get("instance-id").await.expect("it is there");
    let shown = format!("{imds:?}");
    assert!(shown.contains("Token(…)") && !shown.contains("a-token"), "{shown}");
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    // Tokens t0, t2, …: by the number of the request that fetched them; only t2 is good.
    let fake = Fake::start(|asked, number| match asked.method.as_str() {
        "PUT" => (200, format!("t{number}")),
        _ if asked.token.as_deref() == Some("t2") => (200, "InService".to_owned()),
        _ => (401, String::new()),
    })
    .await;
    let imds = client(&fake);
    assert_eq!(imds.get(STATE).await.expect("the second token is good"), Some("InService".to_owned()));
    assert_eq!(fake.asked().len(), 4);
    assert_eq!(imds.counts(), ImdsRow { requests: 4, errors: 0 });
}

#[tokio::test]
async fn a_fresh_token_refused_is_an_error_and_no_loop() {
    let fake = Fake::start(
        |asked, _| {
            if asked.method == "PUT" { (200, "t".to_owned()) } else { (401, String::new()) }
        },
    );
    let fake = fake.await;
    let imds = client(&fake);
    assert!(matches!(imds.get(STATE).await, Err(Error::Unauthorized(_))));
    assert_eq!(fake.asked().len(), 4);
    assert_eq!(imds.counts(), ImdsRow { requests: 4, errors: 1 });
}

#[tokio::test]
async fn failures_are_told_apart() {
    type Expected = fn(&Error) -> bool;
    let cases: [(u16, &str, Expected); 4] = [
        (403, "", |error| matches!(error, Error::Forbidden(_))),
        (503, "", |error| matches!(error, Error::Status(503, _))),
        (500, "x", |error| matches!(error, Error::Status(500, _))),
        (200, "a\0b", |error| matches!(error, Error::Garbled(_))),
    ];
    for (status, body, expected) in cases {
        let on_get = Fake::start(move |asked, _| {
            if asked.method == "PUT" { (200, "t".to_owned()) } else { (status, body.to_owned()) }
        })
        .await;
        let error = client(&on_get).get(STATE).await.expect_err("the service fails");
        assert!(expected(&error), "{status}: {error:?}");
        if status != 200 {
            let on_put = Fake::start(move |_, _| (status, body.to_owned())).await;
            let error = client(&on_put).get(STATE).await.expect_err("the service fails");
            assert!(expected(&error), "{status} on PUT: {error:?}");
        }
    }
}

#[tokio::test]
async fn a_token_that_no_header_takes_is_refused() {
    for token in ["", "two words", "line\r\nbreak"] {
        let fake = Fake::start(move |_, _| (200, token.to_owned())).await;
        assert!(matches!(client(&fake).get(STATE).await, Err(Error::Garbled(_))), "{token:?}");
    }
}

#[tokio::test]
async fn an_outage_is_waited_out_within_the_bound() {
    let fake = Fake::start(|asked, number| {
        if number < 3 {
            (503, String::new())
        } else {
            metadata(asked, &[("meta-data/instance-id", "i-0abc")])
        }
    })
    .await;
    let id = client(&fake).get_patiently("instance-id", Duration::from_secs(30)).await;
    assert_eq!(id.expect("the service came back"), "i-0abc");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_hangs_or_is_not_there_is_an_error_in_time() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let url = format!("http://{}", silent.local_addr().expect("it is bound"));
    let imds = Imds::new(&url).expect("a valid address");
    let before = Instant::now();
    assert!(matches!(imds.get(STATE).await, Err(Error::Transport(fetch::Error::Timeout(..)))));
    assert_eq!(before.elapsed().as_secs(), REQUEST_BOUND.as_secs());
    drop(silent);
    assert!(matches!(imds.get(STATE).await, Err(Error::Transport(fetch::Error::Connect(..)))));
}

#[tokio::test]
async fn bytes_that_are_no_http_are_an_error() {
    use tokio::io::AsyncWriteExt;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"\0\xffSSH-2.0\r\n\r\n").await;
        }
    });
    let imds = Imds::new(&url).expect("a valid address");
    assert!(matches!(imds.get(STATE).await, Err(Error::Transport(fetch::Error::Broken(..)))));
}

#[test]
fn an_endpoint_is_an_http_address() {
    for wrong in ["", "169.254.169.254", "https://169.254.169.254", "http://user@host", "http://"] {
        assert!(Imds::new(wrong).is_err(), "{wrong:?}");
    }
    assert!(Imds::new(ENDPOINT_IPV6).is_ok());
}

#[test]
fn the_environment_names_an_address_or_a_family() {
    let of = |endpoint: Option<&str>, mode| endpoint_of(endpoint.map(str::to_owned), mode);
    assert_eq!(of(None, None).as_deref(), Ok(ENDPOINT));
    assert_eq!(of(None, Some("IPv4")).as_deref(), Ok(ENDPOINT));
    assert_eq!(of(None, Some("ipv6")).as_deref(), Ok(ENDPOINT_IPV6));
    assert_eq!(of(Some("http://127.0.0.1:9"), Some("IPv6")).as_deref(), Ok("http://127.0.0.1:9"));
    assert!(of(None, Some("IPv5")).is_err_and(|error| error.contains("'IPv5' is neither IPv4 nor IPv6")));
}

#[tokio::test]
async fn each_client_fetches_a_token_of_its_own() {
    let fake = Fake::start(|asked, _| metadata(asked, &[("meta-data/instance-id", "i-0abc")])).await;
    for _ in 0..2 {
        client(&fake).get("instance-id").await.expect("it is there");
    }
    let methods: Vec<String> = fake.asked().into_iter().map(|asked| asked.method).collect();
    assert_eq!(methods, ["PUT", "GET", "PUT", "GET"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_answer_is_taken_without_a_panic(body in proptest::collection::vec(any::<u8>(), 0..200), status in 100_u16..600) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let text = String::from_utf8_lossy(&body).into_owned();
            let reply = move |_: &Asked, number: usize| if number == 0 { (200, "t".to_owned()) } else { (status.max(200), text.clone()) };
            let fake = Fake::start(reply).await;
            let _ = client(&fake).get(STATE).await;
        });
    }
}

/// Answers whose framing is broken in one way each, around a word that would drain the instance.
fn broken() -> impl Strategy<Value = Vec<u8>> {
    const WORD: &str = "Terminated";
    let head = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
    prop_oneof![
        // Cut off, with more announced than comes.
        (1_usize..1000).prop_map(move |more| {
            head(&format!("Content-Length: {}\r\nConnection: close", WORD.len() + more)) + WORD
        }),
        // Less announced than comes, down to nothing.
        (0..WORD.len()).prop_map(move |length| head(&format!("Content-Length: {length}")) + WORD),
        // Two lengths, or one that is no number.
        (0_u64..100).prop_map(move |other| {
            head(&format!("Content-Length: 10\r\nContent-Length: {}", other + 11)) + WORD
        }),
        "[^0-9\r\n]{1,12}".prop_map(move |length| head(&format!("Content-Length: x{length}")) + WORD),
        // Chunks without an end, without a size, or larger than any answer.
        Just(head("Transfer-Encoding: chunked") + "a\r\nTerminated\r\n"),
        "[g-z]{1,9}"
            .prop_map(move |size| head("Transfer-Encoding: chunked") + &size + "\r\nTerminated\r\n0\r\n\r\n"),
        Just(head("Transfer-Encoding: chunked") + "ffffffffffffffffff\r\nTerminated"),
        // More headers, or a longer one, than anybody sends.
        (101_usize..300).prop_map(move |count| head(&"X: y\r\n".repeat(count)) + WORD),
        (140_000_usize..200_000)
            .prop_map(move |long| head(&format!("Content-Length: 10\r\nX: {}", "y".repeat(long))) + WORD),
        // A body without an end.
        (262_145_usize..400_000).prop_map(
            move |long| head(&format!("Content-Length: {long}")) + &"Terminated".repeat(long / 10 + 1)
        ),
        // Another protocol, another version, no status.
        Just("HTTP/2 200\r\n\r\nTerminated".to_owned()),
        Just("HTTP/1.1 OK\r\nContent-Length: 10\r\n\r\nTerminated".to_owned()),
        Just("Terminated".to_owned()),
    ]
    .prop_map(String::into_bytes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn a_broken_answer_is_never_taken_for_a_state(answer in broken()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let state = runtime.block_on(async {
            let host = Host::start(move |_, request: &str| {
                let token = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nt".to_vec();
                // Where more is announced than comes, only the end of the connection says that none comes.
                Some(if request.starts_with("PUT") { token } else { [answer.as_slice(), HANG_UP].concat() })
            })
            .await;
            Imds::new(&host.url).expect("a valid address").get(STATE).await
        });
        prop_assert!(!matches!(&state, Ok(Some(state)) if state == "Terminated"), "{:?}", state);
    }
}

fn client(fake: &Fake) -> Arc<Imds> {
    Arc::new(Imds::new(&fake.url).expect("the fake has a valid address"))
}
