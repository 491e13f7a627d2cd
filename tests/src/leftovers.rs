//! Looks for what a killed program left behind: processes, mounts, loop devices, network namespaces.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The name of the variable that marks every process of one story: children inherit it.
pub const MARK: &str = "KILN_STORY";

/// The value of that variable in what [`kill_at`] and [`interrupt_at`] run to `point`.
pub fn mark(point: &str) -> String {
    format!("{}-{}", point.replace([':', ' '], "-"), std::process::id())
}

/// The kernel needs moments to end a process namespace and its mounts; this only ends a test that failed.
const TEARDOWN: Duration = Duration::from_mins(1);

/// Runs a program that works in `folder`, kills it with SIGKILL as soon as a line of its stderr contains `point`, and
/// fails unless nothing of it is left soon after. At that point at least `traces` of it can be seen.
pub fn kill_at(command: Command, folder: &Path, point: &str, traces: usize) {
    end_at(command, folder, point, traces, Signal::SIGKILL);
}

/// The same by SIGINT, as of Ctrl-C: it ends by itself, and says so with exit code 130.
pub fn interrupt_at(command: Command, folder: &Path, point: &str, traces: usize) {
    let ended = end_at(command, folder, point, traces, Signal::SIGINT);
    assert_eq!(ended.code(), Some(130), "interrupted at `{point}`");
}

fn end_at(mut command: Command, folder: &Path, point: &str, traces: usize, signal: Signal) -> ExitStatus {
    let mark = mark(point);
    let story = Story::begin(&mark, folder);
    command.env(MARK, &mark).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut told = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    let reached = told.any(|line| line.contains(point));
    let seen = story.look();
    let id = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    kill(id, signal).expect("send the signal");
    // What it still says must not be what it waits for.
    told.for_each(drop);
    let ended = child.wait().expect("reap the program");
    assert!(reached, "never came to `{point}`");
    // Else the look would find nothing afterwards either, whatever was there.
    assert!(seen.len() >= traces, "a running program went unseen at `{point}`: {seen:#?}");
    story.wait_until_clean(TEARDOWN).unwrap_or_else(|left| panic!("killed at `{point}`:\n{left}"));
    ended
}

/// One story's traces: how to tell them from everything else on the machine.
#[derive(Debug)]
pub struct Story<'a> {
    /// The value of [`MARK`] in the environment of the story's programs.
    pub mark: &'a str,
    /// The folder in which the story works; no mount or loop device of anybody else touches it.
    pub folder: &'a Path,
    namespaces: BTreeSet<OsString>,
}

impl<'a> Story<'a> {
    /// Call before the story's first program starts.
    pub fn begin(mark: &'a str, folder: &'a Path) -> Self {
        Self { mark, folder, namespaces: named_namespaces() }
    }

    /// What is there now that is the story's.
    pub fn look(&self) -> Vec<String> {
        let folder = self.folder.to_string_lossy();
        let needle = format!("{MARK}={}", self.mark);
        let mut found = processes(&needle, &folder);
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("read the mounts");
        found.extend(
            mounts.lines().filter(|line| line.contains(&*folder)).map(|line| format!("mount {line}")),
        );
        for device in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
            if let Ok(file) = fs::read_to_string(device.path().join("loop/backing_file"))
                && file.contains(&*folder)
            {
                found.push(format!("loop device {}: {}", device.file_name().to_string_lossy(), file.trim()));
            }
        }
        let new = named_namespaces().into_iter().filter(|name| !self.namespaces.contains(name));
        found.extend(new.map(|name| format!("network namespace {}", name.to_string_lossy())));
        found
    }

    /// Waits until nothing is left, at most `bound`: the kernel tears a namespace down after its last process.
    ///
    /// # Errors
    /// What was still there at the end of the bound, a line each.
    pub fn wait_until_clean(&self, bound: Duration) -> Result<(), String> {
        let end = Instant::now() + bound;
        loop {
            let found = self.look();
            if found.is_empty() {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(found.join("\n"));
            }
            // The kernel offers no event for "the last mount of a namespace is gone".
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }
}

fn named_namespaces() -> BTreeSet<OsString> {
    fs::read_dir("/run/netns").into_iter().flatten().flatten().map(|entry| entry.file_name()).collect()
}

fn processes(needle: &str, folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").expect("read /proc").flatten() {
        let name = process.file_name().to_string_lossy().into_owned();
        if !name.bytes().all(|b| b.is_ascii_digit()) || name == std::process::id().to_string() {
            continue;
        }
        let at = process.path();
        let marked = fs::read(at.join("environ"))
            .is_ok_and(|environ| environ.split(|b| *b == 0).any(|variable| variable == needle.as_bytes()));
        // A container's processes have another environment, but their root is a mount of the story's folder.
        let mounted = fs::read_to_string(at.join("mountinfo")).is_ok_and(|mounts| mounts.contains(folder));
        if marked || mounted {
            let line = fs::read(at.join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            // A zombie has no command line and holds nothing.
            if !line.is_empty() {
                found.push(format!("process {name}: {line}"));
            }
        }
    }
    found
}
