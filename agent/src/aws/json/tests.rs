//! The wire as a service sees it, on loopback.

use super::super::{LOGS, SECRETS_MANAGER, SSM};
use super::*;
use crate::fake::{self, Fake};
use crate::imds::Imds;
use aws_config::retry::RetryConfig;
use proptest::prelude::*;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Secret {
    secret_string: String,
}

#[tokio::test]
async fn a_call_is_signed_and_names_its_operation() {
    let fake = Fake::start(|_, _| (200, r#"{"SecretString":"hunter2"}"#)).await;
    let secret: Secret = aws(&fake.url, 1)
        .json(&SECRETS_MANAGER, "GetSecretValue", &json!({ "SecretId": "db" }))
        .await
        .expect("it is answered");
    assert_eq!(secret.secret_string, "hunter2");
    let [asked] = &fake.asked()[..] else { panic!("one request") };
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/"));
    assert_eq!(asked.body, r#"{"SecretId":"db"}"#);
    assert_eq!(asked.header("x-amz-target"), "secretsmanager.GetSecretValue");
    assert_eq!(asked.header("content-type"), "application/x-amz-json-1.1");
    assert_eq!(asked.header("x-amz-date").len(), "20260101T000000Z".len());
    assert!(asked.header("user-agent").starts_with("kiln-agent/"));
    let signature = asked.header("authorization");
    assert!(signature.starts_with("AWS4-HMAC-SHA256 Credential=a/"), "{signature}");
    assert!(signature.contains("/eu-central-1/secretsmanager/aws4_request, "), "{signature}");
    assert!(signature.contains("SignedHeaders=content-type;host;x-amz-date;x-amz-target, "), "{signature}");
}

#[tokio::test]
async fn what_passes_is_asked_three_times_and_what_does_not_once() {
    let refusal = |code: &str| format!(r#"{{"__type":"{code}","message":"so it is"}}"#);
    let table = [
        (400, refusal("ThrottlingException"), 3),
        (500, refusal("InternalServerError"), 3),
        (503, String::new(), 3),
        (429, "<html>slow down</html>".to_owned(), 3),
        (400, refusal("AccessDeniedException"), 1),
        (400, refusal("ValidationException"), 1),
        (400, refusal("ResourceNotFoundException"), 1),
        (403, String::new(), 1),
    ];
    for (status, body, attempts) in table {
        let answer = body.clone();
        let fake = Fake::start(move |_, _| (status, answer.clone())).await;
        let error = call(&aws(&fake.url, 3)).await.expect_err("it is refused");
        assert_eq!(fake.asked().len(), attempts, "{status} {body}");
        assert_eq!(error.is_denied(), body.contains("AccessDenied"), "{error}");
        assert_eq!(error.is_silence(), !body.contains("__type"), "{error}");
    }
}

#[tokio::test]
async fn an_attempt_that_succeeds_ends_the_retries() {
    let fake = Fake::start(|_, number| if number < 2 { (500, "") } else { (200, "") }).await;
    call(&aws(&fake.url, 3)).await.expect("the third attempt succeeds");
    assert_eq!(fake.asked().len(), 3);
}

#[tokio::test]
async fn a_connection_that_breaks_is_tried_again_and_is_silence() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            drop(stream);
        }
    });
    let error = call(&aws(&url, 3)).await.expect_err("nobody answers");
    assert!(error.is_silence(), "{error}");
    assert_eq!(seen.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn no_error_and_no_debug_output_shows_a_secret() {
    let fake = Fake::start(|_, _| (200, r#"{"SecretString":["hunter2"]}"#)).await;
    let aws = aws(&fake.url, 1);
    let error = aws
        .json::<_, Secret>(&SECRETS_MANAGER, "GetSecretValue", &json!({ "SecretId": "hunter2" }))
        .await
        .expect_err("a list is no string");
    assert!(matches!(error, Error::Garbled { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "failed to call GetSecretValue: its answer is not as documented (Data at 1:16)"
    );
    assert!(!format!("{error:?} {aws:?}").contains("hunter2"));
}

#[tokio::test]
async fn without_credentials_nothing_is_sent() {
    let fake = Fake::start(|_, _| (200, "{}")).await;
    let mut bare = fake::sdk(&fake.url).to_builder();
    bare.set_credentials_provider(None);
    let imds = Arc::new(Imds::new(&fake.url).expect("a valid address"));
    let error = call(&Aws::with_config(imds, bare.build())).await.expect_err("there are none");
    assert!(error.is_silence(), "{error}");
    assert!(fake.asked().is_empty());
}

async fn call(aws: &Aws) -> Result<IgnoredAny, Error> {
    aws.json(&SSM, "GetParameters", &json!({ "Names": ["/shop"], "WithDecryption": true })).await
}

fn aws(url: &str, attempts: u32) -> Aws {
    let retries =
        RetryConfig::standard().with_max_attempts(attempts).with_initial_backoff(Duration::from_millis(1));
    let config = fake::sdk(url).to_builder().retry_config(retries).build();
    Aws::with_config(Arc::new(Imds::new(url).expect("a valid address")), config)
}

proptest! {
    #[test]
    fn any_answer_is_read_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        text in "[\\[{]{0,40}(\"SecretString\"|[a-z0-9:,\"\\\\]|[\\]}])*",
    ) {
        for reply in [&bytes[..], text.as_bytes()] {
            if let Err(error) = read::<Secret>(LOGS.target, reply) {
                prop_assert!(!error.is_silence() && !error.is_denied());
            }
            let _ = read::<Value>("Any", reply);
        }
    }
}
