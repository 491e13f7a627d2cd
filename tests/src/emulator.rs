//! The AWS stand-in of `tests/emulator` (EC2 and EBS direct), started for one test and gone with it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// The first start makes a Python environment from `PyPI`; the others take about a second.
const START: Duration = Duration::from_mins(5);

/// A running stand-in. It ends when its stdin does, so it cannot outlive a killed test.
#[derive(Debug)]
pub struct Emulator {
    url: String,
    process: Child,
}

impl Emulator {
    /// Starts one on a free port of loopback; a test without it fails, with the reason.
    pub fn start() -> Self {
        Self::start_on("127.0.0.1")
    }

    /// Starts one where instances of a stage reach it, too.
    pub fn start_on(host: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("emulator/start");
        let log = tempfile::NamedTempFile::new().expect("a file for the stand-in's log");
        let mut process = Command::new(script)
            .args(["-H", host])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.reopen().expect("the log opens twice"))
            .spawn()
            .expect("tests/emulator/start runs");
        let stdout = process.stdout.take().expect("stdout is a pipe");
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(stdout).read_line(&mut line);
            let _ = tell.send(line);
        });
        let url = told.recv_timeout(START).unwrap_or_default().trim().to_owned();
        let said = std::fs::read_to_string(log.path()).unwrap_or_default();
        if !url.starts_with(&format!("http://{host}:")) {
            let _ = process.kill();
            let _ = process.wait();
            panic!("the AWS stand-in did not start (it needs python3-venv and PyPI): {said}");
        }
        Self { url, process }
    }

    /// Where it listens: what `AWS_ENDPOINT_URL` is set to.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What a block of a completed snapshot holds, read as any EBS direct client reads it.
    pub fn blocks(&self, snapshot: &str) -> Vec<(u64, Vec<u8>)> {
        let listed = self.ebs(&format!("/snapshots/{snapshot}/blocks?maxResults=10000"));
        let listed: Value = serde_json::from_slice(&listed).expect("a list of blocks");
        let blocks = listed["Blocks"].as_array().expect("a list of blocks");
        let read = |block: &Value| {
            let index = block["BlockIndex"].as_u64().expect("a block has an index");
            let token = block["BlockToken"].as_str().expect("and a token");
            (index, self.ebs(&format!("/snapshots/{snapshot}/blocks/{index}?blockToken={token}")))
        };
        blocks.iter().map(read).collect()
    }

    fn ebs(&self, path: &str) -> Vec<u8> {
        self.signed("ebs", "GET", path, "", "")
    }

    /// A call in AWS JSON 1.1, such as `Logs_20140328.GetLogEvents`, and its answer.
    pub fn json(&self, service: &str, target: &str, body: &str) -> Value {
        let headers = format!("Content-Type: application/x-amz-json-1.1\r\nX-Amz-Target: {target}\r\n");
        let answer = self.signed(service, "POST", "/", &headers, body);
        if answer.is_empty() { Value::Null } else { serde_json::from_slice(&answer).expect("JSON") }
    }

    /// A request with a signature; the stand-in routes by its scope and does not verify it.
    pub fn signed(&self, service: &str, method: &str, path: &str, headers: &str, body: &str) -> Vec<u8> {
        let scope = format!(
            "Credential=test/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
        );
        let length = body.len();
        self.exchange(&format!(
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\nAuthorization: AWS4-HMAC-SHA256 {scope}\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        ))
    }

    /// One call in the query protocol, as a test sets the scene; its answer.
    pub fn query(&self, service: &str, body: &str) -> String {
        let scope = format!(
            "Credential=test/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
        );
        let head = format!(
            "POST / HTTP/1.0\r\nAuthorization: AWS4-HMAC-SHA256 {scope}\r\nContent-Length: {}\r\n\
             Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n\r\n",
            body.len()
        );
        String::from_utf8(self.exchange(&(head + body))).expect("XML")
    }

    /// All calls of one operation so far, with their parameters.
    pub fn calls(&self, operation: &str) -> Vec<Value> {
        self.all_calls().into_iter().filter(|call| call["operation"] == operation).collect()
    }

    /// All calls so far, in the order of their arrival.
    pub fn all_calls(&self) -> Vec<Value> {
        let Value::Array(calls) = self.ask("GET", "calls", &Value::Null) else { panic!("calls are a list") };
        calls
    }

    /// Makes the next calls of the named operations fail.
    pub fn fail(&self, faults: &Value) {
        self.ask("POST", "faults", faults);
    }

    /// Changes how AWS behaves: how long things are pending, how they end.
    pub fn set(&self, state: &Value) {
        self.ask("POST", "state", state);
    }

    /// The snapshots that exist.
    pub fn snapshots(&self) -> Value {
        self.ask("GET", "snapshots", &Value::Null)
    }

    /// What exists in all regions: `images`, `snapshots` and `parameters`, with their tags; and of builders `instances`,
    /// `groups`, `volumes` and `objects`.
    pub fn holdings(&self) -> Value {
        self.ask("GET", "holdings", &Value::Null)
    }

    /// The call that a fault of the kind `hold` holds, once there is one; null after a minute without.
    pub fn held(&self) -> Value {
        self.ask("GET", "held", &Value::Null)
    }

    /// Cuts off what is held.
    pub fn release(&self) {
        self.ask("POST", "release", &Value::Null);
    }

    /// Puts a vendor's image, a subnet and a bucket into the account: what there has to be to bake on instances.
    pub fn furnish(&self) -> Value {
        self.ask("POST", "furnish", &Value::Null)
    }

    /// Tells that an instance has powered itself off.
    pub fn stopped(&self, instance: &str) {
        self.ask("POST", "stopped", &serde_json::json!({ "instance": instance }));
    }

    /// Forgets everything: an account that nobody has used.
    pub fn wipe(&self) {
        self.ask("POST", "wipe", &Value::Null);
    }

    /// Waits for the clock: EC2 tells of an image's creation to the second, and the next one has to be newer.
    pub fn next_second(&self) {
        let second = || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            since.map(|since| since.as_secs()).unwrap_or_default()
        };
        let now = second();
        while second() == now {
            self.all_calls();
        }
    }

    fn ask(&self, method: &str, question: &str, body: &Value) -> Value {
        let body = body.to_string();
        let length = body.len();
        let head = format!("{method} /kiln/{question} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n");
        serde_json::from_slice(&self.exchange(&(head + &body))).expect("JSON")
    }

    fn exchange(&self, request: &str) -> Vec<u8> {
        let address = self.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).expect("the stand-in listens");
        stream.write_all(request.as_bytes()).expect("it takes a request");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("it answers");
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("an HTTP answer");
        let head = String::from_utf8_lossy(&answer[..end]);
        assert!(head.contains(" 200 "), "{head}");
        answer.split_off(end + 4)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
