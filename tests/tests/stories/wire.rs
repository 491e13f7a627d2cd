//! The agent's own calls, made by its own SDK, are taken by moto: an implementation of the services that nobody here
//! wrote. It has no waits of its own; what is asked here is whether names, parameters and answers are understood.

use kiln_tests::emulator::Emulator;
use kiln_tests::programs::agent;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A cold start of the stand-in's services takes seconds on a busy machine.
const BOUND: Duration = Duration::from_secs(90);

#[test]
fn the_calls_of_a_whole_life_are_taken() {
    let aws = Emulator::start();
    let (instance, target_group) = group_of_one(&aws);
    let imds = metadata(&instance);
    let mut agent = Agent::start(&aws, &imds);

    // moto holds it in Pending:Wait until the hook is completed.
    let completed = &agent.until_called(&aws, "CompleteLifecycleAction")["params"];
    assert_eq!(completed["LifecycleHookName"], "kiln-launch", "{completed}");
    assert_eq!(completed["LifecycleActionResult"], "CONTINUE", "{completed}");
    agent.until_called(&aws, "PutMetricData");

    agent.operator(&["drain", "--wait"]);
    let told = &agent.until_called(&aws, "DeregisterTargets")["params"];
    assert_eq!(told["Targets.member.1.Id"], instance.as_str(), "{told}");
    assert_eq!(told["Targets.member.1.Port"], "80", "{told}");
    agent.operator(&["ready"]);
    let back = &agent.until_called(&aws, "RegisterTargets")["params"];
    assert_eq!(back["Targets.member.1.Id"], instance.as_str(), "{back}");
    assert_eq!(back["Targets.member.1.Port"], "80", "{back}");

    kill(Pid::from_raw(i32::try_from(agent.process.id()).expect("a process id")), Signal::SIGTERM)
        .expect("it runs");
    let status = agent.process.wait().expect("it is our child");
    assert!(status.success(), "{status}: {}", agent.said());

    for operation in [
        "DescribeAutoScalingInstances",
        "DescribeLifecycleHooks",
        "DescribeAutoScalingGroups",
        "DescribeTargetHealth",
    ] {
        assert!(!aws.calls(operation).is_empty(), "{operation} was not called: {}", agent.said());
    }
    for operation in [
        "CompleteLifecycleAction",
        "DeregisterTargets",
        "RegisterTargets",
        "PutMetricData",
        "DescribeTargetHealth",
    ] {
        for call in aws.calls(operation) {
            assert_eq!(call["status"], 200, "{call}");
        }
    }
    let health = aws.query(
        "elasticloadbalancing",
        &format!("Action=DescribeTargetHealth&Version=2015-12-01&TargetGroupArn={target_group}"),
    );
    assert!(!health.contains("<State>healthy</State>"), "{health}");
    let state = aws.query("autoscaling", "Action=DescribeAutoScalingInstances&Version=2011-01-01");
    assert!(state.contains("<LifecycleState>InService</LifecycleState>"), "{state}");
}

/// An Auto Scaling group with a launch hook, a target group and one instance; the instance's id and the group's ARN.
fn group_of_one(aws: &Emulator) -> (String, String) {
    let vpcs = aws.query("ec2", "Action=DescribeVpcs&Version=2016-11-15");
    let vpc = between(&vpcs, "<vpcId>", "</vpcId>");
    let made = aws.query(
        "elasticloadbalancing",
        &format!("Action=CreateTargetGroup&Version=2015-12-01&Name=web&Protocol=HTTP&Port=80&VpcId={vpc}"),
    );
    let target_group = between(&made, "<TargetGroupArn>", "</TargetGroupArn>");
    let asg = |query: &str| aws.query("autoscaling", &format!("{query}&Version=2011-01-01"));
    asg(
        "Action=CreateLaunchConfiguration&LaunchConfigurationName=web&ImageId=ami-12345678&InstanceType=t3.small",
    );
    asg(&format!(
        "Action=CreateAutoScalingGroup&AutoScalingGroupName=web&LaunchConfigurationName=web&MinSize=0&MaxSize=1\
         &DesiredCapacity=0&AvailabilityZones.member.1=us-east-1a&TargetGroupARNs.member.1={target_group}"
    ));
    asg("Action=PutLifecycleHook&AutoScalingGroupName=web&LifecycleHookName=kiln-launch\
         &LifecycleTransition=autoscaling:EC2_INSTANCE_LAUNCHING&HeartbeatTimeout=60");
    asg("Action=SetDesiredCapacity&AutoScalingGroupName=web&DesiredCapacity=1");
    let listed = asg("Action=DescribeAutoScalingInstances");
    (between(&listed, "<InstanceId>", "</InstanceId>"), target_group)
}

/// A metadata service for as long as the test runs: tokens are not checked, moto knows none.
fn metadata(instance: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let instance = instance.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that went away asks again.
            let _ = answer(stream, &instance);
        }
    });
    url
}

fn answer(mut stream: TcpStream, instance: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    let item = request.split(' ').nth(1).unwrap_or_default();
    let found = match item.trim_start_matches("/latest/").trim_start_matches("meta-data/") {
        "api/token" => Some("a-token"),
        "instance-id" => Some(instance),
        "local-ipv4" => Some("10.0.0.7"),
        "placement/region" => Some("us-east-1"),
        "autoscaling/target-lifecycle-state" => Some("InService"),
        _ => None,
    };
    let (status, body) = found.map_or(("404 Not Found", ""), |body| ("200 OK", body));
    let length = body.len();
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

struct Agent {
    process: Child,
    log: tempfile::NamedTempFile,
    config: tempfile::TempDir,
}

impl Agent {
    /// Starts bootstrap and daemon in a mount namespace of their own: their files under /run and /var/lib go with it.
    fn start(aws: &Emulator, imds: &str) -> Self {
        let config = tempfile::tempdir().expect("a folder for the configuration");
        let free = || TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let (listen, idle) = (free().expect("a free port"), free().expect("another"));
        let text = format!(
            "[health]\nlisten = \"{listen}\"\n[drain]\nquiet = \"1s\"\nstub_status = \"\"\nports = [{}]\n\
             [metrics]\nperiod = \"10s\"\n",
            idle.port()
        );
        std::fs::write(config.path().join("agent.toml"), text).expect("the folder is ours");
        let log = tempfile::NamedTempFile::new().expect("a file for the log");
        let script = "mount -t tmpfs kiln /run && mount -t tmpfs kiln /var/lib && \
                      \"$1\" bootstrap --config \"$2\" && exec \"$1\" run --config \"$2\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--", "sh", "-c", script, "sh"]).arg(agent());
        command.arg(config.path().join("agent.toml")).stdin(Stdio::null());
        command.stdout(log.reopen().expect("it opens twice")).stderr(log.reopen().expect("and again"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
            command.env_remove(name);
        }
        command.env("AWS_ENDPOINT_URL", aws.url()).env("AWS_REGION", "us-east-1");
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds);
        Self { process: command.spawn().expect("unshare starts"), log, config }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap_or_default()
    }

    /// A command of an operator, given where the agent's files are.
    fn operator(&self, arguments: &[&str]) {
        let mut command = Command::new("nsenter");
        command.arg("--mount").arg(format!("--target={}", self.process.id())).arg("--").arg(agent());
        command.args(arguments).arg("--config").arg(self.config.path().join("agent.toml"));
        let output = command.stdin(Stdio::null()).output().expect("nsenter starts");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {told} {}", self.said());
    }

    /// Waits for the first call of `operation`.
    fn until_called(&mut self, aws: &Emulator, operation: &str) -> serde_json::Value {
        let until = Instant::now() + BOUND;
        loop {
            if let Some(call) = aws.calls(operation).into_iter().next() {
                return call;
            }
            let ended = self.process.try_wait().expect("it is our child");
            assert!(ended.is_none() && Instant::now() < until, "no {operation}: {ended:?} {}", self.said());
            // The stand-in has no way to tell; each question costs it a millisecond.
            #[expect(clippy::disallowed_methods, reason = "a test's own thread, and nothing to await")]
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn between(text: &str, before: &str, after: &str) -> String {
    let found = text.split(before).nth(1).and_then(|rest| rest.split(after).next());
    found.unwrap_or_else(|| panic!("no {before} in {text}")).to_owned()
}
