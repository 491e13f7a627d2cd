//! Sweeps up what namespaces do not: an instance's empty cgroups and nspawn's lock file.
//!
//! A shell that waits for the end of a pipe outlives the stage by moments, so that SIGKILL leaves nothing either.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::process::{Child, Command};

/// `$0` the cgroup's name, `$1` the lock file. Tries for ten seconds: the kernel takes a moment to bury the dead.
const SWEEP: &str = r#"
read -r end
for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  left=
  for hierarchy in /sys/fs/cgroup/unified /sys/fs/cgroup/systemd /sys/fs/cgroup; do
    if test -d "$hierarchy/$0"; then
      find "$hierarchy/$0" -depth -type d -exec rmdir {} + 2>/dev/null || left=yes
    fi
  done
  test -z "$left" && break
  sleep 0.5
done
rm -f "$1"
"#;

/// Longest that a play waits for the sweep at its own end.
const BOUND: Duration = Duration::from_secs(10);

/// The waiting shell. Dropping it starts the sweep.
#[derive(Debug)]
pub(super) struct Warden(Child);

impl Warden {
    pub(super) fn post(cgroup: &str, root: &Path) -> Result<Self> {
        let name = root.file_name().unwrap_or_default().to_string_lossy();
        let lock = root.with_file_name(format!(".#{name}.lck"));
        let warden = Command::new("sh")
            .args(["-c", SWEEP, cgroup])
            .arg(lock)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C is for the stage; the warden has work to do then.
            .process_group(0)
            .spawn();
        Ok(Self(warden.context("failed to start the sweeping shell")?))
    }

    /// Starts the sweep and waits for its end; what is left then, it goes on with after the stage is gone.
    pub(super) async fn sweep(&mut self) {
        drop(self.0.stdin.take());
        let _ = tokio::time::timeout(BOUND, self.0.wait()).await;
    }
}
