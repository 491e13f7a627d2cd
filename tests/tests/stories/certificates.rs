//! A machine without a load balancer: it serves by a placeholder while there is no certificate, by one of an ACME server's as soon
//! as that answers, and by the next one after a renewal. The server is Pebble, Let's Encrypt's own for tests.

use crate::services::cinema;
use kiln_stage::lifecycle::{Event, State};
use kiln_stage::{Launch, Prop, Scene};
use kiln_tests::programs::run;
use kiln_tests::story::{BOOT, Plan, inside, serving};
use kiln_tests::told::{completed_once, no_request_failed};
use serde_json::json;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The stage's router, where the server listens, and its first instance.
const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost\n10.98.0.1 acme.cinema.test\n10.98.0.10 cinema.test www.cinema.test\n";
/// Seconds: longer than anything else that a drain of this stage waits for.
const STREAM: u32 = 20;
const CA: &str = "/etc/kiln/acme.pem";

/// A server that nobody started yet, with a certificate that an instance can be told to trust.
fn prepare(folder: &Path) -> [Prop; 3] {
    let names = "subjectAltName=DNS:acme.cinema.test";
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"]);
    openssl.args(["-subj", "/CN=acme", "-addext", names, "-addext", "keyUsage=keyCertSign,digitalSignature"]);
    openssl.args(["-keyout", "key.pem", "-out", "cert.pem"]).current_dir(folder);
    run(&mut openssl).expect_code(0);
    let config = json!({ "pebble": {
        "listenAddress": "10.98.0.1:14000", "managementListenAddress": "10.98.0.1:15000",
        "certificate": folder.join("cert.pem"), "privateKey": folder.join("key.pem"),
        "httpPort": 80, "tlsPort": 443,
    }});
    fs::write(folder.join("pebble.json"), config.to_string()).expect("write the server's configuration");
    let certificate = fs::read_to_string(folder.join("cert.pem")).expect("openssl wrote it");
    [
        Prop::file("/etc/hosts", HOSTS),
        Prop::file("/etc/kiln/acme.env", format!("REQUESTS_CA_BUNDLE={CA}\n")),
        Prop::file(CA, certificate),
    ]
}

/// Programs of the server's that end with this.
struct Acme([Child; 2]);

impl Drop for Acme {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // One that has ended by itself is told by the story's own failure.
            let _ended = child.kill().and_then(|()| child.wait());
        }
    }
}

impl Acme {
    /// Every name is the first instance's, to the server that validates.
    fn start(folder: &Path) -> Self {
        let start = |name: &str, arguments: &[&str]| {
            let log = File::create(folder.join(name).with_extension("log")).expect("make a log");
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", "--", name]).args(arguments).current_dir(folder);
            command.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_WFE_NONCEREJECT", "0").stdin(Stdio::null());
            command.stdout(log.try_clone().expect("share the log")).stderr(log);
            command.spawn().expect("it starts")
        };
        let dns = ["-defaultIPv4", "10.98.0.10", "-defaultIPv6", "", "-dns01", "127.0.0.1:8053"];
        let none = ["-http01", "", "-https01", "", "-tlsalpn01", "", "-management", "127.0.0.1:8055"];
        let names = start("pebble-challtestsrv", &[&dns[..], &none].concat());
        let server = start("pebble", &["-config", "pebble.json", "-dnsserver", "127.0.0.1:8053"]);
        Self([names, server])
    }
}

/// What a TLS client is shown: serial and issuer.
async fn shown(scene: &Scene, id: &str) -> String {
    let client = "openssl s_client -connect cinema.test:443 -servername cinema.test </dev/null 2>/dev/null";
    let command = format!("{client} | openssl x509 -noout -serial -issuer");
    inside(scene, id, &["sh", "-c", &command]).await
}

/// The next one that it is shown.
async fn changed(scene: &Scene, id: &str, from: &str) -> String {
    let other =
        scene.until_async(BOOT, async || Some(shown(scene, id).await).filter(|now| now != from)).await;
    if let Some(other) = other {
        return other;
    }
    let log = ["journalctl", "--no-pager", "-u", "certbot.service", "-u", "nginx.service"];
    panic!("nginx still serves by {from}: {}", inside(scene, id, &log).await);
}

async fn curl(scene: &Scene, id: &str, arguments: &[&str]) -> String {
    inside(scene, id, &[&["curl", "-sSi", "--max-time", "20"], arguments].concat()).await
}

async fn trusted(scene: &Scene, id: &str, root: &str) {
    for url in ["https://cinema.test/", "https://www.cinema.test/movies/"] {
        let page = curl(scene, id, &["--cacert", root, url]).await;
        assert!(page.starts_with("HTTP/1.1 200") && page.contains("<title>"), "{url}: {page}");
    }
}

/// A stream by HTTPS is work in flight: the drain that began during it outlasts it.
async fn drained(scene: &Scene, id: &str, root: &str) {
    let url = format!("https://cinema.test/partners/stream?seconds={STREAM}");
    let line = format!("curl -sSN --cacert {root} '{url}' >/run/streamed && tail -n 1 /run/streamed");
    let (ended, ()) =
        tokio::join!(async { (scene.exec(id, &["sh", "-c", &line]).await, scene.at()) }, async {
            let begun = async || {
                let size = inside(scene, id, &["stat", "-c", "%s", "/run/streamed"]).await;
                size.trim().parse::<u64>().is_ok_and(|size| size > 0).then_some(())
            };
            scene.until_async(BOOT, begun).await.expect("the stream is in flight");
            scene.wish(id, &Event::ScaledIn);
        });
    let (streamed, at) = (ended.0.expect("the instance is on until the stream ends"), ended.1);
    let told = String::from_utf8_lossy(&[streamed.stdout, streamed.stderr].concat()).into_owned();
    assert_eq!(told.trim(), "done", "the stream in flight at the scale-in ended at {at}");
    scene.reaches(id, State::Terminated, BOOT).await.expect("it is released");
    let completed = completed_once(scene, id, "kiln-terminate", "Terminating:Wait");
    assert!(completed > at, "completed at {completed}, while a stream ran until {at}");
}

#[test]
fn a_certificate_comes_when_the_acme_server_does_and_until_then_there_is_a_placeholder() {
    let mut plan = Plan { image: cinema, ..Plan::default() };
    plan.users.paths = ["/", "/movies/api/poster", "/partners/whoami"].map(str::to_owned).to_vec();
    plan.play(async |scene| {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let id = serving(scene, Launch::default(), &prepare(folder.path())).await;

        let result = ["systemctl", "show", "-P", "Result", "certbot.service"];
        let tried = async || (inside(scene, &id, &result).await.trim() == "exit-code").then_some(());
        scene.until_async(BOOT, tried).await.expect("certbot has asked a server that is not there");
        let placeholder = shown(scene, &id).await;
        assert!(
            placeholder.contains("issuer=CN = placeholder") || placeholder.contains("issuer=CN=placeholder"),
            "{placeholder}"
        );
        let page = curl(scene, &id, &["--insecure", "https://cinema.test/"]).await;
        assert!(page.starts_with("HTTP/1.1 200") && page.contains("<title>home</title>"), "{page}");
        for (url, status, line) in [
            ("http://cinema.test/movies/?page=2", 308, "Location: https://cinema.test/movies/?page=2"),
            ("http://cinema.test/api/whoami", 308, "Location: https://cinema.test/api/whoami"),
            ("http://cinema.test/healthz", 200, "Cache-Control: no-store"),
            ("http://cinema.test/.well-known/acme-challenge/none", 404, "Server: nginx"),
            ("http://127.0.0.1/partners/whoami", 200, "X-Answered-By: gunicorn"),
        ] {
            let answer = curl(scene, &id, &[url]).await;
            let head = answer.starts_with(&format!("HTTP/1.1 {status}"));
            assert!(head && answer.contains(&format!("\r\n{line}\r\n")), "{url}: {answer}");
        }

        let server = Acme::start(folder.path());
        let root = "/run/acme-root.pem";
        let url = "https://acme.cinema.test:15000/roots/0";
        let fetch = [
            "curl",
            "-sS",
            "--retry",
            "60",
            "--retry-all-errors",
            "--retry-delay",
            "1",
            "--cacert",
            CA,
            "-o",
            root,
            url,
        ];
        inside(scene, &id, &fetch).await;
        // By itself it tries again after a quarter of an hour.
        inside(scene, &id, &["systemctl", "restart", "--no-block", "certbot.service"]).await;
        let first = changed(scene, &id, &placeholder).await;
        assert!(first.contains("Pebble Intermediate CA"), "{first}");
        trusted(scene, &id, root).await;

        let ca = format!("REQUESTS_CA_BUNDLE={CA}");
        let renew = ["env", &ca, "certbot", "renew", "--force-renewal", "--no-random-sleep-on-renew"];
        let said = inside(scene, &id, &renew).await;
        let second = changed(scene, &id, &first).await;
        assert!(second.contains("Pebble Intermediate CA"), "{second}: {said}");
        trusted(scene, &id, root).await;

        // Nothing is asked for while what is there is good, so nobody has to answer.
        drop(server);
        inside(scene, &id, &["systemctl", "restart", "certbot.service"]).await;
        assert_eq!(inside(scene, &id, &result).await.trim(), "success");
        assert_eq!(shown(scene, &id).await, second);

        drained(scene, &id, root).await;
        no_request_failed(scene).await;
    });
}
