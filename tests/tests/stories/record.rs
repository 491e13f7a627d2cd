//! The flight record on the wire: the shipped agent lives a short life, and what is left of it is read back.

use kiln_tests::emulator::Emulator;
use kiln_tests::programs::agent;
use kiln_tests::qemu::Metadata;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Bounds each wait for the agent: a life here is some seconds.
const PATIENCE: Duration = Duration::from_mins(1);

#[test]
fn a_life_is_a_stream_of_logs() {
    let aws = Emulator::start();
    aws.json("logs", "Logs_20140328.CreateLogGroup", r#"{"logGroupName":"/shop/lives"}"#);
    live(&aws, "to = \"logs\"\nlog_group = \"/shop/lives\"\n");
    let asked = |operation: &str| aws.calls(operation).len();
    assert_eq!((asked("CreateLogStream"), asked("PutLogEvents")), (1, 1));
    let streams = aws.json("logs", "Logs_20140328.DescribeLogStreams", r#"{"logGroupName":"/shop/lives"}"#);
    let name = streams["logStreams"][0]["logStreamName"].as_str().expect("one stream");
    assert!(name.starts_with("i-0123456789abcdef0/"), "{name}");
    let query = format!(r#"{{"logGroupName":"/shop/lives","logStreamName":"{name}","startFromHead":true}}"#);
    let events = aws.json("logs", "Logs_20140328.GetLogEvents", &query);
    let events = events["events"].as_array().expect("a list of events");
    let line =
        |event: &Value| serde_json::from_str(event["message"].as_str().unwrap_or_default()).expect("JSON");
    tells_the_life(&events.iter().map(line).collect::<Vec<Value>>());
}

#[test]
fn a_life_is_an_object_in_s3() {
    let aws = Emulator::start();
    aws.signed("s3", "PUT", "/lives", "", "");
    live(&aws, "to = \"s3\"\nbucket = \"lives\"\nprefix = \"shop/\"\n");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("Linux says it");
    let object =
        aws.signed("s3", "GET", &format!("/lives/shop/i-0123456789abcdef0/{}.jsonl", boot.trim()), "", "");
    let text = String::from_utf8(object).expect("it is text");
    tells_the_life(&text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect::<Vec<_>>());
}

fn tells_the_life(lines: &[Value]) {
    assert_eq!(lines[0]["instance"]["ami"], "ami-0123456789abcdef0");
    assert_eq!(lines[1]["bootstrap"]["outcome"], "ok");
    let told: Vec<&str> = lines.iter().filter_map(|line| line["what"].as_str()).collect();
    let mut rest = told.iter();
    for expected in [
        "agent ",
        "bootstrap succeeded",
        "phase is warming",
        "phase is serving",
        "DescribeAutoScalingInstances ok in ",
        "notice from shutdown",
        "phase is draining",
        "drain began",
        "phase is drained",
    ] {
        assert!(rest.any(|what| what.starts_with(expected)), "no '{expected}' in its place: {told:#?}");
    }
    let status = &lines[lines.len() - 1]["status"];
    assert_eq!(status["phase"], "drained");
    assert!(status["calls"]["DescribeAutoScalingInstances"]["ok"].as_u64() >= Some(1), "{status:#}");
}

/// One life of the shipped agent, in a mount namespace of its own, from a bootstrap that succeeded to SIGTERM.
fn live(aws: &Emulator, record: &str) {
    let folder = tempfile::tempdir().expect("a folder for the configuration");
    let config = folder.path().join("agent.toml");
    let text = format!(
        "[health]\nlisten = \"127.0.0.1:0\"\n[drain]\nquiet = \"500ms\"\nstub_status = \"\"\nports = [1]\n[record]\n{record}"
    );
    fs::write(&config, text).expect("it is ours");
    let metadata = Metadata::default().serve();
    let mut agent = start(aws, &config, &metadata.to_string());
    let (tell, told) = mpsc::channel();
    let stderr = agent.stderr.take().expect("stderr is a pipe");
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let _ = tell.send(line);
        }
    });
    let mut said = Vec::new();
    // The launch hook is settled once Auto Scaling has not listed the instance three times.
    wait_for(&told, &mut said, "no hook waits for an answer");
    kill(Pid::from_raw(agent.id().cast_signed()), Signal::SIGTERM).expect("it runs");
    wait_for(&told, &mut said, "flight record sent");
    let status = agent.wait().expect("it is our child");
    assert!(status.success(), "{status}: {said:#?}");
}

fn start(aws: &Emulator, config: &Path, metadata: &str) -> Child {
    // Its files in /run and /var/lib are this life's own, and gone with it.
    let script = "mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/lib && mkdir -p /run/kiln/agent && \
        echo '{\"outcome\":\"ok\",\"reason\":null,\"instance_id\":null,\"ran\":false,\"exit_code\":null,\
        \"started\":\"2026-01-01T00:00:00Z\",\"elapsed_ms\":1}' > /run/kiln/bootstrap.json && \
        exec \"$0\" --config \"$1\" run";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(agent()).arg(config).env_clear();
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("AWS_ENDPOINT_URL", aws.url());
    command.env("AWS_REGION", "us-east-1");
    command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{metadata}"));
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
    command.spawn().expect("unshare is there, and the tests run as root")
}

fn wait_for(told: &mpsc::Receiver<String>, said: &mut Vec<String>, wanted: &str) {
    let until = Instant::now() + PATIENCE;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let Ok(line) = told.recv_timeout(left) else { panic!("the agent never said '{wanted}': {said:#?}") };
        let found = line.contains(wanted);
        said.push(line);
        if found {
            return;
        }
    }
}
