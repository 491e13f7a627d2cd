//! The clock: signatures are refused from five minutes' difference on, and a datum's time is the machine's.
//!
//! The difference is measured, against the `Date` of the metadata service, which the host answers and not the network.
//! Whether something keeps the clock right is asked by the traces of the two daemons that do: timesyncd leaves a file
//! once it has synchronised, chrony its socket while it runs. The kernel's own word (`adjtimex`) would need unsafe
//! code or one more crate, and says no more than the measurement.

use super::{Finding, Known};
use std::path::Path;

/// `SigV4`: a signature is taken within five minutes of its time.
const REFUSED: u64 = 300;
/// The date counts whole seconds, and the answer took its time.
const EXACT: u64 = 2;
/// Traces of a daemon that keeps the clock, under the root.
const DAEMONS: [(&str, &str); 3] = [
    ("run/systemd/timesync/synchronized", "systemd-timesyncd has synchronised it"),
    ("run/chrony/chronyd.sock", "chrony runs"),
    ("run/chrony/chronyd.pid", "chrony runs"),
];

/// What is known of the clock.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    pub(super) ahead: Known<i64>,
    pub(super) kept_by: Option<&'static str>,
}

pub(super) fn gather(root: &Path, ahead: Known<i64>) -> Clock {
    // The socket's folder is chrony's own: where it may not be looked into, it is there.
    let there = |name: &str| match std::fs::symlink_metadata(root.join(name)) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
    };
    let found = DAEMONS.iter().find(|(name, _)| there(name));
    Clock { ahead, kept_by: found.map(|(_, what)| *what) }
}

pub(super) fn judge(clock: &Clock) -> Vec<Finding> {
    let difference = match &clock.ahead {
        Err(why) => Finding::skipped("clock.difference", why),
        Ok(ahead) => {
            let found = match ahead {
                0 => "none to the metadata service".to_owned(),
                1.. => format!("{ahead} s ahead of the metadata service"),
                _ => format!("{} s behind the metadata service", ahead.unsigned_abs()),
            };
            match ahead.unsigned_abs() {
                0..=EXACT => Finding::ok("clock.difference", found),
                off if off < REFUSED => {
                    Finding::warn("clock.difference", found, "chronyc tracking; chronyc makestep")
                }
                _ => Finding::fail(
                    "clock.difference",
                    format!("{found}: AWS refuses the signatures"),
                    "chronyc makestep; let chrony ask 169.254.169.123",
                ),
            }
        }
    };
    let kept = match clock.kept_by {
        Some(what) => Finding::ok("clock.synchronised", what),
        None => Finding::warn(
            "clock.synchronised",
            "nothing keeps it right: no trace of chrony or systemd-timesyncd",
            "systemctl enable --now chrony",
        ),
    };
    vec![difference, kept]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Result;

    #[test]
    fn a_difference_is_judged_by_what_it_breaks() {
        let cases = [
            (0, Result::Ok),
            (-2, Result::Ok),
            (3, Result::Warn),
            (-299, Result::Warn),
            (300, Result::Fail),
            (i64::MIN, Result::Fail),
        ];
        for (ahead, expected) in cases {
            let clock = Clock { ahead: Ok(ahead), kept_by: None };
            assert_eq!(judge(&clock)[0].result, expected, "{ahead}");
        }
    }

    #[test]
    fn the_daemon_is_known_by_its_traces() {
        let root = tempfile::tempdir().expect("a folder");
        assert_eq!(gather(root.path(), Ok(0)).kept_by, None);
        let chrony = root.path().join("run/chrony");
        std::fs::create_dir_all(&chrony).expect("the folder is ours");
        std::fs::write(chrony.join("chronyd.pid"), "1").expect("the folder is ours");
        let clock = gather(root.path(), Ok(0));
        assert_eq!(clock.kept_by, Some("chrony runs"));
        assert!(judge(&clock).iter().all(|finding| finding.result == Result::Ok));
    }
}
