//! Programs of the host: found or named with their package, bound to this process's life, heard line by line.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::Uid;

use crate::error::{At, Error, Result};

/// Lines of a failed program's output that go into the error.
const TAIL: usize = 12;

/// Programs of the host that this crate runs, with the Debian package of each.
const PACKAGES: [(&str, &str); 7] = [
    ("apt-cache", "apt"),
    ("apt-get", "apt"),
    ("dpkg-deb", "dpkg"),
    ("mmdebstrap", "mmdebstrap"),
    ("setpriv", "util-linux"),
    ("tar", "tar"),
    ("unshare", "util-linux"),
];

/// Refuses with [`Error::MissingTool`] unless `program` is in `PATH`.
pub(crate) fn need(program: &'static str) -> Result<()> {
    let package = PACKAGES.iter().find(|(name, _)| *name == program).map_or("", |(_, package)| package);
    need_program(program, package)
}

/// The same for a program that only some calls run: `package` holds it.
pub(crate) fn need_program(program: &str, package: &'static str) -> Result<()> {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()));
    if found {
        return Ok(());
    }
    Err(Error::MissingTool { program: program.to_owned(), package })
}

/// Refuses with [`Error::MissingTool`] unless `file` is there.
pub(crate) fn need_file(file: &str, package: &'static str) -> Result<()> {
    if Path::new(file).is_file() {
        return Ok(());
    }
    Err(Error::MissingTool { program: file.to_owned(), package })
}

/// Refuses unless root.
pub(crate) fn need_root(doing: &'static str) -> Result<()> {
    let uid = Uid::effective();
    if uid.is_root() { Ok(()) } else { Err(Error::NotRoot { doing, uid: uid.as_raw() }) }
}

/// `program` with all that it starts, in mount and process namespaces of its own that end with this process, whenever that is:
/// mounts go with the last process in there. bubblewrap kills its own too, but only once it has asked for it; what it had
/// begun when it was killed itself would stay.
///
/// A `scratch` folder lies in memory in there where this machine has twice the bytes that are needed to spare: a package manager syncs file
/// after file, which a disk that others write to makes a matter of minutes.
///
/// # Errors
/// [`Error::MissingTool`].
pub fn confined(program: &'static str, scratch: Option<(&Path, u64)>) -> Result<Command> {
    need("unshare")?;
    need(program)?;
    let mut command = bound("sh")?;
    // The second unshare has a /proc for who reads it by the ids of in there, as bubblewrap does.
    command.args(["-c", BEGIN, WHILE_PARENT_LIVES, "unshare", "--mount", "--mount-proc", "--"]);
    if let Some((dir, needed)) = scratch
        && let room = spare() / 2
        && room >= needed
    {
        // Without the right to mount it stays on the disk.
        command.args([
            "sh",
            "-c",
            "mount -t tmpfs -o \"mode=0755,size=$0\" kiln \"$1\" || :; shift; exec \"$@\"",
        ]);
        command.arg(room.to_string()).arg(dir);
    }
    command.arg(program);
    Ok(command)
}

/// Bytes of memory that can be had without swapping; none where nobody tells.
fn spare() -> u64 {
    std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text)).unwrap_or(0)
}

/// The same, of the text of `/proc/meminfo`.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Nobody is told of a parent that died before `--kill-child` asked for it. The ids are those of /proc: a namespace's first process has no
/// parent of its own.
const BEGIN: &str = concat!(
    "read -r own _ < /proc/self/stat; ",
    r#"exec unshare --pid --fork --kill-child -- sh -c "$0" "$own" "$@""#,
);
const WHILE_PARENT_LIVES: &str =
    r#"read -r _ _ _ parent _ < /proc/self/stat; [ "$parent" = "$0" ] || exit 1; exec "$@""#;

/// `program` that is killed when this process dies.
pub(crate) fn bound(program: impl AsRef<OsStr>) -> Result<Command> {
    need("setpriv")?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]);
    // Nor is anybody of one that died before `--pdeathsig` did.
    command.args(["sh", "-c", r#"[ "$PPID" = "$0" ] || exit 1; exec "$@""#]);
    command.arg(std::process::id().to_string()).arg(program);
    Ok(command)
}

/// Runs to the end; each line of output (both streams) goes to `line`. `name` is what errors call it.
pub(crate) fn run(command: &mut Command, name: &str, line: impl FnMut(&str)) -> Result<()> {
    run_on(Stdio::null(), command, name, line)
}

/// The same with something to read.
pub(crate) fn run_on(
    input: Stdio,
    command: &mut Command,
    name: &str,
    mut line: impl FnMut(&str),
) -> Result<()> {
    let (reader, writer) = std::io::pipe().at("make a pipe for", Path::new(name))?;
    command.stdin(input);
    command.stdout(writer.try_clone().at("make a pipe for", Path::new(name))?).stderr(writer);
    // Out of reach of the terminal's own Ctrl-C: the caller ends it in order.
    command.process_group(0);
    let mut child = command.spawn().at("start", Path::new(name))?;
    // Our copies: while those of the writing end are open the output never ends, and while that of the input is, whoever
    // writes there never hears that nobody reads any more.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut tail = VecDeque::with_capacity(TAIL);
    for text in BufReader::new(reader).split(b'\n').map_while(std::result::Result::ok) {
        let text = String::from_utf8_lossy(&text).trim_end().to_owned();
        line(&text);
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(text);
    }
    let status = child.wait().at("wait for", Path::new(name))?;
    if status.success() {
        return Ok(());
    }
    let tail = Vec::from(tail).join("\n");
    Err(Error::Tool { program: name.to_owned(), status: status.to_string(), tail })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_program_is_quoted_with_its_last_lines() {
        let mut lines = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "for i in $(seq 20); do echo line $i; done; echo it broke >&2; exit 3"]);
        let error = run(&mut command, "thing", |line| lines.push(line.to_owned())).expect_err("exit 3");
        let text = error.to_string();
        assert!(text.starts_with("'thing' failed (exit status: 3): line 10\n"), "{text}");
        assert!(text.ends_with("it broke"), "{text}");
        assert_eq!(lines.len(), 21);
    }

    #[test]
    fn the_kernel_says_how_much_memory_is_to_spare() {
        assert_eq!(available("MemTotal:  8 kB\nMemAvailable:   24 kB\n"), Some(24 << 10));
        for text in [
            "",
            "MemAvailable: much",
            "MemAvailable: 99999999999999999999 kB",
            "MemAvailable: 18446744073709551615 kB",
        ] {
            assert_eq!(available(text), None, "{text}");
        }
    }

    #[test]
    fn a_program_that_is_not_installed_is_named() {
        assert!(matches!(need("no-such-program"), Err(Error::MissingTool { .. })));
    }
}
