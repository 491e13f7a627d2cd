//! Rules about the tree that no compiler has.

use kiln_tests::programs::repository;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Longer files hold two things.
const LINES_AT_MOST: usize = 320;

fn tracked(pattern: &str) -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "--", pattern])
        .current_dir(repository())
        .output()
        .expect("git lists the tree");
    let names = String::from_utf8(listed.stdout).expect("names are UTF-8");
    names.lines().map(PathBuf::from).filter(|path| repository().join(path).is_file()).collect()
}

fn text(path: &Path) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_default()
}

#[test]
fn a_file_of_code_is_short_and_says_what_it_is() {
    let mut faults = Vec::new();
    for path in tracked("*.rs") {
        let code = text(&path);
        if code.lines().count() > LINES_AT_MOST {
            faults.push(format!("{}: {} lines", path.display(), code.lines().count()));
        }
        if !code.starts_with("//!") {
            faults.push(format!("{}: no //! line", path.display()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_file_carries_a_path_of_one_machine() {
    let mut faults = Vec::new();
    for path in tracked("*") {
        if path.extension().is_some_and(|extension| extension == "lock")
            || path.ends_with("package-lock.json")
        {
            continue;
        }
        for (number, line) in text(&path).lines().enumerate() {
            // In two parts, so that this file passes its own rule.
            let places = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
            if places.iter().any(|place| {
                line.split(|c: char| c.is_whitespace() || "\"'`(=:".contains(c))
                    .any(|word| word.starts_with(place))
            }) {
                faults.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn systemd_waits_longer_for_the_agent_than_the_longest_drain() {
    let unit = text(Path::new("templates/image/usr/lib/systemd/system/kiln-agent.service"));
    let stop = seconds(&unit, "TimeoutStopSec=");
    let config = text(Path::new("templates/image/etc/kiln/agent.toml.j2"));
    let drain = config
        .lines()
        .map(|line| line.trim_start_matches("# ").trim_start_matches('#'))
        .find_map(|line| line.strip_prefix("max = "))
        .expect("agent.toml names drain.max");
    let drain = drain.split('"').nth(1).expect("a quoted duration");
    let drain = duration(drain);
    assert!(stop > drain, "TimeoutStopSec={stop} does not outlast drain.max {drain}");
}

fn seconds(unit: &str, key: &str) -> u64 {
    duration(unit.lines().find_map(|line| line.strip_prefix(key)).expect("the unit has the key").trim())
}

/// `90`, `90s`, `5m`, `6min` or `5min 30s`, as systemd and the agent's configuration write them.
fn duration(text: &str) -> u64 {
    let part = |part: &str| {
        let digits = part.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let number: u64 = digits.parse().expect("a whole number");
        match &part[digits.len()..] {
            "" | "s" => number,
            "m" | "min" => number * 60,
            unit => panic!("no such unit: {unit}"),
        }
    };
    text.split_whitespace().map(part).sum()
}

#[test]
fn the_changelog_knows_the_version() {
    let version = env!("CARGO_PKG_VERSION");
    assert!(text(Path::new("CHANGELOG.md")).contains(&format!("[{version}]")), "no entry for {version}");
}

#[test]
fn every_package_that_the_host_needs_says_what_calls_it() {
    for line in text(Path::new("tests/host/packages")).lines().filter(|line| !line.starts_with('#')) {
        assert!(line.split_whitespace().count() > 1, "{line}: no reason given");
    }
}
