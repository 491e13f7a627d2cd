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
    log: Mutex<Option<(File, Instant)>>,
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
    pub fn new(json: bool, verbose: bool, color: bool) -> Self {
        let mode = match (json, std::io::stderr().is_terminal()) {
            (true, _) => Mode::Json,
            (false, true) => Mode::Bars,
            (false, false) => Mode::Lines,
        };
        Self { mode, verbose, color, bars: MultiProgress::new(), log: Mutex::default() }
    }

    /// Copies everything from here on to `path`, until [`Self::end_log`].
    pub fn log_to(&self, path: &Path) -> std::io::Result<()> {
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((File::create(path)?, Instant::now()));
        Ok(())
    }

    /// Closes the log.
    pub fn end_log(&self) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).take();
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
        if let Some((file, since)) = self.log.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            let _ = writeln!(file, "{:>8.2}  {text}", since.elapsed().as_secs_f64());
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
}
