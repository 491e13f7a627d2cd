//! Commands of a bake, confined: bubblewrap gives each its own mounts and processes, and all of it dies with Kiln.
//!
//! ```text
//!   host()  : /usr of this machine read-only, an empty home    npm, and the build of the frontend
//!   root()  : the root under construction as /                 apt, uv, nginx -t, kiln-agent check …
//! ```
//!
//! Nothing of the caller's environment gets in but what `PASSED` names: builds must not see credentials.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use kiln_image::ids::SOURCE_DATE_EPOCH;

use crate::bench::Bench;
use crate::failure::Failure;
use crate::said::Said;
use crate::unreachable;

/// Protects a pipeline from a command that waits for a network that never answers.
const BOUND: Duration = Duration::from_mins(20);

/// Of the caller's environment: how to reach a network, and how registries are to be used.
const PASSED: [&str; 8] = [
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "npm_config_registry",
    "UV_INDEX_URL",
];

/// Where the host's CA bundle appears in a sandbox.
const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// A command's surroundings.
#[derive(Debug, Clone)]
pub struct Sandbox {
    arguments: Vec<OsString>,
}

/// A confined command that failed.
#[derive(Debug, thiserror::Error)]
#[error("'{command}' failed ({status}); its last lines:\n{}", tail.join("\n"))]
pub struct CommandFailed {
    /// As a person would type it.
    pub command: String,
    /// `exit code 3`, or the signal.
    pub status: String,
    /// Of both its streams, see [`Said`].
    pub tail: Vec<String>,
}

impl Sandbox {
    fn new() -> Self {
        let flags = "--die-with-parent --new-session --unshare-pid --unshare-ipc --unshare-uts --unshare-net --clearenv";
        let mut sandbox = Self { arguments: flags.split(' ').map(OsString::from).collect() };
        for (name, value) in [
            ("HOME", "/tmp"),
            ("LANG", "C.UTF-8"),
            ("TZ", "UTC"),
            ("CI", "1"),
            ("PYTHONDONTWRITEBYTECODE", "1"),
        ] {
            sandbox = sandbox.env(name, value);
        }
        for name in PASSED {
            if let Some(value) = std::env::var_os(name) {
                sandbox = sandbox.env(name, value);
            }
        }
        sandbox.with(&["--hostname", "kiln"])
    }

    /// Programs of this machine, with no capability and nothing writable but what is bound.
    pub fn host() -> Self {
        let mut sandbox =
            Self::new().bind_ro(Path::new("/usr"), Path::new("/usr")).with(&["--cap-drop", "ALL"]);
        for name in ["bin", "sbin", "lib", "lib64"] {
            let path = Path::new("/").join(name);
            sandbox = match std::fs::read_link(&path) {
                Ok(target) => sandbox.with(&["--symlink".as_ref(), target.as_os_str(), path.as_os_str()]),
                Err(_) if path.is_dir() => sandbox.bind_ro(&path, &path),
                Err(_) => sandbox,
            };
        }
        for name in ["alternatives", "group", "hosts", "ld.so.cache", "nsswitch.conf", "passwd", "ssl"] {
            let path = Path::new("/etc").join(name);
            sandbox = sandbox.with(&["--ro-bind-try".as_ref(), path.as_os_str(), path.as_os_str()]);
        }
        sandbox.with(&["--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"]).env("PATH", "/usr/bin:/bin")
    }

    /// `root` as `/`, writable, with its own programs.
    pub fn root(root: &Path) -> Self {
        Self::new().with(&["--bind".as_ref(), root.as_os_str(), "/".as_ref()]).furnished()
    }

    /// `root` as `/`, read-only.
    pub fn root_read_only(root: &Path) -> Self {
        Self::new().with(&["--ro-bind".as_ref(), root.as_os_str(), "/".as_ref()]).furnished()
    }

    fn furnished(self) -> Self {
        // apt fetches as a user of its own, who has to write to /tmp and to find resolv.conf; bubblewrap's own
        // default for the folders it makes is 0700.
        self.with(&[
            "--dev", "/dev", "--proc", "/proc", "--perms", "1777", "--tmpfs", "/tmp", "--tmpfs", "/run",
        ])
        .with(&[
            "--perms",
            "0755",
            "--dir",
            "/run/systemd",
            "--perms",
            "0755",
            "--dir",
            "/run/systemd/resolve",
        ])
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("SYSTEMD_OFFLINE", "1")
        // What systemd-sysusers takes for today, so that no date of this machine gets into /etc/shadow.
        .env("SOURCE_DATE_EPOCH", SOURCE_DATE_EPOCH.to_string())
    }

    fn with<S: AsRef<OsStr>>(mut self, arguments: &[S]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Shares the host's network and its way to resolve names; `root` is what this sandbox shows as `/`.
    #[must_use]
    pub fn network(mut self, root: &Path) -> Self {
        self.arguments.retain(|argument| argument != "--unshare-net");
        let resolv = Path::new("/etc/resolv.conf");
        let host = resolv.canonicalize().unwrap_or_else(|_| resolv.to_owned());
        // In an image it is often a link into /run, which is empty here: what it points to is put there.
        let target = match std::fs::read_link(root.join("etc/resolv.conf")) {
            Ok(link) => Path::new("/").join(link.strip_prefix("..").unwrap_or(&link)),
            Err(_) => resolv.to_owned(),
        };
        let sandbox = self.with(&["--ro-bind-try".as_ref(), host.as_os_str(), target.as_os_str()]);
        if !Path::new(CA_BUNDLE).exists() {
            return sandbox;
        }
        // A company's own CA is trusted on the machine that bakes, and must not get into the image.
        let inside = "/tmp/kiln-ca.crt";
        let sandbox = sandbox.with(&["--ro-bind", CA_BUNDLE, inside]);
        ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "PIP_CERT"]
            .iter()
            .fold(sandbox, |all, name| all.env(name, inside))
    }

    /// Shows `from` at `to`, writable.
    #[must_use]
    pub fn bind(self, from: &Path, to: &Path) -> Self {
        self.with(&["--bind".as_ref(), from.as_os_str(), to.as_os_str()])
    }

    /// Shows `from` at `to`.
    #[must_use]
    pub fn bind_ro(self, from: &Path, to: &Path) -> Self {
        self.with(&["--ro-bind".as_ref(), from.as_os_str(), to.as_os_str()])
    }

    /// Shows `from` at `to` if there is such a file.
    #[must_use]
    pub fn bind_ro_try(self, from: &Path, to: &Path) -> Self {
        self.with(&["--ro-bind-try".as_ref(), from.as_os_str(), to.as_os_str()])
    }

    /// An empty folder in memory at `path`.
    #[must_use]
    pub fn tmpfs(self, path: &str) -> Self {
        self.with(&["--tmpfs", path])
    }

    /// The working directory.
    #[must_use]
    pub fn dir(self, path: &Path) -> Self {
        self.with(&["--chdir".as_ref(), path.as_os_str()])
    }

    /// A variable.
    #[must_use]
    pub fn env(self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.with(&["--setenv".as_ref(), name.as_ref(), value.as_ref()])
    }

    /// Runs to the end; each line of output goes to the log.
    ///
    /// # Errors
    /// [`CommandFailed`] with the last lines, as [`Failure::Unreachable`] where it failed for that;
    /// [`Failure::Interrupted`].
    pub fn run<S: AsRef<OsStr>>(&self, bench: &Bench, command: &[S]) -> anyhow::Result<Vec<String>> {
        bench.interrupt.check()?;
        let shown = shown(command);
        bench.report.tool_line(&format!("$ {shown}"));
        let (reader, writer) = std::io::pipe().context("failed to make a pipe")?;
        let mut bubblewrap = kiln_image::host::confined("bwrap", None)?;
        bubblewrap.args(&self.arguments).args(["--", "timeout", "-s", "KILL", &BOUND.as_secs().to_string()]);
        bubblewrap.args(command).stdin(Stdio::null()).env_clear();
        bubblewrap.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        // Out of reach of the terminal's own Ctrl-C: Kiln ends it in order.
        bubblewrap.process_group(0);
        bubblewrap.stdout(writer.try_clone().context("failed to share a pipe")?).stderr(writer);
        let mut child = bubblewrap.spawn().context("failed to start bwrap")?;
        // While this side still held the pipe's writing end, reading would never end.
        drop(bubblewrap);
        let mut said = Said::default();
        for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            bench.report.tool_line(&line);
            said.push(line);
        }
        let status = child.wait();
        bench.interrupt.check()?;
        let status = status.with_context(|| format!("failed to wait for '{shown}'"))?;
        if status.success() {
            return Ok(said.lines());
        }
        let status = match status.code() {
            Some(137) => {
                format!("exit code 137: killed, at the latest after {} minutes", BOUND.as_secs() / 60)
            }
            Some(code) => format!("exit code {code}"),
            None => status.to_string(),
        };
        let failed = CommandFailed { command: shown, status, tail: said.lines() };
        let online = !self.arguments.iter().any(|argument| argument == "--unshare-net");
        match unreachable::registry(&failed.tail).filter(|_| online) {
            Some(registry) => Err(anyhow::Error::new(failed).context(Failure::Unreachable(registry))),
            None => Err(failed.into()),
        }
    }
}

/// A command as a person would type it; a script that is passed as an argument is left out, a shell that runs one
/// command is not named.
fn shown<S: AsRef<OsStr>>(command: &[S]) -> String {
    let command = match command {
        [shell, flag, line] if shell.as_ref() == "sh" && flag.as_ref() == "-c" => std::slice::from_ref(line),
        whole => whole,
    };
    let words = command.iter().map(|word| word.as_ref().to_string_lossy());
    words.map(|word| if word.contains('\n') { "…".into() } else { word }).collect::<Vec<_>>().join(" ")
}
