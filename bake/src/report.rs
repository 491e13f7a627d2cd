//! What is going on, on stderr: bars on a terminal, plain lines in a pipeline, JSON lines for a program.
//!
//! The one place that writes to stderr; the answer on stdout is `answer.rs`'s. Everything also goes to the bake's log.

mod step;

use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar};
use kiln_image::{Progress, Unit};
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use step::Step;

use crate::interrupt::Interrupt;

/// How to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Bars,
    Lines,
    Json,
}

/// The receiver of all progress.
#[derive(Debug)]
pub struct Report {
    mode: Mode,
    verbose: bool,
    color: bool,
    bars: MultiProgress,
    log: Mutex<Log>,
    /// What a wait gives up for.
    interrupt: Interrupt,
}

/// Bytes that are kept for a log before it has a place; a base root from packages says about one million.
const BEFORE: usize = 8 << 20;

/// All that was said, for the file beside the image.
#[derive(Debug)]
struct Log {
    since: Instant,
    file: Option<File>,
    /// Of the time before there was a file: the first steps decide where it lies.
    before: Vec<u8>,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It did its work.
    Built,
    /// Its result was there already.
    Cached,
    /// The manifest asks for nothing here.
    Skipped,
}

/// A finished step, as the receipt keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StepRecord {
    /// Its name.
    pub step: String,
    /// See [`Outcome`].
    pub outcome: Outcome,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Sizes and counts, in words.
    pub detail: String,
}

impl Report {
    /// Chooses the mode: `json` wins, then whether stderr is a terminal.
    pub fn new(json: bool, verbose: bool, color: bool, interrupt: Interrupt) -> Self {
        let mode = match (json, std::io::stderr().is_terminal()) {
            (true, _) => Mode::Json,
            (false, true) => Mode::Bars,
            (false, false) => Mode::Lines,
        };
        let log = Log { since: Instant::now(), file: None, before: Vec::new() };
        Self { mode, verbose, color, bars: MultiProgress::new(), log: Mutex::new(log), interrupt }
    }

    /// Copies everything to `path`, from what was said before on until [`Self::end_log`].
    pub fn log_to(&self, path: &Path) -> std::io::Result<()> {
        let mut file = File::create(path)?;
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&std::mem::take(&mut log.before))?;
        log.file = Some(file);
        Ok(())
    }

    /// A line for the log alone.
    pub fn note(&self, text: &str) {
        self.log(text);
    }

    /// Closes the log.
    pub fn end_log(&self) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).file = None;
    }

    /// One line for the reader.
    pub fn say(&self, text: &str) {
        self.log(text);
        match self.mode {
            Mode::Json => self.event(&json!({ "event": "message", "text": text })),
            Mode::Bars | Mode::Lines => self.print(text),
        }
    }

    /// The end of a failed command.
    pub fn fail(&self, error: &anyhow::Error, code: u8) {
        let text = format!("{error:#}");
        self.log(&format!("error: {text}"));
        if self.mode == Mode::Json {
            self.event(&json!({ "event": "error", "text": text, "code": code }));
        } else {
            let label = if self.color { "\u{1b}[1;31merror\u{1b}[0m" } else { "error" };
            self.print(&format!("{label}: {text}"));
        }
    }

    /// A line that a tool printed: always in the log, on stderr with `-v`.
    pub fn tool_line(&self, line: &str) {
        self.log(line);
        if self.verbose {
            match self.mode {
                Mode::Json => self.event(&json!({ "event": "output", "text": line })),
                Mode::Bars | Mode::Lines => self.print(&format!("        {line}")),
            }
        }
    }

    /// Something happened at `at` seconds of a rehearsal.
    pub fn happened(&self, at: f64, who: &str, text: &str) {
        if self.mode == Mode::Json {
            self.event(&json!({ "event": "timeline", "at": at, "who": who, "text": text }));
        } else {
            let line = format!("{at:>8.2}  {who:<6}");
            let line = if self.color { format!("\u{1b}[2m{line}\u{1b}[0m") } else { line };
            self.print(&format!("{line} {text}"));
        }
    }

    /// Begins a step.
    pub fn step(&self, number: usize, of: usize, name: &'static str) -> Step<'_> {
        let bar = (self.mode == Mode::Bars).then(|| {
            let bar = self.bars.add(ProgressBar::new_spinner());
            bar.set_style(step::spinner());
            bar.set_prefix(step::label(number, of, name));
            // A step with no numbers of its own still shows that it lives, and for how long.
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        let step = Step::begin(self, number, of, name, bar);
        self.log(&format!("[{number}/{of}] {name} …"));
        step.tell("started", "", None);
        step
    }

    fn print(&self, text: &str) {
        // A closed stderr must not end a bake.
        if self.mode == Mode::Bars {
            let _ = self.bars.suspend(|| writeln!(std::io::stderr(), "{text}"));
        } else {
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }

    fn event(&self, event: &serde_json::Value) {
        self.print(&event.to_string());
    }

    fn log(&self, text: &str) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let line = format!("{:>8.2}  {text}\n", log.since.elapsed().as_secs_f64());
        if let Some(file) = &mut log.file {
            // A log that cannot be written must not end a bake.
            let _ = file.write_all(line.as_bytes());
        } else if log.before.len() < BEFORE {
            log.before.extend_from_slice(line.as_bytes());
        }
    }
}

/// Progress outside of any step: its messages are lines.
#[derive(Debug)]
pub struct Saying<'a>(pub &'a Report);

impl Progress for Saying<'_> {
    fn message(&self, text: &str) {
        self.0.say(text);
    }

    fn position(&self, _position: u64, _total: Option<u64>, _unit: Unit) {}

    fn line(&self, line: &str) {
        self.0.tool_line(line);
    }

    fn is_stopped(&self) -> bool {
        self.0.interrupt.check().is_err()
    }
}
