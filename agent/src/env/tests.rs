//! The writer against a reader written from systemd's source, and whole environments under a folder.

use super::file::write as render;
use super::*;
use crate::imds::Imds;
use proptest::prelude::*;
use std::sync::Arc;

/// The states of `parse_env_file_internal`, without comments' continuation lines, which v254 changed.
fn read(text: &str) -> Vec<(String, String)> {
    #[derive(PartialEq)]
    enum At {
        BeforeKey,
        Key,
        BeforeValue,
        Value,
        ValueEscape,
        Single,
        Double,
        DoubleEscape,
        Comment,
    }
    let (mut at, mut key, mut value, mut found) = (At::BeforeKey, String::new(), String::new(), Vec::new());
    let white = |letter: char| " \t\n\r".contains(letter);
    for letter in text.chars() {
        let line_ends = letter == '\n' || letter == '\r';
        at = match at {
            At::BeforeKey if letter == '#' || letter == ';' => At::Comment,
            At::BeforeKey if white(letter) => At::BeforeKey,
            At::Key if line_ends => {
                key.clear();
                At::BeforeKey
            }
            At::Key if letter == '=' => At::BeforeValue,
            At::BeforeKey | At::Key => {
                key.push(letter);
                At::Key
            }
            At::BeforeValue | At::Value if line_ends => {
                found.push((std::mem::take(&mut key), std::mem::take(&mut value).trim_end().to_owned()));
                At::BeforeKey
            }
            At::BeforeValue if letter == '\'' => At::Single,
            At::BeforeValue if letter == '"' => At::Double,
            At::BeforeValue | At::Value if letter == '\\' => At::ValueEscape,
            At::BeforeValue if white(letter) => At::BeforeValue,
            At::BeforeValue | At::Value | At::ValueEscape => {
                value.push(letter);
                At::Value
            }
            At::Single if letter == '\'' => At::BeforeValue,
            At::Double if letter == '"' => {
                // The trimming above is the unquoted value's alone.
                value.push('\u{1}');
                At::BeforeValue
            }
            At::Double if letter == '\\' => At::DoubleEscape,
            At::Single => {
                value.push(letter);
                At::Single
            }
            At::Double => {
                value.push(letter);
                At::Double
            }
            At::DoubleEscape => {
                if !"\"\\`$".contains(letter) && letter != '\n' {
                    value.push('\\');
                }
                if letter != '\n' {
                    value.push(letter);
                }
                At::Double
            }
            At::Comment if line_ends => At::BeforeKey,
            At::Comment => At::Comment,
        };
    }
    assert!(at == At::BeforeKey, "the last line is ended");
    found.into_iter().map(|(key, value)| (key, value.replacen('\u{1}', "", 1))).collect()
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, Secret)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), Secret::new((*value).to_owned()))).collect()
}

proptest! {
    #[test]
    fn what_is_written_systemd_reads_back(
        pairs in proptest::collection::vec(("[A-Za-z_][A-Za-z0-9_]{0,8}", "([\\PC]|[\"'\\\\$`=#; \n\r\t]){0,40}"), 0..6),
    ) {
        let given: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        // proptest's \PC leaves control characters out, and with them every noncharacter.
        let text = render(&variables(&given)).expect("every such value is carried");
        prop_assert_eq!(read(text.expose()), pairs);
    }
}

#[test]
fn a_file_looks_like_this() {
    let given =
        [("PLAIN", "a b"), ("QUOTED", "\"it's\" $HOME `x` \\n"), ("LINES", "one\ntwo\n"), ("NONE", "")];
    let text = render(&variables(&given)).expect("every value is carried");
    let (_, body) = text.expose().split_once('\n').expect("a line that says whose it is");
    assert_eq!(
        body,
        "PLAIN=\"a b\"\nQUOTED=\"\\\"it's\\\" \\$HOME \\`x\\` \\\\n\"\nLINES=\"one\ntwo\n\"\nNONE=\"\"\n"
    );
}

#[test]
fn what_systemd_would_refuse_is_refused_by_name() {
    for value in ["a\0b", "\u{FFFE}", "\u{FDD0}", "\u{1FFFF}"] {
        let error = render(&variables(&[("KEY", value)])).expect_err("it is refused");
        assert!(error.to_string().starts_with("variable 'KEY' holds a"), "{error}");
    }
}

#[test]
fn a_secret_shows_its_length_alone() {
    assert_eq!(format!("{:?}", Secret::new("hunter2".to_owned())), "Secret(7 bytes)");
}

#[tokio::test]
async fn every_service_gets_env_and_one_its_own_over_it() {
    let root = image(&["shop", "movies"]);
    let text = "#kiln\n[env]\nA = \"1\"\nB = \"2\"\n[service.movies.env]\nB = \"3\"\nC = \"4\"\n";
    let written = written(root.path(), text).await.expect("it is written");
    assert_eq!(written.services, ["shop", "movies"]);
    assert_eq!(written.shared, variables(&[("A", "1"), ("B", "2")]));
    assert_eq!(file(root.path(), "shop"), [("A", "1"), ("B", "2")].map(owned));
    assert_eq!(file(root.path(), "movies"), [("A", "1"), ("B", "3"), ("C", "4")].map(owned));
    for (path, mode) in [("", 0o700), ("shop.env", 0o600)] {
        let kept = std::fs::metadata(root.path().join(FOLDER).join(path)).expect("it is there");
        assert_eq!(kept.permissions().mode() & 0o777, mode, "{path}");
    }
}

#[tokio::test]
async fn a_later_document_goes_over_an_earlier_one() {
    let root = image(&["shop"]);
    let part = |text: &str| format!("--b\nContent-Type: text/x-kiln\n\n#kiln\n[env]\n{text}\n");
    let text = format!(
        "Content-Type: multipart/mixed; boundary=b\nMIME-Version: 1.0\n\n{}{}--b--\n",
        part("A = \"1\"\nB = \"1\""),
        part("B = \"2\"")
    );
    written(root.path(), &text).await.expect("it is written");
    assert_eq!(file(root.path(), "shop"), [("A", "1"), ("B", "2")].map(owned));
}

#[tokio::test]
async fn what_nothing_asks_for_any_more_is_taken_away() {
    let root = image(&["shop", "movies"]);
    written(root.path(), "#kiln\n[env]\nA = \"1\"\n").await.expect("it is written");
    written(root.path(), "#kiln\n[service.shop.env]\nA = \"2\"\n").await.expect("it is written");
    assert_eq!(file(root.path(), "shop"), [("A", "2")].map(owned));
    assert!(!root.path().join(FOLDER).join("movies.env").exists());
    assert_eq!(written(root.path(), "").await.expect("nothing is asked for"), Written::default());
    assert!(!root.path().join(FOLDER).join("shop.env").exists());
}

#[tokio::test]
async fn without_env_no_image_is_needed() {
    let root = tempfile::tempdir().expect("a folder");
    assert_eq!(written(root.path(), "#!/bin/sh\n").await.expect("no more"), Written::default());
    assert!(!root.path().join("run").exists());
}

#[tokio::test]
async fn a_service_that_the_image_has_not_is_named_and_nothing_is_written() {
    let root = image(&["shop"]);
    let error = written(root.path(), "#kiln\n[env]\nA = \"1\"\n[service.till.env]\nB = \"1\"\n").await;
    let message = error.expect_err("it is refused").to_string();
    assert_eq!(message, "user data has [service.till.env], and the image's services are shop");
    assert!(!root.path().join(FOLDER).exists());
}

#[tokio::test]
async fn an_image_that_does_not_name_its_services_is_refused() {
    for content in ["", "{", "{\"services\":[{\"name\":\"../shop\"}]}", "{\"services\":[{\"name\":\"\"}]}"] {
        let root = tempfile::tempdir().expect("a folder");
        durable::write(&root.path().join(IMAGE), content.as_bytes(), 0o644).expect("the file is written");
        let error = written(root.path(), "#kiln\n[env]\nA = \"1\"\n").await.expect_err("it is refused");
        assert!(error.to_string().contains("provision the image with kiln"), "{error}");
        assert!(!root.path().join(FOLDER).exists());
    }
}

fn image(services: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a folder");
    let names: Vec<_> =
        services.iter().map(|name| serde_json::json!({ "name": name, "path": "/" })).collect();
    let text = serde_json::json!({ "name": "shop", "services": names }).to_string();
    durable::write(&root.path().join(IMAGE), text.as_bytes(), 0o644).expect("the file is written");
    root
}

async fn written(root: &Path, text: &str) -> Result<Written, Error> {
    let data = kiln_userdata::parse(text.as_bytes()).expect("it is valid");
    write(root, &data, &nowhere()).await
}

fn file(root: &Path, service: &str) -> Vec<(String, String)> {
    let path = root.join(FOLDER).join(format!("{service}.env"));
    read(&std::fs::read_to_string(path).expect("the service has a file"))
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[tokio::test]
async fn a_refresh_restarts_the_services_whose_values_changed_and_no_other() {
    let root = image(&["shop", "movies"]);
    let said = root.path().join("said");
    let systemctl = root.path().join("systemctl");
    let script = format!("#!/bin/sh\necho \"$@\" >> {}\n", said.display());
    durable::write(&systemctl, script.as_bytes(), 0o755).expect("the script is written");
    let refreshed = async |text: &str| {
        let data = kiln_userdata::parse(text.as_bytes()).expect("it is valid");
        let changed = compare(root.path(), &data, &nowhere()).await.expect("it is compared");
        let done = refresh(root.path(), &data, &nowhere(), &systemctl).await.expect("it is refreshed");
        assert!(done.iter().all(|one| one.failure.is_none()), "{done:?}");
        let names: Vec<String> = done.into_iter().map(|one| one.service).collect();
        assert_eq!(names, changed, "a comparison finds what a refresh would change");
        names
    };
    let both = "#kiln\n[env]\nA = \"1\"\n[service.movies.env]\nB = \"1\"\n";
    written(root.path(), both).await.expect("it is written");
    assert_eq!(refreshed(both).await, Vec::<String>::new());
    assert!(!said.exists(), "nothing is restarted");
    assert_eq!(refreshed(&both.replace("B = \"1\"", "B = \"2\"")).await, ["movies"]);
    assert_eq!(file(root.path(), "movies"), [("A", "1"), ("B", "2")].map(owned));
    assert_eq!(refreshed("#kiln\n[service.movies.env]\nA = \"1\"\nB = \"2\"\n").await, ["shop"]);
    assert!(!root.path().join(FOLDER).join("shop.env").exists());
    let said = std::fs::read_to_string(said).expect("systemctl was run");
    assert_eq!(said, "try-restart gunicorn@movies.service\ntry-restart gunicorn@shop.service\n");
}

#[tokio::test]
async fn a_source_that_does_not_answer_changes_nothing() {
    let root = image(&["shop"]);
    written(root.path(), "#kiln\n[env]\nA = \"1\"\n").await.expect("it is written");
    let fake = crate::fake::Fake::start(|_, _| (400, r#"{"__type":"AccessDeniedException"}"#)).await;
    let config = crate::fake::sdk(&fake.url);
    let aws = Aws::with_config(Arc::new(Imds::new(&fake.url).expect("an address")), config);
    let data = kiln_userdata::parse(b"#kiln\n[env]\nA = { ssm = \"/a\" }\n").expect("it is valid");
    for result in [
        write(root.path(), &data, &aws).await.map(|_| ()),
        refresh(root.path(), &data, &aws, Path::new("/nonexistent")).await.map(|_| ()),
    ] {
        let message = result.expect_err("the source is denied").to_string();
        assert!(message.starts_with("failed to read variable 'A' from parameter /a: "), "{message}");
        assert_eq!(file(root.path(), "shop"), [("A", "1")].map(owned));
    }
}

#[tokio::test]
async fn a_restart_that_fails_is_reported_with_its_unit() {
    let root = image(&["shop"]);
    let data = kiln_userdata::parse(b"#kiln\n[env]\nA = \"1\"\n").expect("it is valid");
    let done = refresh(root.path(), &data, &nowhere(), Path::new("/bin/false")).await.expect("it is written");
    let failure = done[0].failure.as_deref().expect("the restart failed");
    assert!(failure.starts_with("systemctl try-restart gunicorn@shop.service exited with 1"), "{failure}");
}

/// Port 1 of loopback: what is written from literals must not ask AWS.
fn nowhere() -> Aws {
    Aws::new(Arc::new(Imds::new("http://127.0.0.1:1").expect("an address")))
}
