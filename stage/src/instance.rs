//! An instance: the image's root, booted by systemd-nspawn in namespaces of its own.
//!
//! ```text
//!  setpriv (dies with the stage) ─ unshare net ─ cable to the bridge ─ unshare pid (dies whole) ─ nspawn ─ systemd
//! ```

mod warden;

use std::ffi::OsStr;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use crate::network::{AWS, BRIDGE, mac_of};
use crate::tether;
use warden::Warden;

/// `$0` stage's pid, `$1` cable, `$2` MAC, `$3` bridge, `$4` cgroup; the rest is the container's command.
/// Runs in the instance's new network namespace, still in the stage's pid namespace. Its clocks that count from boot
/// begin anew, as those of a machine do.
const CABLE: &str = r#"
for hierarchy in /sys/fs/cgroup/unified /sys/fs/cgroup/systemd /sys/fs/cgroup; do
  if test -e "$hierarchy/cgroup.procs"; then
    mkdir -p "$hierarchy/$4"
    echo $$ >"$hierarchy/$4/cgroup.procs"
  fi
done
ip link set lo up
ip link add ens5 address "$2" type veth peer name "$1" netns "$0"
nsenter -t "$0" -n ip link set "$1" master "$3" up
shift 4
read -r up rest </proc/uptime
exec unshare --time --boottime "-${up%.*}" --monotonic "-${up%.*}" \
  --pid --mount --mount-proc --fork --kill-child=KILL sh -ec "$@"
"#;

/// What nspawn keeps in /run/systemd must not stay behind on the machine.
const BOOT: &str = r#"mkdir -p /run/systemd; mount -t tmpfs tmpfs /run/systemd; exec systemd-nspawn "$@""#;

/// SIGRTMIN+4, which asks systemd to power off (systemd(1), "Signals").
const POWER_OFF: &str = "-38";

/// A booted (or booting) instance. Dropping it kills all of it.
#[derive(Debug)]
pub(crate) struct Instance {
    top: u32,
    cgroup: String,
    life: Mutex<(Child, Warden)>,
}

/// What tells one boot of an instance from all others.
#[derive(Debug)]
pub(crate) struct Boot<'a> {
    pub(crate) id: &'a str,
    pub(crate) address: Ipv4Addr,
    /// Counts the boots of the instance.
    pub(crate) number: u32,
    /// The root, extracted, owned by root. The boot writes to it.
    pub(crate) root: &'a Path,
    /// Where its console goes, after what earlier boots said.
    pub(crate) console: PathBuf,
}

impl Instance {
    /// Boots it.
    pub(crate) async fn launch(boot: Boot<'_>) -> Result<Self> {
        let Boot { id, address, number, root, console } = boot;
        let root =
            root.canonicalize().with_context(|| format!("failed to find the root {}", root.display()))?;
        let log = fs::File::options().create(true).append(true).open(&console);
        let log = log.with_context(|| format!("failed to open {}", console.display()))?;
        let cgroup = format!("kiln-{}-{id}-{number}", std::process::id());
        let warden = Warden::post(&cgroup, &root)?;
        let mut command = tether::command("unshare");
        // The kernel takes its time with the cable of the boot before: each has a name of its own.
        let cable = format!("k{}-{number}", address.octets()[3]);
        command
            .args(["--net", "sh", "-ec", CABLE, &std::process::id().to_string()])
            .args([&cable, &mac_of(address), BRIDGE, &cgroup, BOOT, "boot"])
            .args(nspawn(&root, address))
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            // The image's systemd wants cgroup v2, also on a machine that still boots with v1.
            .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
            .env("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "network")
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("failed to share the console")?)
            .stderr(log);
        let child = tether::spawn(command).await.context("failed to start systemd-nspawn")?;
        let top = child.id().context("systemd-nspawn ended at once")?;
        Ok(Self { top, cgroup, life: Mutex::new((child, warden)) })
    }

    /// Whether the container is gone.
    pub(crate) fn is_off(&self) -> bool {
        // Who holds the lock waits for just that.
        self.life.try_lock().is_ok_and(|mut life| !matches!(life.0.try_wait(), Ok(None)))
    }

    /// Stops every process of it where it is, or lets them go on.
    pub(crate) fn freeze(&self, frozen: bool) -> Result<()> {
        let at = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
            .map(|hierarchy| Path::new(hierarchy).join(&self.cgroup).join("cgroup.freeze"));
        let file = at.iter().find(|file| file.exists()).context("the instance has no cgroup of version 2")?;
        fs::write(file, if frozen { "1" } else { "0" })
            .with_context(|| format!("failed to write {}", file.display()))
    }

    /// Runs a command inside; `bound` protects the play from one that hangs.
    pub(crate) async fn exec<A: AsRef<OsStr>>(&self, command: &[A], bound: Duration) -> Result<Output> {
        self.enter(&["-a"], command, bound).await
    }

    /// The status that `http://127.0.0.1:PORT/PATH` answers inside, asked with the machine's own tools.
    pub(crate) async fn http_status(&self, port: u16, path: &str, bound: Duration) -> Result<u16> {
        let ask = format!(
            "exec 3<>/dev/tcp/127.0.0.1/{port}; printf 'GET {path} HTTP/1.0\\r\\nHost: stage\\r\\n\\r\\n' >&3; head -n 1 <&3"
        );
        let output = self.enter(&["-n"], &["bash", "-c", &ask], bound).await?;
        let line = String::from_utf8_lossy(&output.stdout);
        line.split(' ').nth(1).and_then(|status| status.trim().parse().ok()).context("no HTTP answer")
    }

    async fn enter<A: AsRef<OsStr>>(&self, which: &[&str], command: &[A], bound: Duration) -> Result<Output> {
        let leader = self.leader().context("the instance is not up")?;
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["-t", &leader.to_string()]).args(which).arg("--").args(command);
        nsenter.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        // As every service has it by `systemd.setenv=`.
        nsenter.env("AWS_ENDPOINT_URL", format!("http://{AWS}"));
        nsenter.env("LANG", "C.UTF-8").stdin(Stdio::null()).kill_on_drop(true);
        tokio::time::timeout(bound, nsenter.output())
            .await
            .with_context(|| format!("no end within {bound:?}"))?
            .context("failed to run nsenter")
    }

    /// Asks systemd to power off, waits at most `bound`, and kills what is left then.
    ///
    /// # Errors
    /// When it had to be killed.
    pub(crate) async fn power_off(&self, bound: Duration) -> Result<Duration> {
        let asked = Instant::now();
        if let Some(leader) = self.leader() {
            // nix knows no real-time signals.
            let kill =
                Command::new("sh").args(["-c", r#"kill "$0" "$1""#, POWER_OFF, &leader.to_string()]).status();
            kill.await.context("failed to signal the instance")?;
        }
        let mut life = self.life.lock().await;
        if tokio::time::timeout(bound, life.0.wait()).await.is_ok() {
            let took = asked.elapsed();
            life.1.sweep().await;
            return Ok(took);
        }
        end(&mut life).await;
        bail!("still on {bound:?} after SIGRTMIN+4, killed")
    }

    /// Kills all of it at once.
    pub(crate) async fn kill(&self) {
        end(&mut *self.life.lock().await).await;
    }

    /// The container's PID 1, as the stage sees it; `None` before it was forked.
    fn leader(&self) -> Option<u32> {
        let nspawn = *children(self.top).first()?;
        children(nspawn).into_iter().find(|pid| is_init(*pid))
    }
}

async fn end((child, warden): &mut (Child, Warden)) {
    // Gone already is what was wanted.
    let _ = child.kill().await;
    warden.sweep().await;
}

fn nspawn(root: &Path, address: Ipv4Addr) -> Vec<String> {
    let hostname = format!("ip-{}", address.to_string().replace('.', "-"));
    [
        &format!("--directory={}", root.display()),
        "--quiet",
        "--boot",
        "--register=no",
        "--keep-unit",
        "--console=pipe",
        "--link-journal=no",
        "--resolv-conf=off",
        "--timezone=off",
        "--capability=CAP_NET_ADMIN",
        &format!("--hostname={hostname}"),
        // A boot that hangs before the journal says so on the console.
        "systemd.show_status=yes",
        // Reaches every service: the SDKs find the stage without a word in the image.
        &format!("systemd.setenv=AWS_ENDPOINT_URL=http://{AWS}"),
    ]
    .map(ToOwned::to_owned)
    .to_vec()
}

fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn is_init(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))
        .and_then(|pids| pids.split_whitespace().last())
        == Some("1")
}
