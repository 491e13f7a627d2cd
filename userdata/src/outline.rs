//! User data in words: what an instance would do with it, a line each, for who is about to launch one.

use crate::kiln::{Every, Kiln};
use crate::part::Leaf;
use crate::{CloudConfig, Command, File, Script, UserData};
use std::fmt::{self, Write as _};

/// Names, counts and places; never a value, a content or a command's arguments.
impl fmt::Display for UserData {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let leaves = self.leaves();
        if leaves.is_empty() {
            return out.write_str("empty: nothing would be run\n");
        }
        for (label, leaf) in leaves {
            let lines = match leaf {
                Leaf::Script(script) => self::script(script),
                Leaf::Kiln(document) => kiln(document),
                Leaf::CloudConfig(config) => cloud_config(config),
                Leaf::Left(_) => "a #cloud-config document, left to cloud-init\n".to_owned(),
            };
            if let Some(label) = label {
                write!(out, "{label}: ")?;
            }
            out.write_str(&lines)?;
        }
        Ok(())
    }
}

fn script(script: &Script) -> String {
    let mut text = format!("a script, run once per instance by {}\n", script.interpreter());
    for note in script.notes() {
        line(&mut text, "note", &note.to_string());
    }
    text
}

fn kiln(document: &Kiln) -> String {
    let mut text = "a #kiln document\n".to_owned();
    for (name, value) in &document.env {
        line(&mut text, "env", &format!("{name} from {value}"));
    }
    for (service, variables) in &document.service_env {
        for (name, value) in variables {
            line(&mut text, "env", &format!("{name} of {service} from {value}"));
        }
    }
    files(&mut text, &document.files);
    for run in &document.runs {
        let every = match run.every {
            Every::Instance => "once per instance",
            Every::Boot => "on each boot",
        };
        let once = if run.repeat { "" } else { " and never again" };
        let bound = run
            .timeout
            .map_or(String::new(), |bound| format!(", within {}", humantime::format_duration(bound)));
        line(&mut text, "run", &format!("{}: {}, {every}{once}{bound}", run.name, program(&run.command)));
    }
    if let Some(agent) = &document.agent {
        let tables: Vec<&str> = agent.keys().map(String::as_str).collect();
        line(&mut text, "agent", &tables.join(", "));
    }
    text
}

fn cloud_config(config: &CloudConfig) -> String {
    let mut text = "a #cloud-config document\n".to_owned();
    for command in &config.boot_commands {
        line(&mut text, "run", &format!("{}, on each boot", program(command)));
    }
    files(&mut text, &config.files);
    if let Some(hostname) = &config.hostname {
        line(&mut text, "hostname", hostname);
    }
    if !config.ssh_authorized_keys.is_empty() {
        line(&mut text, "ssh keys", &config.ssh_authorized_keys.len().to_string());
    }
    for command in &config.commands {
        line(&mut text, "run", &format!("{}, once per instance", program(command)));
    }
    text
}

fn files(text: &mut String, files: &[File]) {
    for file in files {
        let owner = file.owner.as_ref().map_or("root", |owner| owner.user.as_str());
        let verb = if file.append { "appended" } else { "written" };
        let mode = file.mode.unwrap_or(File::MODE);
        line(text, "file", &format!("{} {mode:04o} {owner}, {} bytes {verb}", file.path, file.content.len()));
    }
}

fn program(command: &Command) -> String {
    match command {
        Command::Shell(line) => format!("a line of {} bytes by /bin/sh", line.len()),
        Command::Exec(words) => words.first().cloned().unwrap_or_default(),
    }
}

fn line(text: &mut String, what: &str, value: &str) {
    // A String takes every line.
    let _ = writeln!(text, "{what:>10}  {}", value.escape_debug());
}
