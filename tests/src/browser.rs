//! A headless Chromium that runs a page's own scripts, driven through `ChromeDriver`.
//!
//! Both live in a PID namespace whose first process ends when a pipe to the test does, with a /tmp of their own: the
//! kernel removes every process and file of the browser, however the test ends.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sched::{CloneFlags, setns};
use serde_json::{Value, json};

/// For the driver to listen: a cold start on a busy machine.
const START: Duration = Duration::from_secs(30);
/// For any one command to the browser, its start included.
const COMMAND: Duration = Duration::from_mins(1);
/// Between two looks at a page that is still working.
const LOOK: Duration = Duration::from_millis(100);

/// What the namespace's first process does.
const FIRST_PROCESS: &str = "mount -t tmpfs tmpfs /tmp && { chromedriver --port=0 & exec 1>&2; read -r _; }";

/// One browser window, with a profile of its own.
#[derive(Debug)]
pub struct Browser {
    process: Child,
    address: String,
    session: String,
    base: String,
    network: Option<PathBuf>,
    profile: String,
}

impl Browser {
    /// Starts a browser for the pages of `base`, such as `http://127.0.0.1:8080`; it can talk to no other host.
    ///
    /// # Errors
    /// If Chromium or its driver does not start, with what they said.
    pub fn start(base: &str) -> Result<Self> {
        Self::launch(base, None)
    }

    /// The same inside a network namespace, such as `/run/netns/stage` or `/proc/123/ns/net`; its loopback is up.
    ///
    /// # Errors
    /// If Chromium or its driver does not start, with what they said.
    pub fn start_in(network: &Path, base: &str) -> Result<Self> {
        Self::launch(base, Some(network.to_owned()))
    }

    fn launch(base: &str, network: Option<PathBuf>) -> Result<Self> {
        let mut process = command(network.as_deref())
            .spawn()
            .context("failed to start chromedriver (Debian packages chromium and chromium-driver)")?;
        let port = port(&mut process).inspect_err(|_| end(&mut process))?;
        let mut browser = Self {
            process,
            address: format!("127.0.0.1:{port}"),
            session: String::new(),
            base: base.trim_end_matches('/').to_owned(),
            network,
            profile: format!("/tmp/kiln-browser-{}-{port}", std::process::id()),
        };
        let options = json!({ "args": browser.flags() });
        let wanted = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": options } } });
        let session = browser.send("POST", "", &wanted)?;
        let id = session["sessionId"].as_str().with_context(|| format!("no session in {session}"))?;
        browser.session = format!("/{id}");
        Ok(browser)
    }

    /// Chromium as root in a test: without the sandbox that root cannot have, and silent on the network.
    fn flags(&self) -> Vec<String> {
        let host = self.base.split("//").nth(1).unwrap_or_default();
        let host = host.split(['/', ':']).next().unwrap_or_default();
        let only = format!("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {host}");
        let profile = format!("--user-data-dir={}", self.profile);
        let fixed = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --no-proxy-server \
                     --disable-background-networking --disable-component-update --disable-sync \
                     --disable-dev-shm-usage --window-size=1280,900";
        fixed.split_whitespace().map(str::to_owned).chain([only, profile]).collect()
    }

    /// Loads a path of the base, until the browser calls it loaded; scripts may still be at work.
    ///
    /// # Errors
    /// If nothing answers there.
    pub fn open(&self, path: &str) -> Result<()> {
        let url = format!("{}{path}", self.base);
        self.send("POST", "/url", &json!({ "url": url })).with_context(|| format!("failed to open {url}"))?;
        Ok(())
    }

    /// Waits until the text that a person would see contains `needle`, and returns all of it.
    ///
    /// # Errors
    /// If it does not within `bound`; with the text that is there.
    pub fn text_with(&self, needle: &str, bound: Duration) -> Result<String> {
        let end = Instant::now() + bound;
        loop {
            let text = self.text()?;
            if text.contains(needle) {
                return Ok(text);
            }
            ensure!(Instant::now() < end, "no '{needle}' on the page after {bound:?}; it says:\n{text}");
            // Scripts tell no one when they are done.
            std::thread::park_timeout(LOOK);
        }
    }

    /// The text that a person would see now.
    ///
    /// # Errors
    /// If the browser is gone.
    pub fn text(&self) -> Result<String> {
        let text = self.run("return document.body ? document.body.innerText : ''")?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Runs a script in the page and returns its value.
    ///
    /// # Errors
    /// If the script throws, with its message.
    pub fn run(&self, script: &str) -> Result<Value> {
        self.send("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Clicks on the first element that matches a CSS selector.
    ///
    /// # Errors
    /// If none does.
    pub fn click(&self, selector: &str) -> Result<()> {
        let found = self.send("POST", "/element", &json!({ "using": "css selector", "value": selector }))?;
        let id = found.as_object().and_then(|element| element.values().next()?.as_str());
        let id = id.with_context(|| format!("no element in {found}"))?;
        self.send("POST", &format!("/element/{id}/click"), &json!({}))?;
        Ok(())
    }

    /// The folder that holds all that the browser writes; only its own processes see it.
    pub fn profile(&self) -> &str {
        &self.profile
    }

    /// Writes what is visible as a PNG.
    ///
    /// # Errors
    /// If the browser is gone or the file cannot be written.
    pub fn screenshot(&self, file: &Path) -> Result<()> {
        let taken = self.send("GET", "/screenshot", &Value::Null)?;
        let text = taken.as_str().context("the screenshot is not text")?;
        let png = STANDARD.decode(text).context("the screenshot is not base64")?;
        std::fs::write(file, png).with_context(|| format!("failed to write {}", file.display()))
    }

    /// One command of the W3C `WebDriver` protocol; returns its value.
    fn send(&self, method: &str, command: &str, body: &Value) -> Result<Value> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let path = format!("/session{}{command}", self.session);
        let mut stream = self.connect()?;
        stream.set_read_timeout(Some(COMMAND))?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        stream.write_all(request.as_bytes())?;
        let body = body_of(stream).with_context(|| format!("no answer to {method} {path}"))?;
        let mut answer: Value = serde_json::from_slice(&body).context("the driver's answer is not JSON")?;
        let value = answer["value"].take();
        if let Some(error) = value["error"].as_str() {
            bail!("{error}: {}", value["message"].as_str().unwrap_or_default());
        }
        Ok(value)
    }

    /// A connection to the driver. A socket belongs to the network that its thread is in when it is made, so a
    /// thread of its own goes there.
    fn connect(&self) -> Result<TcpStream> {
        let dial = || -> Result<TcpStream> {
            if let Some(network) = &self.network {
                let namespace =
                    File::open(network).with_context(|| format!("no network {}", network.display()))?;
                setns(namespace, CloneFlags::CLONE_NEWNET)?;
            }
            TcpStream::connect(&self.address).context("failed to reach chromedriver")
        };
        std::thread::scope(|scope| scope.spawn(dial).join()).expect("dialling does not panic")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

/// The end of its stdin ends the namespace's first process, and with it all of them.
fn end(process: &mut Child) {
    drop(process.stdin.take());
    let _ = process.wait();
}

/// `chromedriver` in a PID namespace whose first process lives as long as its stdin.
fn command(network: Option<&Path>) -> Command {
    let isolate = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let mut command = Command::new(if network.is_some() { "nsenter" } else { isolate[0] });
    if let Some(network) = network {
        command.arg(format!("--net={}", network.display())).arg(isolate[0]);
    }
    command.args(&isolate[1..]);
    command
        .args(["sh", "-c", FIRST_PROCESS])
        // Crash reports, caches and desktop settings go with the profile.
        .env("HOME", "/tmp")
        .env("TMPDIR", "/tmp")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// The port that the driver names once it listens.
fn port(process: &mut Child) -> Result<String> {
    let stdout = process.stdout.take().context("stdout is a pipe")?;
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut said = String::new();
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            said.push_str(&line);
            said.push('\n');
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                let _ = tell.send(Ok(port.trim_end_matches('.').to_owned()));
            }
        }
        let _ = tell.send(Err(said));
    });
    match told.recv_timeout(START) {
        Ok(Ok(port)) => Ok(port),
        Ok(Err(said)) => {
            bail!("chromedriver ended (Debian packages chromium and chromium-driver); it said: {said}")
        }
        Err(_) => bail!("chromedriver did not listen within {START:?}"),
    }
}

/// An answer's body, by the length that its head gives: the driver keeps connections open.
fn body_of(stream: TcpStream) -> Result<Vec<u8>> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        ensure!(reader.read_line(&mut line)? > 0, "the connection ended");
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(body)
}
