//! What the agent's unit promises, by systemd's own judgement.

use kiln_tests::programs::repository;
use std::process::Command;

/// The exposure that the contract allows, on systemd's scale of 0 to 10.
const EXPOSURE_AT_MOST: f64 = 2.0;

fn unit() -> std::path::PathBuf {
    repository().join("templates/image/usr/lib/systemd/system/kiln-agent.service")
}

#[test]
fn the_agents_sandbox_is_as_tight_as_promised() {
    let judged = Command::new("systemd-analyze")
        .args(["security", "--offline=yes", "--no-pager"])
        .arg(unit())
        .env("SYSTEMD_COLORS", "0")
        .output()
        .expect(
            "systemd-analyze is here: tests/host/packages names systemd-container, which comes with systemd",
        );
    let said = String::from_utf8_lossy(&judged.stdout);
    let exposure: f64 = said
        .lines()
        .find_map(|line| line.split_once("kiln-agent.service: ")?.1.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("no exposure in: {said}{}", String::from_utf8_lossy(&judged.stderr)));
    assert!(exposure <= EXPOSURE_AT_MOST, "exposure {exposure}:\n{said}");
}

#[test]
fn what_the_agent_starts_does_not_bring_it_down() {
    let unit = std::fs::read_to_string(unit()).expect("the unit is there");
    let lines: Vec<&str> = unit.lines().collect();
    // A check or a drain script that is killed for memory must not stop the unit: a stop is a drain.
    assert!(lines.contains(&"OOMPolicy=continue"), "{unit}");
    for capabilities in ["CapabilityBoundingSet=", "AmbientCapabilities=", "NoNewPrivileges=yes"] {
        assert!(lines.contains(&capabilities), "{capabilities}");
    }
}
