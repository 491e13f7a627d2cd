//! One step under way, told as a bar, as lines, or as events.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use kiln_image::{Progress, Unit};
use serde_json::json;

use super::{Mode, Outcome, Report, StepRecord};

/// A pipeline's log wants to know that a long step moves, not each byte of it.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// A step under way. Dropping it without [`Step::done`] says that it failed.
#[derive(Debug)]
pub struct Step<'a> {
    report: &'a Report,
    number: usize,
    of: usize,
    name: &'static str,
    started: Instant,
    bar: Option<ProgressBar>,
    last: Mutex<Latest>,
}

#[derive(Debug, Default)]
struct Latest {
    message: String,
    /// When a line last said something of this step.
    told: Option<Instant>,
    finished: bool,
}

impl<'a> Step<'a> {
    pub(super) fn begin(
        report: &'a Report,
        number: usize,
        of: usize,
        name: &'static str,
        bar: Option<ProgressBar>,
    ) -> Self {
        Self { report, number, of, name, started: Instant::now(), bar, last: Mutex::default() }
    }
}

impl Step<'_> {
    /// Ends the step.
    pub fn done(self, outcome: Outcome, detail: impl Into<String>) -> StepRecord {
        let detail = detail.into();
        let seconds = self.started.elapsed().as_secs_f64();
        let word = match outcome {
            Outcome::Built => "done",
            Outcome::Cached => "cached",
            Outcome::Skipped => "skipped",
        };
        self.latest().finished = true;
        let sep = if detail.is_empty() { "" } else { ": " };
        self.finish(&format!("{word} in {seconds:.1} s{sep}{detail}"));
        self.tell(word, &detail, None);
        StepRecord { step: self.name.to_owned(), outcome, seconds, detail }
    }

    fn finish(&self, text: &str) {
        let line = format!("{} {text}", self.label());
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.report.log(&line);
        if self.report.mode != Mode::Json {
            self.report.print(&line);
        }
    }

    /// `[ 6/11] provision `, as wide for every step of one command.
    fn label(&self) -> String {
        label(self.number, self.of, self.name)
    }

    pub(super) fn tell(&self, state: &str, message: &str, position: Option<(u64, Option<u64>, Unit)>) {
        if self.report.mode != Mode::Json {
            return;
        }
        let mut event = json!({
            "event": "step", "step": self.name, "number": self.number, "of": self.of, "state": state,
            "seconds": (self.started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
        });
        if !message.is_empty() {
            event["message"] = message.into();
        }
        if let Some((position, total, unit)) = position {
            event["position"] = position.into();
            event["total"] = total.into();
            event["unit"] = if unit == Unit::Bytes { "bytes".into() } else { "items".into() };
        }
        self.report.event(&event);
    }

    fn latest(&self) -> std::sync::MutexGuard<'_, Latest> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        if !self.latest().finished {
            self.finish(&format!("failed after {:.1} s", self.started.elapsed().as_secs_f64()));
            self.tell("failed", "", None);
        }
    }
}

impl Progress for Step<'_> {
    fn is_stopped(&self) -> bool {
        self.report.interrupt.check().is_err()
    }

    fn message(&self, text: &str) {
        let first = {
            let mut latest = self.latest();
            text.clone_into(&mut latest.message);
            latest.told.replace(Instant::now()).is_none()
        };
        self.report.log(text);
        self.tell("progress", text, None);
        if let Some(bar) = &self.bar {
            bar.set_style(spinner());
            bar.set_message(text.to_owned());
        } else if first && self.report.mode == Mode::Lines {
            // A step that has nothing to say is over at once, and its one line is enough.
            self.report.print(&format!("{} {text} …", self.label()));
        }
    }

    fn position(&self, position: u64, total: Option<u64>, unit: Unit) {
        if let Some(bar) = &self.bar {
            bar.set_length(total.unwrap_or(0));
            bar.set_style(match (unit, total) {
                (_, None) => counter(),
                (Unit::Bytes, Some(_)) => bytes_bar(),
                (Unit::Items, Some(_)) => items_bar(),
            });
            bar.set_position(position);
            return;
        }
        let message = {
            let mut latest = self.latest();
            if latest.told.unwrap_or(self.started).elapsed() < LINE_EVERY {
                return;
            }
            latest.told = Some(Instant::now());
            latest.message.clone()
        };
        self.tell("progress", &message, Some((position, total, unit)));
        if self.report.mode == Mode::Lines {
            let number = |number| {
                if unit == Unit::Bytes { HumanBytes(number).to_string() } else { format!("{number}") }
            };
            let of = total.map_or(String::new(), |total| format!(" of {}", number(total)));
            self.report.print(&format!("{} {message}: {}{of}", self.label(), number(position)));
        }
    }

    fn line(&self, line: &str) {
        self.report.tool_line(line);
    }
}

pub(super) fn label(number: usize, of: usize, name: &str) -> String {
    let width = of.to_string().len();
    format!("[{number:>width$}/{of}] {name:<9}")
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants, so the fallback is never seen; it is better than a panic in a bake.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

pub(super) fn spinner() -> ProgressStyle {
    style("{prefix} {spinner} {elapsed:>4}  {wide_msg}")
}

fn counter() -> ProgressStyle {
    style("{prefix} {spinner} {elapsed:>4}  {msg}: {pos}")
}

fn bytes_bar() -> ProgressStyle {
    style("{prefix} {bar:20} {bytes:>10} of {total_bytes:<10} {eta:>4}  {wide_msg}")
}

fn items_bar() -> ProgressStyle {
    style("{prefix} {bar:20} {pos:>5} of {len:<5} {eta:>4}  {wide_msg}")
}
