//! What the configuration and user data name in other services: the record's destination, parameters and secrets.

use super::*;
use proptest::prelude::*;

const LOGS: &str = "record.to = \"logs\"\nrecord.log_group = \"/shop/record\"";
const S3: &str = "record.to = \"s3\"\nrecord.bucket = \"records\"\nrecord.prefix = \"shop/\"";
const ENV: &str = "#kiln\n[env]\nA = { ssm = \"/shop/a\" }\nB = { secret = \"shop/api\", key = \"b\" }\n\
                   [service.shop.env]\nC = { ssm = \"/shop/a\" }\n";
const ROLE: &str = r#"{"InstanceProfileArn":"arn:aws:iam::123456789012:instance-profile/web"}"#;

/// The configuration, the calls that answer other than they should, and what the check of that name must say.
type Case = (&'static str, &'static [(&'static str, u16, &'static str)], &'static str, Result, &'static str);

#[tokio::test]
async fn each_call_that_the_configuration_implies_is_tried_and_judged() {
    const DENIED: &str = r#"{"__type":"AccessDeniedException","message":"User: x is not authorized"}"#;
    const NO_GROUP: &str =
        r#"{"__type":"ResourceNotFoundException","message":"The specified log group does not exist."}"#;
    const NO_BUCKET: &str = "<Error><Code>NoSuchBucket</Code><Message>none</Message></Error>";
    const NO_OBJECT: &str = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
    const NO_SECRET: &str = r#"{"__type":"ResourceNotFoundException","message":"can't find the secret"}"#;
    const NO_PARAMETER: &str = r#"{"Parameters":[],"InvalidParameters":["/shop/a"]}"#;
    let cases: [Case; 11] = [
        (LOGS, &[], "iam.PutLogEvents", Result::Ok, "very likely"),
        (LOGS, &[], "iam.CreateLogStream", Result::Skipped, "would leave a stream behind"),
        (LOGS, &[("PutLogEvents", 400, DENIED)], "iam.PutLogEvents", Result::Fail, "flight record is lost"),
        (
            LOGS,
            &[("PutLogEvents", 400, NO_GROUP)],
            "iam.PutLogEvents",
            Result::Fail,
            "log group does not exist",
        ),
        (S3, &[], "iam.PutObject", Result::Ok, "very likely"),
        (S3, &[("PutObject", 403, NO_OBJECT)], "iam.PutObject", Result::Fail, "flight record is lost"),
        (S3, &[("PutObject", 404, NO_BUCKET)], "iam.PutObject", Result::Fail, "NoSuchBucket"),
        ("", &[], "iam.GetParameters", Result::Ok, "answered"),
        ("", &[("GetParameters", 400, DENIED)], "iam.GetParameters", Result::Fail, "next boot fails"),
        (
            "",
            &[("GetParameters", 200, NO_PARAMETER)],
            "iam.GetParameters",
            Result::Fail,
            "no parameter '/shop/a'",
        ),
        (
            "",
            &[("GetSecretValue", 400, NO_SECRET)],
            "iam.GetSecretValue",
            Result::Fail,
            "can't find the secret",
        ),
    ];
    for (config, answers, check, result, said) in cases {
        let fake = elsewhere(answers).await;
        let report = Box::pin(examine_as(&fake, config)).await;
        let found: Vec<_> = report.checks.iter().filter(|finding| finding.check == check).collect();
        assert_eq!(found.len(), 1, "{check}: {found:?}");
        assert_eq!(found[0].result, result, "{found:?}");
        assert!(found[0].found.contains(said), "{found:?}");
        assert_eq!(found[0].remedy.is_some(), result == Result::Fail, "{found:?}");
        let shown = serde_json::to_string(&report).expect("it is plain");
        assert!(!shown.contains("hunter2"), "a value is shown: {shown}");
    }
}

#[tokio::test]
async fn what_nobody_has_configured_is_neither_asked_for_nor_spoken_of() {
    let fake = Fake::start(|asked, _| world(asked)).await;
    let report = Box::pin(examine_with(&fake)).await;
    for check in [
        "iam.PutLogEvents",
        "iam.CreateLogStream",
        "iam.PutObject",
        "iam.GetParameters",
        "iam.GetSecretValue",
    ] {
        assert!(report.checks.iter().all(|finding| finding.check != check), "{check}");
    }
    assert!(fake.asked().iter().all(|asked| call(asked).is_none()), "nothing else is called");
}

#[tokio::test]
async fn nothing_is_left_behind() {
    for config in [LOGS, S3] {
        let fake = elsewhere(&[]).await;
        Box::pin(examine_as(&fake, config)).await;
        let calls: Vec<Asked> = fake.asked().into_iter().filter(|asked| call(asked).is_some()).collect();
        let count = |name: &str| calls.iter().filter(|asked| call(asked) == Some(name)).count();
        assert_eq!(count("CreateLogStream"), 0);
        assert_eq!((count("GetParameters"), count("GetSecretValue")), (1, 1), "each source once");
        for asked in calls {
            match call(&asked) {
                Some("PutLogEvents") => {
                    assert!(asked.body.contains("kiln-doctor-tries") && asked.body.contains("/shop/record"));
                }
                Some("PutObject") => {
                    assert_eq!(asked.path, "/records/shop/kiln-doctor-tries-whether-it-may");
                    assert!(asked.body.is_empty());
                    // The digest of nothing is 1B2M2Y8AsgTpgAmY7PhCfg==.
                    assert_eq!(asked.header("content-md5"), "AAAAAAAAAAAAAAAAAAAAAA==");
                }
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn what_is_denied_elsewhere_is_part_of_the_missing_policy() {
    const DENIED: &str = r#"{"__type":"AccessDeniedException","message":"no"}"#;
    let denied =
        &[("PutLogEvents", 400, DENIED), ("GetParameters", 400, DENIED), ("GetSecretValue", 400, DENIED)];
    let report = Box::pin(examine_as(&elsewhere(denied).await, LOGS)).await;
    let expected = serde_json::json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
          "Resource": "arn:aws:logs:eu-central-1:123456789012:log-group:/shop/record:*" },
        { "Effect": "Allow", "Action": ["ssm:GetParameters", "secretsmanager:GetSecretValue"],
          "Resource": ["arn:aws:ssm:eu-central-1:123456789012:parameter/shop/a",
                       "arn:aws:secretsmanager:eu-central-1:123456789012:secret:shop/api-??????"] },
    ] });
    assert_eq!(report.missing_policy, Some(expected));
    let denied = "<Error><Code>AccessDenied</Code></Error>";
    let fake = Fake::start(move |asked, _| match call(asked) {
        Some("PutObject") => (403, denied.as_bytes().to_vec()),
        _ => world(asked),
    })
    .await;
    let policy = Box::pin(examine_as(&fake, S3)).await.missing_policy.expect("something is denied");
    assert_eq!(policy["Statement"][0]["Resource"], "arn:aws:s3:::records/shop/*");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_answer_from_elsewhere_is_a_finding_and_no_yes(
        status in prop_oneof![Just(200_u16), 300..599_u16],
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            "\\PC{0,80}".prop_map(String::into_bytes),
            Just(br#"{"Parameters":{},"InvalidParameters":7}"#.to_vec()),
            Just(br#"{"Parameters":[{}]"#.to_vec()),
            Just(br#"{"__type":["x"],"message":{}}"#.to_vec()),
        ],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let fake = Fake::start(move |asked, _| match call(asked) {
                Some(_) => (status, body.clone()),
                None => with_env(asked),
            })
            .await;
            let imds = Imds::new(&fake.url).expect("an address");
            let aws = Aws::with_config(Arc::new(Imds::new(&fake.url).expect("an address")), sdk(&fake.url));
            let config = Config::parse(LOGS, "test").expect("it is valid");
            let trials = [trials::record(&aws, &config).await, trials::sources(&imds, &aws).await].concat();
            assert_eq!(trials.len(), 4, "{trials:?}");
            // A secret is any document: its value is not looked at. The others are read, or refused.
            let parameters = trials.iter().find(|trial| trial.action == trials::PARAMETERS);
            let allowed = matches!(parameters.map(|trial| &trial.outcome), Some(Outcome::Allowed(_)));
            assert!(!allowed, "{parameters:?}");
        });
    }
}

/// A sound instance whose user data names sources, and these answers in the place of the right ones.
async fn elsewhere(answers: &[(&'static str, u16, &'static str)]) -> Fake {
    let answers: Vec<_> = answers.to_vec();
    Fake::start(move |asked, _| {
        let Some(call) = call(asked) else { return with_env(asked) };
        match answers.iter().find(|(name, ..)| *name == call) {
            Some((_, status, body)) => (*status, body.as_bytes().to_vec()),
            None => right(call),
        }
    })
    .await
}

/// What a service answers where all is well.
fn right(call: &str) -> (u16, Vec<u8>) {
    let (status, body) = match call {
        "PutLogEvents" => (
            400,
            r#"{"__type":"ResourceNotFoundException","message":"The specified log stream does not exist."}"#,
        ),
        "PutObject" => (400, "<Error><Code>BadDigest</Code><Message>did not match</Message></Error>"),
        "GetParameters" => {
            (200, r#"{"Parameters":[{"Name":"/shop/a","Value":"hunter2"}],"InvalidParameters":[]}"#)
        }
        _ => (200, r#"{"SecretString":"{\"b\":\"hunter2\"}"}"#),
    };
    (status, body.as_bytes().to_vec())
}

fn with_env(asked: &Asked) -> (u16, Vec<u8>) {
    if asked.body.is_empty() && asked.path.ends_with("/user-data") {
        let (status, text) = items(asked, &[("user-data", ENV), ("meta-data/iam/info", ROLE)]);
        return (status, text.into_bytes());
    }
    world(asked)
}

/// The operation of another service that is asked for.
fn call(asked: &Asked) -> Option<&str> {
    if asked.method == "PUT" && !asked.path.ends_with("/token") {
        return Some("PutObject");
    }
    let (_, operation) = asked.header("x-amz-target").split_once('.')?;
    Some(operation)
}
