//! A power cut that takes what was written and not synced: at every system call, the mark of a part is whole, and says
//! `ok` of nothing that is lost with it. Judged by the calls of the shipped agent, as strace sees them.

use kiln_tests::disk::{Call, Disk, Left, calls};
use kiln_tests::programs::{agent, run};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

const USER_DATA: &str =
    "#!/bin/sh\nset -e\nmkdir /var/lib/shop\necho one >/var/lib/shop/one\necho two >/var/lib/shop/two\n";
const MADE: [(&str, &str); 2] = [("/var/lib/shop/one", "one\n"), ("/var/lib/shop/two", "two\n")];
/// A disk of its own, as far as the agent can see; `$0` is the trace, the rest the command.
const ALONE: &str = "mount -t tmpfs tmpfs /var/lib && mount -t tmpfs tmpfs /run && \
    exec strace -f -y -s 4096 -o \"$0\" -e trace=execve,open,openat,creat,write,fsync,fdatasync,sync,rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat \"$@\"";

/// Whether an agent would not make a call.
type Forgets<'a> = &'a dyn Fn(&Call) -> bool;

#[test]
fn a_power_cut_at_any_system_call_leaves_not_done_or_done() {
    let scratch = tempfile::tempdir().expect("make a folder");
    let trace = scratch.path().join("trace");
    let metadata = serve();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--", "sh", "-c", ALONE]).arg(&trace).arg(agent());
    // The machine's own configuration is none of this one's.
    command.args(["--config", "/dev/null", "bootstrap"]);
    command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata).env_remove("AWS_ENDPOINT_URL");
    run(&mut command).expect_code(0);

    let text = std::fs::read_to_string(&trace).expect("strace has written it");
    let made = calls(&text);
    judged(&made).unwrap_or_else(|fault| panic!("{fault}\n{text:.4000}"));
    // An agent that forgets any of them is caught.
    let is_mark = |path: &str| path.ends_with(".json.new") && path.contains("/marks/");
    let forgotten: [(&str, Forgets<'_>); 4] = [
        ("sync before the mark", &|call| *call == Call::SyncAll),
        ("fsync of the mark", &|call| matches!(call, Call::Sync(path) if is_mark(path))),
        ("fsync of the marks' folder", &|call| matches!(call, Call::Sync(path) if path.ends_with("/marks"))),
        (
            "fsync of a folder above it",
            &|call| matches!(call, Call::Sync(path) if path == "/var/lib/kiln/instances"),
        ),
    ];
    for (what, is) in forgotten {
        let without: Vec<Call> = made.iter().filter(|call| !is(call)).cloned().collect();
        assert!(without.len() < made.len(), "there is no {what}");
        assert!(judged(&without).is_err(), "nobody misses the {what}");
    }
}

/// Cuts the power after each call; the fault of the first cut that leaves a lie.
fn judged(made: &[Call]) -> Result<(), String> {
    let mut disk = Disk::new(&["/var", "/var/lib"]);
    let (mut seen, mut ran) = (Vec::new(), false);
    for call in made {
        disk.make(call);
        // All that was not synced is lost, or all of it was written by chance, or the names were and the bytes were not.
        let cuts = [disk.least(), disk.most(), disk.names()];
        let [least, most, names] = cuts.each_ref().map(state);
        let states = [least?, most?, names?];
        if matches!(call, Call::Run(program) if program.contains("/parts/")) {
            ran = true;
            if states[0].as_deref() != Some("begun") {
                return Err(format!("the work begins, and its mark would be {:?}", states[0]));
            }
        }
        for (left, state) in cuts.iter().zip(&states).filter(|(_, state)| state.as_deref() == Some("ok")) {
            let kept = |(path, content): &(&str, &str)| {
                left.get(*path).is_some_and(|bytes| bytes == content.as_bytes())
            };
            if !ran || !MADE.iter().all(kept) {
                return Err(format!(
                    "after {call:?} the mark says {state:?}, and the work is lost: {left:?}"
                ));
            }
        }
        seen.extend(states[0].clone());
    }
    seen.dedup();
    if seen == ["begun", "ok"] { Ok(()) } else { Err(format!("the mark went through {seen:?}")) }
}

/// What the only mark says: `None` without one. A mark that is no JSON is a fault.
fn state(left: &Left) -> Result<Option<String>, String> {
    let whole = |path: &str| Path::new(path).extension().is_some_and(|kind| kind == "json");
    let mark = left.iter().find(|(path, _)| path.contains("/marks/") && whole(path));
    let Some((path, bytes)) = mark else { return Ok(None) };
    let mark: serde_json::Value = serde_json::from_slice(bytes)
        .map_err(|error| format!("{path} is torn: {error}: {}", String::from_utf8_lossy(bytes)))?;
    Ok(mark["state"].as_str().map(str::to_owned))
}

/// An `IMDSv2` on loopback for one instance; its address.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it has one");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that goes away is none of ours.
            let _ = answer(stream);
        }
    });
    format!("http://{address}")
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let path = first.split(' ').nth(1).unwrap_or_default();
    let body = match path.rsplit('/').next().unwrap_or_default() {
        "token" => "dG9rZW4=",
        "instance-id" => "i-0123456789abcdef0",
        "region" => "eu-west-1",
        "user-data" => USER_DATA,
        _ => "",
    };
    let status = if body.is_empty() { "404 Not Found" } else { "200 OK" };
    let head =
        format!("HTTP/1.1 {status}\r\nx-aws-ec2-metadata-token-ttl-seconds: 21600\r\nConnection: close\r\n");
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len())?;
    // Until the client has read it all.
    reader.read_to_end(&mut Vec::new()).map(drop)
}
