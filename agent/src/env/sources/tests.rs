//! What is asked of AWS, how often, and what becomes of every kind of answer.

use super::super::plan::Plan;
use super::*;
use crate::fake::{self, Asked, Fake};
use crate::imds::Imds;
use aws_config::retry::RetryConfig;
use serde_json::{Value, json};
use std::sync::Arc;

/// A store with `/shop/1` … `/shop/12` and two secrets.
fn store(asked: &Asked, _number: usize) -> (u16, String) {
    let body: Value = serde_json::from_str(&asked.body).expect("a request is JSON");
    if asked.header("x-amz-target") == "AmazonSSM.GetParameters" {
        assert_eq!(body["WithDecryption"], true);
        let names = body["Names"].as_array().expect("a list of names");
        assert!(names.len() <= 10, "ten names a call at most");
        let found: Vec<Value> = names.iter().filter_map(|name| parameter(name.as_str()?)).collect();
        return (200, json!({ "Parameters": found, "InvalidParameters": [] }).to_string());
    }
    assert_eq!(asked.header("x-amz-target"), "secretsmanager.GetSecretValue");
    let text = match body["SecretId"].as_str() {
        Some("shop/api") => json!({ "SecretString": r#"{"key":"k1","port":5432,"on":true,"list":[]}"# }),
        Some("shop/session") => json!({ "SecretString": "s1" }),
        Some("shop/binary") => json!({ "SecretBinary": "AAEC" }),
        _ => return (400, r#"{"__type":"ResourceNotFoundException","Message":"no such secret"}"#.to_owned()),
    };
    (200, text.to_string())
}

fn parameter(asked: &str) -> Option<Value> {
    let (name, selector) = match asked.strip_prefix("arn:aws:ssm:eu-central-1:1:parameter") {
        Some(name) => (name, ""),
        None => asked.split_once(':').unwrap_or((asked, "")),
    };
    let number: u32 = name.strip_prefix("/shop/")?.parse().ok()?;
    let selector = if selector.is_empty() { Value::Null } else { json!(format!(":{selector}")) };
    let mut found = json!({
        "Name": name, "ARN": format!("arn:aws:ssm:eu-central-1:1:parameter{name}"), "Type": "SecureString",
        "Value": format!("value {number}"),
    });
    if !selector.is_null() {
        found["Selector"] = selector;
    }
    Some(found)
}

fn aws(url: &str) -> Aws {
    let config =
        fake::sdk(url).to_builder().retry_config(RetryConfig::standard().with_max_attempts(1)).build();
    Aws::with_config(Arc::new(Imds::new(url).expect("a valid address")), config)
}

async fn values(url: &str, env: &str) -> Result<Vec<(String, String)>, String> {
    let data = kiln_userdata::parse(format!("#kiln\n[env]\n{env}\n").as_bytes()).expect("it is valid");
    let plan = Plan::new(&data);
    let values = Values::fetch(&plan, &aws(url)).await.map_err(|error| error.to_string())?;
    let known = plan.resolve(&[], |name, value| values.of(name, value)).map_err(|error| error.to_string())?;
    Ok(known.shared.into_iter().map(|(name, value)| (name, value.expose().to_owned())).collect())
}

#[tokio::test]
async fn every_source_is_read_once_ten_parameters_to_a_call() {
    let fake = Fake::start(store).await;
    let lines: Vec<String> =
        (1..=12).map(|number| format!("P{number} = {{ ssm = \"/shop/{number}\" }}\n")).collect();
    let mut env = lines.concat();
    env += "AGAIN = { ssm = \"/shop/1\" }\nKEY = { secret = \"shop/api\", key = \"key\" }\n\
            PORT = { secret = \"shop/api\", key = \"port\" }\nON = { secret = \"shop/api\", key = \"on\" }\n\
            SESSION = { secret = \"shop/session\" }\nPLAIN = \"x\"";
    let found = values(&fake.url, &env).await.expect("every source answers");
    let value = |wanted: &str| found.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    assert_eq!((value("P12"), value("AGAIN")), (Some("value 12"), Some("value 1")));
    assert_eq!((value("KEY"), value("PORT"), value("ON")), (Some("k1"), Some("5432"), Some("true")));
    assert_eq!((value("SESSION"), value("PLAIN")), (Some("s1"), Some("x")));
    assert_eq!(fake.asked().len(), 4, "two calls for parameters, one for each secret");
}

#[tokio::test]
async fn a_parameter_answers_to_its_arn_its_version_and_its_label() {
    let fake = Fake::start(store).await;
    let env = "A = { ssm = \"arn:aws:ssm:eu-central-1:1:parameter/shop/3\" }\nB = { ssm = \"/shop/4:7\" }\n\
               C = { ssm = \"/shop/5:prod\" }";
    let found = values(&fake.url, env).await.expect("every source answers");
    let found: Vec<&str> = found.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(found, ["value 3", "value 4", "value 5"]);
}

#[tokio::test]
async fn what_is_not_there_is_named_by_variable_and_source() {
    let fake = Fake::start(store).await;
    let table = [
        (
            "A = { ssm = \"/till/1\" }",
            "'A' from parameter /till/1: there is no such parameter in this region",
        ),
        ("A = { secret = \"shop/binary\" }", "'A' from secret shop/binary: it holds no text"),
        (
            "A = { secret = \"shop/api\", key = \"kye\" }",
            "'A' from key kye of secret shop/api: it has no such key",
        ),
        ("A = { secret = \"shop/api\", key = \"list\" }", "the key's value is no text"),
        ("A = { secret = \"shop/session\", key = \"a\" }", "it is no JSON object, and has no keys"),
        ("A = { secret = \"till\" }", "ResourceNotFoundException: no such secret"),
    ];
    for (env, wanted) in table {
        let error = values(&fake.url, env).await.expect_err(env);
        assert!(error.contains(wanted), "{env}: {error}");
        assert!(!error.contains("s1") && !error.contains("k1"), "{error}");
    }
    assert_eq!(fake.asked().len(), table.len(), "none is asked for again");
}

#[tokio::test]
async fn a_denied_source_is_asked_once_and_says_what_to_allow() {
    let fake = Fake::start(|_, _| (400, r#"{"__type":"AccessDeniedException","Message":"no"}"#)).await;
    let error = values(&fake.url, "A = { ssm = \"/shop/1\" }").await.expect_err("it is denied");
    assert!(
        error.ends_with("allow the role ssm:GetParameters, and kms:Decrypt with the parameter's key"),
        "{error}"
    );
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn a_source_that_is_throttled_or_down_is_asked_again() {
    let fake = Fake::start(|asked, number| match number {
        0 => (400, r#"{"__type":"ThrottlingException","Message":"slow down"}"#.to_owned()),
        1 => (503, String::new()),
        _ => store(asked, number),
    })
    .await;
    let found = values(&fake.url, "A = { ssm = \"/shop/1\" }").await.expect("the third call is answered");
    assert_eq!(found[0].1, "value 1");
    assert_eq!(fake.asked().len(), 3);
}

#[tokio::test]
async fn hostile_answers_are_refused_without_being_shown() {
    for answer in [
        "",
        "[]",
        "{\"Parameters\":[{}]}",
        "{\"Parameters\":{\"hunter2\":1}}",
        "{\"Parameters\":[{\"Name\":\"/shop/1\",\"Value\":7}]}",
        "{\"Parameters\":[{\"Name\":\"/shop/2\",\"Value\":\"hunter2\"}]}",
        "\u{fffd}hunter2",
    ] {
        let fake = Fake::start(move |_, _| (200, answer)).await;
        let error = values(&fake.url, "A = { ssm = \"/shop/1\" }").await.expect_err(answer);
        assert!(!error.contains("hunter2"), "{error}");
    }
}
