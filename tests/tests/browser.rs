//! The browser of the other stories: it runs a page's scripts, sees what they wrote, and leaves nothing behind.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kiln_tests::browser::Browser;
use nix::sched::{CloneFlags, setns};

const PAGE: &str =
    "<!doctype html><title>t</title><p id=p>loading</p><button onclick=\"load('/clicked')\">go</button>
<script>async function load(from) { p.textContent = 'told ' + (await (await fetch(from)).json()).word }
load('/api/word')</script>";

const BOUND: Duration = Duration::from_secs(20);

#[test]
fn a_page_that_fetches_is_seen_as_a_person_sees_it() {
    let base = serve(None);
    let browser = Browser::start(&base).expect("a browser starts");
    browser.open("/").expect("the page opens");
    assert_eq!(browser.text_with("told", BOUND).expect("it fetches"), "told first\n\ngo");
    browser.click("button").expect("there is a button");
    browser.text_with("told second", BOUND).expect("it fetches again");

    let folder = tempfile::tempdir().expect("a scratch folder");
    let picture = folder.path().join("page.png");
    browser.screenshot(&picture).expect("a picture");
    assert!(std::fs::read(&picture).expect("it is there").starts_with(b"\x89PNG"));

    let error = browser.text_with("something else", Duration::ZERO).expect_err("it does not say that");
    assert!(error.to_string().contains("told second"), "{error}");
    browser.run("throw new Error('as asked')").expect_err("a script's error is the test's");
}

#[test]
fn a_browser_works_inside_a_network_namespace() {
    let network = Network::new();
    let base = serve(Some(&network.path));
    let browser = Browser::start_in(&network.path, &base).expect("a browser starts");
    browser.open("/").expect("the page opens");
    browser.text_with("told first", BOUND).expect("it fetches");
}

#[test]
fn nothing_of_a_browser_outlives_it() {
    let closed =
        TcpListener::bind("127.0.0.1:0").expect("a port is free").local_addr().expect("it has an address");
    let browser = Browser::start(&format!("http://{closed}")).expect("a browser starts");
    browser.open("/").expect_err("nothing listens there");
    let profile = browser.profile().to_owned();
    assert!(!processes_with(&profile).is_empty());
    drop(browser);
    assert_eq!(processes_with(&profile), Vec::<String>::new());
    assert!(!Path::new(&profile).exists());
}

/// The command lines that name a folder.
fn processes_with(folder: &str) -> Vec<String> {
    let all = std::fs::read_dir("/proc").expect("processes are listed").flatten();
    let lines = all.filter_map(|process| std::fs::read_to_string(process.path().join("cmdline")).ok());
    lines.filter(|line| line.contains(folder)).collect()
}

/// Serves the page and its data, until the test ends; returns where.
fn serve(network: Option<&Path>) -> String {
    let network = network.map(Path::to_owned);
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        if let Some(network) = network {
            let namespace = std::fs::File::open(network).expect("the namespace is there");
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("root may enter it");
        }
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        tell.send(listener.local_addr().expect("it has an address")).expect("the test waits");
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut line = String::new();
            let mut lines = BufReader::new(stream.try_clone().expect("it clones"));
            lines.read_line(&mut line).expect("a request");
            let mut header = String::new();
            while lines.read_line(&mut header).is_ok_and(|read| read > 2) {
                header.clear();
            }
            let (kind, body) = match line.split(' ').nth(1) {
                Some("/") => ("text/html", PAGE),
                Some("/api/word") => ("application/json", r#"{"word": "first"}"#),
                Some("/clicked") => ("application/json", r#"{"word": "second"}"#),
                _ => ("text/plain", ""),
            };
            let head =
                format!("HTTP/1.0 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all((head + body).as_bytes());
        }
    });
    format!("http://{}", told.recv().expect("the server starts"))
}

/// A network namespace with a loopback, held by a process that ends with the test.
struct Network {
    path: PathBuf,
    holder: Child,
}

impl Network {
    fn new() -> Self {
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "ip link set lo up && echo up && read -r _"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("root may unshare");
        let mut said = [0; 3];
        holder.stdout.take().expect("a pipe").read_exact(&mut said).expect("its loopback comes up");
        Self { path: format!("/proc/{}/ns/net", holder.id()).into(), holder }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
