//! Finds the programs under test and runs them to an end.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The repository's root.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository").to_path_buf()
}

/// Cargo's target folder, found from the running test's own path (`target/debug/deps/story-…`).
pub fn target() -> PathBuf {
    let this = std::env::current_exe().expect("a test knows its own path");
    let folder = this.ancestors().nth(3).expect("a test lies three levels below the target folder");
    folder.to_path_buf()
}

/// `kiln` as the tests' own profile built it.
pub fn kiln() -> PathBuf {
    built("debug/kiln", "cargo build -p kiln")
}

/// `kiln-agent` as images carry it.
pub fn agent() -> PathBuf {
    built("shipped/kiln-agent", "make agent")
}

fn built(name: &str, remedy: &str) -> PathBuf {
    let path = target().join(name);
    assert!(path.exists(), "{} is not built: run `{remedy}` (`make test` does)", path.display());
    path
}

/// A `kiln` command with nothing of this machine's AWS configuration in its environment.
pub fn kiln_command<I, S>(arguments: I) -> Command
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut command = unconfigured(kiln());
    command.args(arguments);
    command
}

/// A program that may run `kiln`, with nothing of this machine's AWS configuration in its environment.
pub fn unconfigured(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command.env("KILN_AGENT", agent()).env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

/// How a program ended, with what it printed.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Ended {
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    Ended {
        code: status.code(),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

impl Ended {
    /// Fails the test, with all that was printed, unless the program exited with `code`.
    #[expect(clippy::return_self_not_must_use, reason = "often only the code matters")]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "exit code\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout,
            self.stderr
        );
        self
    }
}
