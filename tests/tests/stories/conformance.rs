//! cloud-init's own code reads the table of cases, and what `kiln userdata` composes: it does the same, or says why not.

use kiln_tests::programs::{Ended, kiln_command, repository, run};
use kiln_tests::starter::{beside_cloud_init, fresh};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

const SCRIPT: &str = "#!/bin/sh\necho 'a b' \"$HOME\" \\\n  = é --==kiln-0==--\n.\nFrom here\n";
const CONFIG: &str = "#cloud-config\nhostname: till-1\nssh_authorized_keys: [ssh-ed25519 AAAA till]\nwrite_files:\n  \
                      - path: /etc/till.conf\n    permissions: '0600'\n    content: |\n      open = é\n  \
                      - path: /etc/till.bin\n    encoding: b64\n    content: AAEC\n    append: true\n\
                      bootcmd:\n  - echo boot\nruncmd:\n  - [sh, -c, \"echo 'x y'\"]\n  - echo last\n";

#[test]
fn each_case_is_read_by_cloud_init_alike_or_is_listed_with_the_reason() {
    let told = compared(&repository().join("userdata/tests/cases"));
    let told = told.expect_code(0).stdout;
    let agreed = told.split(" agree").next().and_then(|count| count.trim().parse::<u32>().ok());
    assert!(agreed.is_some_and(|count| count > 60), "{told}");
}

#[test]
fn what_is_composed_of_its_formats_cloud_init_takes_as_it_was_meant() {
    let long = format!("{SCRIPT}{}", "echo one more line\n".repeat(2_000));
    let sources: [(&str, &[(&str, &str)]); 5] = [
        ("plain script", &[("one.sh", SCRIPT)]),
        ("plain document", &[("till.yaml", CONFIG)]),
        ("gzip", &[("one.sh", &long)]),
        ("MIME", &[("one.sh", SCRIPT), ("till.yaml", CONFIG), ("a name; \"é\".sh", "#!/bin/sh\nexit 0")]),
        ("MIME in gzip", &[("till.yaml", CONFIG), ("one.sh", &long)]),
    ];
    let folder = fresh();
    let app = folder.path().join("app");
    let (cases, manifest) = (folder.path().join("cases"), app.join("kiln.toml"));
    let starter = fs::read_to_string(&manifest).expect("the starter has a manifest");
    let mut forms = Vec::new();
    for (name, parts) in sources {
        let case = cases.join(name);
        fs::create_dir_all(&case).expect("make the case");
        for (file, text) in parts {
            fs::write(app.join(file), text).expect("write the part");
        }
        let names: Vec<&str> = parts.iter().map(|(file, _)| *file).collect();
        let told = format!("{starter}\n[userdata]\nparts = {}\n", json!(names));
        fs::write(&manifest, told).expect("the manifest is ours");
        let mut compose = kiln_command(["--json", "userdata", "-o"]);
        let said = run(compose.arg(case.join("input")).current_dir(&app)).expect_code(0).stdout;
        let said: Value = serde_json::from_str(&said).expect("stdout carries the receipt alone");
        forms.push(said["form"].to_string());
        let leaves: Vec<Value> =
            parts.iter().map(|(file, text)| json!({ "part": file, "content": leaf(text) })).collect();
        let tree = json!({ "kind": "multipart", "parts": leaves });
        fs::write(case.join("expected.json"), tree.to_string()).expect("write the expectation");
    }
    forms.dedup();
    assert_eq!(forms.len(), 4, "each way of wrapping: {forms:?}");
    let told = compared(&cases).expect_code(0).stdout;
    assert!(told.starts_with("5 agree"), "{told}");
    let schema = in_root(&app, &["cloud-init", "schema", "--config-file", "/media/till.yaml"]);
    let said = schema.expect_code(0).stdout;
    assert!(said.contains("Valid cloud-config"), "{said}");
}

/// What the sources ask for, as the table of cases has it.
fn leaf(text: &str) -> Value {
    if text.starts_with("#!") {
        return json!({ "kind": "script", "body": text });
    }
    json!({
        "kind": "cloud-config", "hostname": "till-1", "ssh_authorized_keys": ["ssh-ed25519 AAAA till"],
        "bootcmd": ["echo boot"], "runcmd": [["sh", "-c", "echo 'x y'"], "echo last"],
        "write_files": [
            { "path": "/etc/till.conf", "content": "open = é\n", "mode": "0600", "append": false },
            { "path": "/etc/till.bin", "content": { "hex": "000102" }, "mode": "0644", "append": true },
        ],
    })
}

fn compared(cases: &Path) -> Ended {
    in_root(cases, &["python3", "/mnt/cloud-init/compare.py", "/media"])
}

/// Runs a command in a root that has Debian's cloud-init, without a network; `folder` is `/media` there.
fn in_root(folder: &Path, command: &[&str]) -> Ended {
    let root = beside_cloud_init("take-over").root();
    let mut sandbox = Command::new("bwrap");
    sandbox.args([
        "--unshare-all",
        "--die-with-parent",
        "--clearenv",
        "--setenv",
        "PATH",
        "/usr/sbin:/usr/bin:/sbin:/bin",
    ]);
    sandbox.args(["--setenv", "LANG", "C.UTF-8", "--ro-bind"]).arg(root).arg("/");
    sandbox.args(["--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--tmpfs", "/run", "--ro-bind"]);
    sandbox.arg(repository().join("userdata/tests")).args(["/mnt", "--ro-bind"]).arg(folder).arg("/media");
    run(sandbox.args(command))
}
