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
        let line = format!("[{:>2}/{}] {:<10} {text}", self.number, self.of, self.name);
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.report.log(&line);
        if self.report.mode != Mode::Json {
            self.report.print(&line);
        }
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
    fn message(&self, text: &str) {
        text.clone_into(&mut self.latest().message);
        self.report.log(text);
        self.tell("progress", text, None);
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
        }
    }

    fn position(&self, position: u64, total: Option<u64>, unit: Unit) {
        if let Some(bar) = &self.bar {
            if let Some(total) = total {
                bar.set_length(total);
                bar.set_style(if unit == Unit::Bytes { bytes_bar() } else { items_bar() });
            }
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
            self.report.print(&format!("        {message}: {}{of}", number(position)));
        }
    }

    fn line(&self, line: &str) {
        self.report.tool_line(line);
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants, so the fallback is never seen; it is better than a panic in a bake.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

pub(super) fn spinner() -> ProgressStyle {
    style("{prefix:<18} {spinner} {elapsed:>4} {msg}")
}

fn bytes_bar() -> ProgressStyle {
    style("{prefix:<18} {bar:24} {bytes}/{total_bytes} {eta:>4} {msg}")
}

fn items_bar() -> ProgressStyle {
    style("{prefix:<18} {bar:24} {pos}/{len} {eta:>4} {msg}")
}
