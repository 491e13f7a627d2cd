//! Runs `kiln rehearse` and reads what it wrote.

use crate::programs::{Ended, kiln_command, run};
use crate::starter::Baked;
use serde_json::Value;
use std::path::Path;

/// A finished rehearsal.
#[derive(Debug)]
pub struct Rehearsed {
    /// How the program ended.
    pub ended: Ended,
    /// `rehearsal.json`.
    pub report: Value,
}

/// Rehearses an image to its verdict, with user data if any; the exit code is the caller's to judge.
pub fn rehearse(baked: &Baked, user_data: Option<&Path>) -> Rehearsed {
    let mut command = kiln_command(["rehearse"]);
    command.arg(&baked.image).current_dir(&baked.app);
    if let Some(file) = user_data {
        command.arg("--user-data").arg(file);
    }
    let ended = run(&mut command);
    let path = baked.image.join("rehearsal.json");
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", path.display(), ended.stderr));
    Rehearsed { report: serde_json::from_str(&text).expect("rehearsal.json is JSON"), ended }
}

impl Rehearsed {
    /// The instance's requests of one action, in order.
    pub fn requests(&self, action: &str) -> Vec<&Value> {
        let all = self.report["requests"].as_array().expect("the report has requests");
        all.iter().filter(|request| request["action"] == action).collect()
    }

    /// Completions of one hook that were accepted, with the time and the result of each.
    pub fn completions(&self, state: &str) -> Vec<(f64, String)> {
        let accepted = self.requests("CompleteLifecycleAction").into_iter();
        accepted
            .filter(|request| request["status"] == 200 && request["state"] == state)
            .map(|request| (at(request), parameter(request, "LifecycleActionResult").to_owned()))
            .collect()
    }

    /// What the instance said of itself at a moment of its life.
    pub fn snapshot(&self, moment: &str) -> &Value {
        let all = self.report["snapshots"].as_array().expect("the report has snapshots");
        let found = all.iter().find(|snapshot| snapshot["moment"] == moment);
        found.unwrap_or_else(|| panic!("no snapshot `{moment}` in {all:#?}"))
    }

    /// The whole story for a failing assertion.
    pub fn story(&self) -> String {
        let timeline = self.report["timeline"].as_array().map(|lines| {
            lines
                .iter()
                .map(|line| format!("{:>7.2} {} {}", at(line), line["who"], line["text"]))
                .collect::<Vec<_>>()
                .join("\n")
        });
        format!("{}\n{}", timeline.unwrap_or_default(), self.ended.stderr)
    }
}

/// Seconds since the play began.
pub fn at(entry: &Value) -> f64 {
    entry["at"].as_f64().expect("an entry has its time")
}

/// A parameter of a query API call, empty when it was not sent.
pub fn parameter<'a>(request: &'a Value, name: &str) -> &'a str {
    request["parameters"][name].as_str().unwrap_or_default()
}
