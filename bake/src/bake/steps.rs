//! The steps of a bake as they are told, and as the receipt keeps them.

use std::sync::{Mutex, PoisonError};

use crate::bench::Bench;
use crate::plan::STEPS;
use crate::report::{Outcome, Step, StepRecord};

/// Steps under way or done; some are side by side.
#[derive(Debug)]
pub(super) struct Steps<'a> {
    bench: &'a Bench,
    done: Mutex<Vec<StepRecord>>,
}

impl<'a> Steps<'a> {
    pub(super) fn new(bench: &'a Bench) -> Self {
        Self { bench, done: Mutex::default() }
    }

    /// Does one.
    pub(super) fn run<T>(
        &self,
        name: &'static str,
        work: impl FnOnce(&Step<'_>) -> anyhow::Result<(T, Outcome, String)>,
    ) -> anyhow::Result<T> {
        self.bench.interrupt.check()?;
        let step = self.bench.report.step(place(name) + 1, STEPS.len(), name);
        let (result, outcome, detail) = work(&step)?;
        let record = step.done(outcome, detail);
        self.done.lock().unwrap_or_else(PoisonError::into_inner).push(record);
        Ok(result)
    }

    /// All that are done, in the order of [`STEPS`].
    pub(super) fn records(&self) -> Vec<StepRecord> {
        let mut records = self.done.lock().unwrap_or_else(PoisonError::into_inner).clone();
        records.sort_by_key(|record| place(&record.step));
        records
    }
}

fn place(name: &str) -> usize {
    STEPS.iter().position(|step| *step == name).unwrap_or(STEPS.len())
}
