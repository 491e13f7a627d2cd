//! What compose writes, parse reads as it was; what does not fit or looks like a secret is refused with the place.

use kiln_userdata::{Form, LIMIT, Leaf, Refusal, Source, UserData, compose, parse};
use proptest::prelude::*;

#[test]
fn the_least_wrapping_that_fits_is_taken() {
    let big = long_script(20_000);
    let cases: [(&[Vec<u8>], Form); 5] = [
        (&[], Form::Plain),
        (&[script(b"echo hello\n")], Form::Plain),
        (std::slice::from_ref(&big), Form::Gzip),
        (&[script(b"echo hello\n"), b"#kiln\n".to_vec()], Form::Mime),
        (&[big.clone(), b"#cloud-config\nhostname: shop\n".to_vec()], Form::MimeGzip),
    ];
    for (bodies, form) in cases {
        let composed = compose(&sources(bodies)).expect("it fits");
        assert_eq!(composed.form, form);
        assert!(composed.bytes.len() <= LIMIT);
        let data = parse(&composed.bytes).expect("what was composed is valid");
        assert_eq!(data.leaves().len(), bodies.len());
    }
}

#[test]
fn the_same_sources_give_the_same_bytes() {
    let sources = sources(&[long_script(30_000), b"#kiln\n".to_vec()]);
    assert_eq!(compose(&sources), compose(&sources));
}

#[test]
fn what_does_not_fit_is_refused_with_its_size() {
    let mut noise = b"#!/bin/sh\nexit\n".to_vec();
    let mut state = 1_u32;
    noise.extend((0..20_000).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    }));
    let refusal = compose(&sources(&[noise])).expect_err("noise does not pack");
    let Refusal::TooLarge { plain, size, .. } = &refusal else { panic!("{refusal}") };
    assert!(*plain == 20_015 && *size > LIMIT);
    assert!(refusal.to_string().starts_with("user data is 20015 bytes and "), "{refusal}");
}

#[test]
fn a_source_that_an_instance_would_refuse_is_refused_here() {
    for (body, expected) in [
        (&b"#kiln\n[envs]\n"[..], "part 1 ('file-1'), line 2, column 2: unknown key 'envs'"),
        (b"echo hello\n", "part 1 ('file-1'), byte 0: is of no known kind"),
        (b"Content-Type: text/x-shellscript\n\n#!/bin/sh\n", "part 1 ('file-1') is wrapped already"),
    ] {
        let refusal = compose(&sources(&[body.to_vec()])).expect_err("not a source").to_string();
        assert!(refusal.starts_with(expected), "{refusal}");
    }
}

#[test]
fn what_looks_like_a_secret_is_refused_by_rule_and_place() {
    // Put together here, so that no scanner of repositories takes the samples for real.
    let key = ["AKIA", "IOSFODNN7QUALITY"].concat();
    let pem = ["-----BEGIN RSA ", "PRIVATE KEY-----"].concat();
    let token = ["ghp", "_0123456789abcdefghij"].concat();
    let cases = [
        (format!("#!/bin/sh\nid={key}\n"), 2, 4, "an AWS access key id"),
        (format!("#!/bin/sh\ncat <<E\n{pem}\n"), 3, 1, "a private key"),
        (format!("#!/bin/sh\ngit clone https://{token}@github.com/a/b\n"), 2, 19, "an access token"),
        ("#!/bin/sh\nexport DB_PASSWORD='hunter2'\n".to_owned(), 2, 8, "a literal secret"),
        ("#!/bin/sh\nmysql --password hunter2\n".to_owned(), 2, 7, "a literal secret"),
        ("#!/bin/sh\nmysql --password=hunter2\n".to_owned(), 2, 7, "a literal secret"),
        ("#kiln\n[env]\nAPI_KEY = \"hunter2\"\n".to_owned(), 3, 1, "a literal secret"),
        (
            "#kiln\n[env]\nA = \"postgres://shop:hunter2@db/shop\"\n".to_owned(),
            3,
            14,
            "a password in an address",
        ),
        (
            "#cloud-config\nwrite_files:\n  - path: /a\n    content: '{\"token\": \"hunter2\"}'\n".to_owned(),
            4,
            17,
            "a literal secret",
        ),
    ];
    for (text, line, column, what) in cases {
        let refusal = compose(&sources(&[text.clone().into_bytes()])).expect_err(&text);
        let message = refusal.to_string();
        let expected = format!("part 1 ('file-1'), line {line}, column {column}: looks like {what}");
        assert!(message.starts_with(&expected), "{text}: {message}");
        assert!(!message.contains("hunter2") && !message.contains(&key), "{message}");
    }
}

#[test]
fn encoded_content_is_looked_at_decoded() {
    // PASSWORD=hunter2
    let text = "#kiln\n[[file]]\npath = \"/etc/a\"\nbase64 = \"UEFTU1dPUkQ9aHVudGVyMg==\"\n";
    let refusal = compose(&sources(&[text.as_bytes().to_vec()])).expect_err("a secret");
    assert!(
        refusal.to_string().starts_with("part 1 ('file-1'), content of /etc/a, line 1, column 1: looks like")
    );
}

#[test]
fn what_only_names_a_secret_is_let_through() {
    for text in [
        "#!/bin/sh\nTOKEN=$(curl -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token)\n",
        "#!/bin/sh\ncurl -H \"X-aws-ec2-metadata-token: $TOKEN\" http://169.254.169.254/\n",
        "#!/bin/sh\nPASSWORD=\"$(cat /run/password)\"\nif [ \"$token\" == \"\" ]; then exit 1; fi\n",
        "#!/bin/sh\nmysql --password\nexport PASSWORD_FILE=/run/password\n",
        "#kiln\n[env]\nAPI_TOKEN = { ssm = \"/shop/token\" }\nKEY = { secret = \"shop/api\", key = \"token\" }\n",
        "#kiln\n[env]\nURL = \"postgres://db/shop\"\nPASSWORD = \"\"\n",
        "#cloud-config\nruncmd: [\"echo 'password: none'\"]\n",
    ] {
        if let Err(refusal) = compose(&sources(&[text.as_bytes().to_vec()])) {
            panic!("{text}: {refusal}");
        }
    }
}

proptest! {
    #[test]
    fn what_is_composed_is_read_as_it_was(sources in proptest::collection::vec(a_source(), 0..6)) {
        let composed = match compose(&sources) {
            Ok(composed) => composed,
            // Random bytes may pass for a secret, and may not pack.
            Err(Refusal::Secret(_) | Refusal::TooLarge { .. }) => return Ok(()),
            Err(other) => return Err(TestCaseError::fail(other.to_string())),
        };
        prop_assert!(composed.bytes.len() <= LIMIT);
        let data = parse(&composed.bytes).expect("what was composed is valid");
        let leaves = data.leaves();
        let alone: Vec<UserData> =
            sources.iter().map(|source| parse(&source.bytes).expect("each source is valid alone")).collect();
        let wanted: Vec<_> = alone.iter().flat_map(UserData::leaves).collect();
        prop_assert_eq!(leaves.len(), wanted.len());
        for (((label, got), (_, want)), source) in leaves.iter().zip(&wanted).zip(&sources) {
            prop_assert_eq!(format!("{got:?}"), format!("{want:?}"));
            if let (Leaf::Script(got), Leaf::Script(want)) = (got, want) {
                prop_assert_eq!(got.body(), want.body());
            }
            if let (Leaf::Kiln(got), Leaf::Kiln(want)) = (got, want) {
                prop_assert_eq!(got, want);
            }
            if let Some(label) = label {
                prop_assert_eq!(&label.filename, &source.filename);
            }
        }
    }
}

fn a_source() -> impl Strategy<Value = Source> {
    let body = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..600).prop_map(|tail| script(&tail)),
        "(--==kiln-[0-9]==(--)?\n|[ -~]{0,80}\n|\r\n|[\t é]{0,9}){0,40}"
            .prop_map(|tail| script(tail.as_bytes())),
        "[a-z é\"\\\\]{0,60}".prop_map(|value| {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"");
            format!("#kiln\n[env]\nNAME = \"{value}\"\n").into_bytes()
        }),
        "[a-z ]{1,60}".prop_map(|words| format!("#cloud-config\nruncmd: ['x{words}']\n").into_bytes()),
    ];
    let filename = proptest::option::of("[a-zA-Z0-9._ \"\\\\;é/-]{1,20}");
    (filename, body).prop_map(|(filename, bytes)| Source { filename, bytes })
}

fn script(tail: &[u8]) -> Vec<u8> {
    [b"#!/bin/sh\n", tail].concat()
}

fn long_script(size: usize) -> Vec<u8> {
    script("echo hello\n".repeat(size / 11).as_bytes())
}

fn sources(bodies: &[Vec<u8>]) -> Vec<Source> {
    let named = |(index, bytes): (usize, &Vec<u8>)| Source {
        filename: Some(format!("file-{}", index + 1)),
        bytes: bytes.clone(),
    };
    bodies.iter().enumerate().map(named).collect()
}
