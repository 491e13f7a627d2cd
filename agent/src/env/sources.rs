//! Where values are kept.

use super::plan::Plan;
use super::{Error, Secret};
use crate::aws::Aws;
use kiln_userdata::EnvValue;

/// The values of a plan's sources.
#[derive(Debug)]
pub(super) struct Values(());

impl Values {
    /// Reads every source that the plan names.
    #[expect(clippy::unused_async, reason = "callers are written against this signature")]
    pub(super) async fn fetch(plan: &Plan, _aws: &Aws) -> Result<Self, Error> {
        match plan.wanted().find(|(_, value)| !matches!(value, EnvValue::Literal(_))) {
            Some((variable, value)) => Err(Error::Source {
                variable: variable.clone(),
                origin: value.to_string(),
                reason: "this version of the agent reads literal values alone".to_owned(),
            }),
            None => Ok(Self(())),
        }
    }

    /// The value that a source gave.
    #[expect(clippy::unused_self, reason = "values of sources other than literals are looked up here")]
    pub(super) fn of(&self, variable: &str, value: &EnvValue) -> Result<Secret, Error> {
        match value {
            EnvValue::Literal(text) => Ok(Secret::new(text.clone())),
            other => Err(Error::Source {
                variable: variable.to_owned(),
                origin: other.to_string(),
                reason: "it was not asked for".to_owned(),
            }),
        }
    }
}
