//! systemd's words, and what is made of them.

use super::*;
use crate::doctor::Result;

/// As Debian 12's systemd 252 prints it, shortened to what is read.
const SHOWN: &str = "\
User=kiln-agent
NoNewPrivileges=yes
ProtectSystem=strict
CapabilityBoundingSet=
TimeoutStopUSec=5min 30s
Result=success
Id=kiln-agent.service
After=systemd-journald.socket nginx.service network.target
LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=enabled
NeedDaemonReload=no

TimeoutStopUSec=1min 15s
Id=nginx.service
LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=enabled

ExecStop={ path=/bin/sh ; argv[]=/bin/sh -c systemctl stop kiln-agent.service ; ignore_errors=yes }
TimeoutStopUSec=6min
Id=gunicorn@shop.service
LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=enabled

TimeoutStopUSec=1min 30s
Id=gunicorn@shop.socket
LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=enabled
";

#[test]
fn the_shipped_units_are_found_well() {
    let findings = judged(SHOWN, "");
    assert_eq!(findings.len(), 7, "{findings:?}");
    assert!(findings.iter().all(|finding| finding.result == Result::Ok), "{findings:?}");
}

#[test]
fn each_departure_is_found_under_its_name() {
    let cases = [
        (
            "ActiveState=active\nSubState=running",
            "ActiveState=failed\nSubState=failed",
            "units.run",
            Result::Fail,
        ),
        ("ActiveState=active", "ActiveState=activating", "units.run", Result::Warn),
        ("UnitFileState=enabled", "UnitFileState=disabled", "units.run", Result::Fail),
        ("NeedDaemonReload=no", "NeedDaemonReload=yes", "units.run", Result::Warn),
        ("LoadState=loaded", "LoadState=not-found", "units.run", Result::Fail),
        ("nginx.service network", "network", "units.order", Result::Fail),
        ("systemctl stop kiln-agent.service", "true", "units.order", Result::Fail),
        ("TimeoutStopUSec=5min 30s", "TimeoutStopUSec=10s", "units.stop-time", Result::Warn),
        ("TimeoutStopUSec=6min", "TimeoutStopUSec=5min 20s", "units.stop-time", Result::Warn),
        ("User=kiln-agent", "User=", "units.sandbox", Result::Warn),
        ("CapabilityBoundingSet=", "CapabilityBoundingSet=cap_sys_admin", "units.sandbox", Result::Warn),
        ("ProtectSystem=strict", "ProtectSystem=no", "units.sandbox", Result::Warn),
    ];
    for (from, to, check, result) in cases {
        assert!(SHOWN.contains(from), "{from}");
        let findings = judged(&SHOWN.replacen(from, to, 1), "");
        let worst = findings.iter().find(|finding| finding.result != Result::Ok);
        let worst = worst.unwrap_or_else(|| panic!("{to}: nothing found"));
        assert_eq!((worst.check, worst.result), (check, result), "{to}: {worst:?}");
        assert!(worst.remedy.is_some(), "{to}");
    }
    assert!(judged(&SHOWN.replace("5min 30s", "infinity").replace("=6min", "=infinity"), "").len() == 7);
    // What renews its time needs none in the file; what waits for it does.
    for (agent, gunicorn, max, expected) in [
        ("5min 30s", "6min", "10m", Result::Warn),
        ("5min 30s", "11min", "10m", Result::Ok),
        ("1min 30s", "6min", "5m", Result::Ok),
        ("5min 30s", "infinity", "30m", Result::Warn),
    ] {
        let shown =
            SHOWN.replace("=6min", &format!("={gunicorn}")).replace("=5min 30s", &format!("={agent}"));
        let findings = judged(&shown, &format!("[drain]\nmax = \"{max}\""));
        let judged = findings.iter().find(|finding| finding.check == "units.stop-time");
        assert_eq!(judged.map(|finding| finding.result), Some(expected), "{agent} {gunicorn} {max}");
    }
}

#[test]
fn a_machine_without_systemd_is_skipped_and_noise_is_survived() {
    let config = Config::parse("", "test").expect("it is valid");
    let findings = super::judge(&Err("systemd is not asked: no bus".to_owned()), &config);
    assert!(findings.iter().all(|finding| finding.result == Result::Skipped));
    for noise in ["", "\n\n\n", "=\n\n=", "Id", "Id=\u{0}\n\nLoadState=loaded\nId=kiln-agent.service"] {
        let _ = judged(noise, "");
    }
    assert_eq!(span("1.5 weeks and a bit"), None);
}

fn judged(shown: &str, config: &str) -> Vec<Finding> {
    let config = Config::parse(config, "test").expect("it is valid");
    super::judge(&Ok(Units { units: parse(shown), default_stop: None }), &config)
}
