//! The commands: what each reads, prints and exits with.

mod doctor;
mod environment;
mod operator;
mod report;
mod status;
mod userdata;

use crate::bootstrap::{self, Bootstrap, Halt, Outcome};
use crate::config::{Config, DEFAULT_PATH, Source};
use crate::imds::Imds;
use crate::{journal, world};
use anyhow::Context;
use clap::{Parser, Subcommand};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// The exit code of an invalid configuration (`EX_CONFIG`); the unit does not restart on it.
const EX_CONFIG: u8 = 78;

/// Takes an EC2 instance into service and out again without a dropped request.
#[derive(Debug, Parser)]
#[command(
    name = "kiln-agent",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 usage, 78 configuration invalid."
)]
pub struct Cli {
    /// The configuration file; fragments lie beside it in agent.d/.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fetch the user data and run it, once per instance (kiln-bootstrap.service, as root).
    #[command(
        after_help = "Examples:\n  kiln-agent bootstrap\n  journalctl -u kiln-bootstrap   # what it printed"
    )]
    Bootstrap,
    /// Run the daemon (kiln-agent.service).
    #[command(
        after_help = "Examples:\n  kiln-agent run\n  KILN_LOG=debug kiln-agent --config agent.toml run"
    )]
    Run,
    /// Validate the configuration; no network.
    #[command(after_help = "Examples:\n  kiln-agent check\n  kiln-agent check --config agent.toml")]
    Check,
    /// Show the phase, what is waited for, and what has happened.
    #[command(after_help = "Examples:\n  kiln-agent status\n  kiln-agent status --json | jq -r .phase")]
    Status {
        /// Print the document that /status serves.
        #[arg(long)]
        json: bool,
    },
    /// Look at everything an instance's life hangs on, and say what to mend; changes nothing.
    #[command(
        after_help = "Examples:\n  kiln-agent doctor\n  kiln-agent doctor --json | jq -r '.checks[] | select(.result == \"fail\").check'\n\nExits with 1 when a check fails; a warning is no failure. Takes a minute at most."
    )]
    Doctor {
        /// Print one JSON document; its check names are stable.
        #[arg(long)]
        json: bool,
    },
    /// Look after the environment of the services (as root).
    #[command(after_help = "Examples:\n  kiln-agent env refresh")]
    Env {
        #[command(subcommand)]
        command: EnvCommand,
    },
    /// Take the instance out of its target groups and wait for work in flight; `ready` brings it back (as root).
    ///
    /// /readyz answers 503 at once, targets are deregistered, and the application goes on serving. The instance stays
    /// in its group, drained, until `kiln-agent ready`, across restarts of the agent.
    ///
    /// Auto Scaling still counts it as in service. Where the group's health check type is ELB, it may find the instance
    /// unhealthy and replace it: for more than a few minutes put it on standby first, which the agent heeds by itself.
    #[command(after_help = "Examples:\n  \
        kiln-agent drain --wait && systemctl restart gunicorn@shop && kiln-agent ready --wait\n  \
        kiln-agent drain --wait --timeout 90s\n  \
        aws autoscaling enter-standby --instance-ids ID --auto-scaling-group-name GROUP \\\n      \
        --should-decrement-desired-capacity   # for longer work, instead\n\n\
        Exit codes: 0 asked, or drained with --wait; 1 not heard, refused, or not drained by the deadline.")]
    Drain {
        /// Wait until it is drained, and say meanwhile what is waited for.
        #[arg(long)]
        wait: bool,
        /// When the drain ends at the latest, at most `drain.max`; a running one's deadline only comes nearer.
        #[arg(long, value_name = "DURATION", value_parser = operator::duration)]
        timeout: Option<std::time::Duration>,
    },
    /// Bring the instance back after `drain`: the checks are asked again, then what was deregistered is registered (as
    /// root).
    ///
    /// Refused while anybody else has said "go", and while the group wants the instance out of service.
    #[command(after_help = "Examples:\n  kiln-agent ready\n  kiln-agent ready --wait\n\n\
        Exit codes: 0 asked, or serving with --wait; 1 not heard, refused, or not ready in time.")]
    Ready {
        /// Wait until it serves and its targets are registered.
        #[arg(long)]
        wait: bool,
    },
    /// Look at user data before an instance does.
    #[command(after_help = "Examples:\n  kiln-agent userdata check user-data.sh")]
    Userdata {
        #[command(subcommand)]
        command: UserDataCommand,
    },
}

#[derive(Debug, Subcommand)]
enum EnvCommand {
    /// Read the sources of [env] again and restart the services whose values changed, one after the other.
    #[command(
        after_help = "Examples:\n  kiln-agent env refresh           # after a parameter or a secret was changed\n  kiln-agent env refresh --check   # exits 1 when something changed; changes nothing\n\nRequests in flight are finished and new ones wait on the socket meanwhile. A source that does not answer changes\nnothing. To let a whole fleet have new values with health checks in between, refresh its instances."
    )]
    Refresh {
        /// Only compare: exit 1 when a service's values changed.
        #[arg(long)]
        check: bool,
    },
}

#[derive(Debug, Subcommand)]
enum UserDataCommand {
    /// Say what an instance would do with FILE, and whether it is valid.
    ///
    /// Its agent table is judged together with the configuration. Prints names, counts and places, never a value. Exits
    /// with 78 when an instance would refuse it.
    #[command(
        after_help = "Examples:\n  kiln-agent userdata check user-data.sh\n  kiln-agent userdata check shop.toml --config agent.toml"
    )]
    Check {
        /// The user data, before base64.
        file: PathBuf,
    },
}

impl Cli {
    /// Does what was asked.
    pub fn run(self) -> ExitCode {
        let path = self.config.as_deref().unwrap_or(Path::new(DEFAULT_PATH));
        let source = Source::new(path, self.config.is_some(), Path::new("/"));
        if let Command::Userdata { command: UserDataCommand::Check { file } } = &self.command {
            return finish(userdata::check(file, &source));
        }
        let config = match source.load() {
            Ok(config) => config,
            Err(error) => return complain(&error.to_string(), EX_CONFIG),
        };
        match self.command {
            Command::Check => {
                finish(print(&format!("{} is valid\n", path.display())).map(|()| ExitCode::SUCCESS))
            }
            Command::Status { json } => finish(status::status(&config, json)),
            Command::Drain { wait, timeout } => finish(operator::drain(&config, wait, timeout)),
            Command::Ready { wait } => finish(operator::ready(&config, wait)),
            Command::Doctor { json } => finish(doctor::doctor(&config, json)),
            Command::Bootstrap => finish(bootstrap(&config, &source)),
            Command::Run => finish(run(config, &source)),
            Command::Env { command: EnvCommand::Refresh { check } } => {
                finish(environment::refresh(&config, check))
            }
            Command::Userdata { .. } => ExitCode::SUCCESS,
        }
    }
}

fn run(config: Config, source: &Source) -> anyhow::Result<ExitCode> {
    journal::init().map_err(anyhow::Error::msg)?;
    let mut next = Some(config);
    while let Some(config) = next {
        // A runtime of its own: with it everything ends that went by the settings before.
        next = runtime()?.block_on(world::run(config, source, Path::new("/")))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn bootstrap(config: &Config, source: &Source) -> anyhow::Result<ExitCode> {
    journal::init().map_err(anyhow::Error::msg)?;
    let imds = Arc::new(Imds::from_env().map_err(anyhow::Error::msg)?);
    let root = Path::new("/");
    // Started by hand, it does the same as by its unit.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(bootstrap::UMASK));
    let report = runtime()?.block_on(async {
        let halt = Halt::from_signals(root).context("failed to handle SIGTERM")?;
        let bootstrap =
            Bootstrap { root, imds, imds_wait: config.imds_wait, source, halt, sync: nix::unistd::sync };
        bootstrap.run().await.context("failed to write /run/kiln/bootstrap.json: bootstrap runs as root")
    })?;
    Ok(if report.outcome == Outcome::Ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("failed to start the runtime")
}

fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        // A reader that has seen enough, such as `head`.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("failed to write to standard output"),
    }
}

fn finish(result: anyhow::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| complain(&format!("{error:#}"), 1))
}

fn complain(message: &str, code: u8) -> ExitCode {
    // Nobody is left to tell when stderr is closed.
    let _ = writeln!(std::io::stderr(), "kiln-agent: {message}");
    ExitCode::from(code)
}
