//! One finding: what was looked at, what was found, and what to do about it.

use serde::Serialize;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Result {
    /// As it should be.
    Ok,
    /// It works, and will cost something some day.
    Warn,
    /// The instance cannot live its life so.
    Fail,
    /// Not looked at; the finding says why.
    Skipped,
}

impl Result {
    /// The word in the text and in the JSON document.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skipped => "skipped",
        }
    }
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check's name, `area.subject`; stable, for pipelines that go by it.
    pub check: &'static str,
    /// Which of several: a hook, a target group, a unit, a health check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// How it came out.
    pub result: Result,
    /// What was found.
    pub found: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    fn new(check: &'static str, result: Result, found: impl Into<String>) -> Self {
        Self { check, of: None, result, found: found.into(), remedy: None }
    }

    /// It is as it should be.
    pub fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, Result::Ok, found)
    }

    /// It will cost something some day.
    pub fn warn(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..Self::new(check, Result::Warn, found) }
    }

    /// It is broken.
    pub fn fail(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..Self::new(check, Result::Fail, found) }
    }

    /// It was not looked at.
    pub fn skipped(check: &'static str, why: impl Into<String>) -> Self {
        Self::new(check, Result::Skipped, why)
    }

    /// The same of one of several.
    #[must_use]
    pub fn of(mut self, name: impl Into<String>) -> Self {
        self.of = Some(name.into());
        self
    }
}
