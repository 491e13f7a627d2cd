//! `kiln-agent doctor`: the findings as a person reads them, or as one JSON document.

use super::report::{Colour, terminal};
use super::{print, runtime};
use crate::aws::Aws;
use crate::config::Config;
use crate::doctor::{self, Finding, Report, Result};
use crate::imds::Imds;
use anyhow::Context;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Looks, prints, and exits with 1 when a check fails; a warning is none.
pub(super) fn doctor(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let imds = Arc::new(Imds::from_env().map_err(anyhow::Error::msg)?);
    let aws = Arc::new(Aws::new(imds.clone()));
    let report = runtime()?.block_on(doctor::examine(config, Path::new("/"), imds, aws));
    if json {
        let text = serde_json::to_string_pretty(&report).context("failed to write the findings as JSON")?;
        print(&format!("{text}\n"))?;
    } else {
        print(&text(&report, terminal()))?;
    }
    Ok(if report.result == Result::Fail { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn text(report: &Report, coloured: bool) -> String {
    let width = report.checks.iter().map(|finding| finding.check.len()).max().unwrap_or_default();
    let mut text = String::new();
    for finding in &report.checks {
        line(&mut text, finding, width, coloured);
    }
    if let Some(policy) = &report.missing_policy {
        // A JSON value without text keys is always written.
        let policy = serde_json::to_string_pretty(policy).unwrap_or_default();
        let _ = write!(text, "\nThe IAM policy that is missing:\n\n{policy}\n");
    }
    let count = |result: Result| format!("{} {}", report.count(result), result.name());
    let counts = [Result::Ok, Result::Warn, Result::Fail, Result::Skipped].map(count);
    let _ = write!(text, "\n{}\n", counts.join(", "));
    text
}

fn line(text: &mut String, finding: &Finding, width: usize, coloured: bool) {
    let colour = match finding.result {
        _ if !coloured => Colour::None,
        Result::Ok => Colour::Green,
        Result::Warn => Colour::Yellow,
        Result::Fail => Colour::Red,
        Result::Skipped => Colour::None,
    };
    let (on, off) = colour.around();
    let of = finding.of.as_ref().map(|of| format!("{of}: ")).unwrap_or_default();
    let name = finding.result.name();
    let found = clean(&format!("{of}{}", finding.found));
    let _ = writeln!(text, "{on}{name:<7}{off}  {:<width$}  {found}", finding.check);
    if let Some(remedy) = &finding.remedy {
        let _ = writeln!(text, "{:<9}{:>width$}  {}", "", "remedy:", clean(remedy));
    }
}

/// Replies of services are shown: none of them may move a terminal's cursor.
fn clean(said: &str) -> String {
    said.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_lines_with_their_remedies() {
        let report = Report {
            version: "0.1.0",
            result: Result::Fail,
            checks: vec![
                Finding::ok("imds.v2", "i-0abc, by a token"),
                Finding::fail("hook.launch", "several: a, b\x1b[2J", "set lifecycle.launch_hook to yours")
                    .of("web"),
                Finding::skipped("metrics.arrive", "the agent does not answer"),
            ],
            missing_policy: Some(serde_json::json!({ "Version": "2012-10-17" })),
        };
        let expected = "\
ok       imds.v2         i-0abc, by a token
fail     hook.launch     web: several: a, b [2J
                remedy:  set lifecycle.launch_hook to yours
skipped  metrics.arrive  the agent does not answer

The IAM policy that is missing:

{
  \"Version\": \"2012-10-17\"
}

1 ok, 0 warn, 1 fail, 1 skipped
";
        assert_eq!(text(&report, false), expected, "\n{}", text(&report, false));
        let coloured = text(&report, true);
        assert!(coloured.contains("\x1b[31mfail   \x1b[0m  hook.launch"), "{coloured}");
    }
}
