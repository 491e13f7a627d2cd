//! The command line: what can be asked, with examples.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::diff::Aspect;

/// Bakes, proves and publishes the image of a web app for EC2 Auto Scaling.
#[derive(Debug, Parser)]
#[command(name = "kiln", version, about, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 usage, 69 a needed tool or service is missing, 75 try again, 78 manifest invalid, 130 interrupted.
stdout carries only the answer; progress goes to stderr.

Examples:
  kiln init shop && kiln -C shop bake && kiln -C shop rehearse
  kiln -C shop --json bake | jq -r .disk.path";

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Machine-readable: JSON lines on stderr, one JSON answer on stdout.
    #[arg(long, global = true)]
    pub json: bool,
    /// The app's folder, which holds kiln.toml.
    #[arg(short = 'C', id = "app", value_name = "DIR", default_value = ".", global = true)]
    pub dir: PathBuf,
    /// Colour on stderr.
    #[arg(long, value_enum, default_value_t = Color::Auto, global = true)]
    pub color: Color,
    /// Also show what the tools print.
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands, in the order of an image's life.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write the starter app and its manifest; it bakes as it is.
    #[command(after_help = "Examples:\n  kiln init shop\n  kiln init web/till --name till")]
    Init {
        /// A new or empty folder.
        dir: PathBuf,
        /// Name of image and service; the folder's by default.
        #[arg(long)]
        name: Option<String>,
    },
    /// Validate the manifest, the app's lock files and the templates; no network.
    #[command(after_help = "Examples:\n  kiln check\n  kiln -C shop check")]
    Check,
    /// Print the digest, the layers with cached or not, the steps of a bake, and the AWS calls of its publication.
    #[command(
        after_help = "Examples:\n  kiln plan\n  kiln --json plan | jq -r .digest\n  kiln plan --policy > policy.json\n  kiln plan --on instance         # with the base that it would start from\n  kiln plan --aws                 # is the name free, is it published?"
    )]
    Plan {
        /// Print the least-privilege IAM policy for publish, resume, abort and gc instead; for those of a bake on an
        /// instance with --on instance.
        #[arg(long)]
        policy: bool,
        /// Also ask AWS what it has under the image's name; fails if that is something else.
        #[arg(long, conflicts_with = "policy")]
        aws: bool,
        /// Where the bake is to run.
        #[arg(long, value_enum, default_value_t = On::Here)]
        on: On,
        /// The agent to put on the image.
        #[command(flatten)]
        agent: Agent,
    },
    /// Lock the packages of an image as Debian's mirrors and the app's own lock files have them now: kiln.lock.
    #[command(
        after_help = "Examples:\n  kiln update\n  kiln update --app                # after a change of the app's own lock files\n  kiln --json update | jq -r '.moved[].name'"
    )]
    Update {
        /// Leave Debian's packages as they are; no network.
        #[arg(long = "app")]
        app_alone: bool,
    },
    /// Build the image under .kiln/images/<digest>/; one that is there is not built again.
    #[command(
        after_help = "Examples:\n  kiln bake\n  kiln --json bake | jq -r .disk.path\n  KILN_CACHE=/var/cache/kiln kiln -C shop bake\n  kiln --json bake --on instance | jq -r .image_id"
    )]
    Bake {
        /// Where: on this machine, or on an instance in AWS that becomes the image and is published as such.
        #[arg(long, value_enum, default_value_t = On::Here)]
        on: On,
        /// The agent to put on the image.
        #[command(flatten)]
        agent: Agent,
    },
    /// Apply the app layer to a root: packages, files, users, releases, units.
    #[command(
        after_help = "Examples:\n  kiln provision --root /mnt/builder\n  kiln provision --root /     # on a live builder host"
    )]
    Provision {
        /// A root of Debian 12 or 13, Ubuntu 24.04 or Amazon Linux 2023; '/' on a live builder host.
        #[arg(long, value_name = "DIR")]
        root: PathBuf,
        /// What 'kiln bake --on instance' packed, unpacked; then the root is cleaned and checked, too, to become an image.
        #[arg(long, value_name = "DIR", conflicts_with = "agent")]
        bundle: Option<PathBuf>,
        /// The agent to install.
        #[command(flatten)]
        agent: Agent,
    },
    /// Boot an image on a stage and play its life; exit 1 when a promise is broken.
    #[command(
        after_help = "Examples:\n  kiln rehearse                    # the latest image\n  kiln rehearse 3f9a\n  kiln rehearse --user-data fails.sh path/to/root.tar"
    )]
    Rehearse {
        /// First digits of a digest, or the path to an image's folder or root.tar; the latest by default.
        image: Option<String>,
        /// User data for the instance.
        #[arg(long, value_name = "FILE")]
        user_data: Option<PathBuf>,
    },
    /// Compare two images or roots: packages, files, units, users, privileges, ports, configuration, blocks.
    #[command(
        after_help = "Examples:\n  kiln diff 3f9a 71c0\n  kiln diff 3f9a /                 # on an instance: what has drifted since\n  ssh shop sudo tar -c --one-file-system -C / . | kiln diff 3f9a -     # the same, asked from here\n  kiln diff --fail-on users,privileges,ports old/ new/\n  kiln diff ami-0c2b7f8e 71c0      # what the fleet runs beside what would replace it\n  kiln --json diff 3f9a 71c0 | jq -r '.packages[].what'"
    )]
    Diff {
        /// First digits of a digest, an image's folder, an AMI that was published from an image here, a root.tar ('-': one on
        /// standard input), or a folder with a root in it.
        old: String,
        /// The same of the other side.
        new: String,
        /// Exit with 1 when any of these differ; 'files' leaves out what a package's new version explains.
        #[arg(long, value_enum, value_delimiter = ',', value_name = "ASPECTS")]
        fail_on: Vec<Aspect>,
    },
    /// Upload the disk as an EBS snapshot and register the AMI; idempotent by digest.
    #[command(
        after_help = "Examples:\n  kiln publish\n  kiln --json publish --region eu-central-1 | jq -r .image_id"
    )]
    Publish(Publish),
    /// Finish what a dead publish left, from its journal or, on another machine, by tags.
    #[command(
        after_help = "Examples:\n  kiln resume\n  kiln resume p-3f9a --region eu-central-1     # on another machine"
    )]
    Resume(Unfinished),
    /// Remove what a dead publish left, from its journal or, on another machine, by tags.
    #[command(
        after_help = "Examples:\n  kiln abort\n  kiln --json abort p-3f9a --region eu-central-1 | jq -r '.[].removed[]'"
    )]
    Abort(Unfinished),
    /// Write the manifest's userdata table as a launch template takes it: the least wrapping that fits 16 KiB.
    #[command(
        after_help = "Examples:\n  kiln userdata -o user-data          # the bytes, for tools that encode them\n  kiln userdata --base64              # for aws ec2 create-launch-template-version\n  kiln userdata | kiln-agent userdata check /dev/stdin"
    )]
    Userdata {
        /// Where to write it; standard output by default.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Encoded once, as the EC2 API takes it.
        #[arg(long)]
        base64: bool,
    },
    /// Retire old images in AWS, remove what dead publications left, or clear this machine's cache.
    #[command(
        after_help = "Examples:\n  kiln gc                         # what would go, and why the others stay\n  kiln gc --keep 5 --apply\n  kiln gc --orphans --apply\n  kiln gc --cache                 # down to 20GiB, as bakes do by themselves\n  kiln gc --cache --max 2GiB\n  kiln --json gc --cache --max 0GiB | jq .before"
    )]
    Gc(Gc),
    /// Print the completion script of a shell.
    #[command(after_help = "Examples:\n  kiln completions bash > /etc/bash_completion.d/kiln")]
    Completions {
        /// Which shell.
        shell: Shell,
    },
}

/// What goes.
#[derive(Debug, Clone, Args)]
pub struct Gc {
    /// The layer cache of this machine alone: base roots, tools, venvs, frontends, downloads.
    #[arg(long, conflicts_with_all = ["orphans", "keep", "grace_days", "region", "apply"])]
    pub cache: bool,
    /// What may stay of it, in GiB.
    #[arg(long, value_name = "SIZE", default_value = "20GiB", value_parser = gib)]
    pub max: u64,
    /// What publications left that were not finished and have expired.
    #[arg(long, conflicts_with_all = ["keep", "grace_days"])]
    pub orphans: bool,
    /// Good images that stay; publish.keep of the manifest by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub keep: Option<u32>,
    /// Days between the steps of a retirement: deprecated, disabled, deregistered.
    #[arg(long, value_name = "DAYS", default_value_t = 7)]
    pub grace_days: u32,
    /// AWS region; by default the manifest's aws.region or the environment's, and those of its copies.
    #[arg(long)]
    pub region: Option<String>,
    /// Do it, instead of saying what would be done.
    #[arg(long)]
    pub apply: bool,
}

/// What to publish, and how.
#[derive(Debug, Clone, Args)]
pub struct Publish {
    /// First digits of a digest, or the path to an image's folder; the latest by default.
    pub image: Option<String>,
    /// AWS region; the manifest's aws.region or the environment's by default.
    #[arg(long)]
    pub region: Option<String>,
    /// Send what differs from this snapshot; from this app's latest one by default.
    #[arg(long, value_name = "SNAPSHOT", conflicts_with = "full")]
    pub parent: Option<String>,
    /// Send the whole disk.
    #[arg(long)]
    pub full: bool,
    /// Blocks in flight at most, 64 by default: fewer are tried first, and throttling halves them.
    #[arg(long, value_name = "N")]
    pub workers: Option<std::num::NonZeroUsize>,
}

/// Which publications are meant.
#[derive(Debug, Clone, Args)]
pub struct Unfinished {
    /// First characters of a publication or of a digest; all that this machine left by default.
    pub publication: Option<String>,
    /// AWS region; the manifest's aws.region or the environment's by default.
    #[arg(long)]
    pub region: Option<String>,
}

/// `20GiB` in bytes.
fn gib(text: &str) -> Result<u64, String> {
    let number = text.strip_suffix("GiB").and_then(|number| number.trim_end().parse::<u64>().ok());
    let bytes = number.and_then(|number| number.checked_mul(1 << 30));
    bytes.ok_or_else(|| "write a whole number of GiB, as in 20GiB".to_owned())
}

/// Where an image is baked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum On {
    /// On this machine.
    Here,
    /// On a builder instance, by the manifest's builder table.
    Instance,
}

/// Which agent goes onto the image.
#[derive(Debug, Clone, Args)]
pub struct Agent {
    /// The kiln-agent to put on the image [env: `KILN_AGENT`]; the one beside kiln by default.
    #[arg(long, value_name = "FILE")]
    pub agent: Option<PathBuf>,
}

impl Agent {
    /// The one named, here or in the environment.
    pub fn named(&self) -> Option<PathBuf> {
        self.agent.clone().or_else(Self::environment)
    }

    /// The one named in the environment.
    pub fn environment() -> Option<PathBuf> {
        std::env::var_os("KILN_AGENT").filter(|path| !path.is_empty()).map(PathBuf::from)
    }
}

impl Global {
    /// Whether errors are coloured.
    pub fn colored(&self) -> bool {
        use std::io::IsTerminal as _;
        match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => std::env::var_os("NO_COLOR").is_none() && std::io::stderr().is_terminal(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn every_command_shows_examples() {
        let command = Cli::command();
        command.clone().debug_assert();
        for sub in command.get_subcommands() {
            let help = sub.clone().render_long_help().to_string();
            assert!(help.contains("Examples:"), "{} has none", sub.get_name());
        }
    }
}
