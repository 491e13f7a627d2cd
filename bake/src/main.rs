//! `kiln`: see the library.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    kiln::run::run(kiln::cli::Cli::parse())
}
