//! `kiln-agent`: arguments in, exit code out.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    kiln_agent::cli::Cli::parse().run()
}
