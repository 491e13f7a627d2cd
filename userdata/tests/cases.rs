//! The conformance table: each folder under `cases` is an input and the tree, or the error, that it must give.
//!
//! `KILN_BLESS=1 cargo test -p kiln-userdata --test cases` writes the trees as they are, to be read before they are kept.

use kiln_userdata::{CloudConfig, Command, EnvValue, Error, Every, File, Kiln, Run, Script, UserData, parse};
use serde_json::{Value, json};
use std::path::Path;

#[test]
fn each_case_gives_its_tree_or_its_error() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .expect("the cases are in the repository")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.is_dir())
        .collect();
    names.sort();
    assert!(names.len() > 100, "{} cases are too few to be all", names.len());
    let mut wrong = Vec::new();
    for case in &names {
        let raw = std::fs::read(case.join("input")).expect("each case has an input");
        let got = match parse(&raw) {
            Ok(data) => tree(&data),
            Err(error) => refusal(&error),
        };
        let file = case.join("expected.json");
        if std::env::var_os("KILN_BLESS").is_some() {
            let text = serde_json::to_string_pretty(&got).expect("a tree is JSON");
            std::fs::write(&file, text + "\n").expect("the folder is writable");
        }
        let expected = std::fs::read(&file).expect("each case has an expectation");
        let expected: Value = serde_json::from_slice(&expected).expect("the expectation is JSON");
        if got != expected {
            wrong.push(format!("{}: got {got:#}, expected {expected:#}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn tree(data: &UserData) -> Value {
    match data {
        UserData::Empty => json!({ "kind": "empty" }),
        UserData::Script(it) => script(it),
        UserData::Kiln(it) => kiln(it),
        UserData::CloudConfig(it) => cloud_config(it),
        UserData::Left(it) => panic!("there is no cloud-init to leave it to: {it:?}"),
        UserData::Multipart(parts) => {
            let parts: Vec<Value> = parts
                .iter()
                .map(|part| json!({ "part": part.label.to_string(), "content": tree(&part.content) }))
                .collect();
            json!({ "kind": "multipart", "parts": parts })
        }
    }
}

fn refusal(error: &Error) -> Value {
    let excerpt: Option<Vec<&str>> = error.excerpt().map(|excerpt| excerpt.lines().collect());
    json!({ "error": error.reason().name(), "message": error.to_string(), "excerpt": excerpt })
}

fn script(script: &Script) -> Value {
    let notes: Vec<_> = script.notes().iter().map(|note| note.name()).collect();
    json!({
        "kind": "script", "interpreter": script.interpreter(), "body": bytes(script.body()), "notes": notes,
    })
}

fn kiln(kiln: &Kiln) -> Value {
    let services: Vec<Value> =
        kiln.service_env.iter().map(|(service, variables)| json!([service, env(variables)])).collect();
    let mut tree = json!({
        "kind": "kiln", "env": env(&kiln.env), "files": kiln.files.iter().map(file).collect::<Vec<_>>(),
        "runs": kiln.runs.iter().map(run).collect::<Vec<_>>(), "agent": kiln.agent.as_ref().map(ToString::to_string),
    });
    if !services.is_empty() {
        tree["services"] = services.into();
    }
    tree
}

fn env(variables: &[(String, EnvValue)]) -> Vec<Value> {
    let shown = variables.iter().map(|(name, value)| match value {
        EnvValue::Literal(text) => json!([name, { "literal": text }]),
        EnvValue::Ssm(parameter) => json!([name, { "ssm": parameter }]),
        EnvValue::Secret { id, key } => json!([name, { "secret": id, "key": key }]),
    });
    shown.collect()
}

fn run(run: &Run) -> Value {
    json!({
        "name": run.name, "command": command(&run.command),
        "every": match run.every { Every::Instance => "instance", Every::Boot => "boot" },
        "repeat": run.repeat,
        "timeout_seconds": run.timeout.map(|timeout| timeout.as_secs()),
        "user": run.user.as_ref().map(|owner| format!("{owner:?}")),
        "directory": run.directory, "umask": run.umask.map(|umask| format!("{umask:04o}")),
    })
}

fn cloud_config(config: &CloudConfig) -> Value {
    json!({
        "kind": "cloud-config", "hostname": config.hostname, "ssh_authorized_keys": config.ssh_authorized_keys,
        "bootcmd": config.boot_commands.iter().map(command).collect::<Vec<_>>(),
        "write_files": config.files.iter().map(file).collect::<Vec<_>>(),
        "runcmd": config.commands.iter().map(command).collect::<Vec<_>>(),
    })
}

fn command(command: &Command) -> Value {
    match command {
        Command::Shell(line) => json!(line),
        Command::Exec(words) => json!(words),
    }
}

fn file(file: &File) -> Value {
    json!({
        "path": file.path, "content": bytes(&file.content), "mode": format!("{:04o}", file.mode.unwrap_or(File::MODE)),
        "owner": file.owner.as_ref().map(|owner| json!([owner.user, owner.group])), "append": file.append,
    })
}

/// Text as it is, other bytes in hexadecimal.
fn bytes(bytes: &[u8]) -> Value {
    std::str::from_utf8(bytes).map_or_else(
        |_| json!({ "hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat() }),
        |text| json!(text),
    )
}
