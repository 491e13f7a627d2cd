//! Where values are kept: Parameter Store, ten to a call, and Secrets Manager, one to a call; all calls side by side.
//!
//! `GetSecretValue` and not its batch: that one needs a permission more, for the few secrets that an app has.

use super::plan::Plan;
use super::{Error, Secret};
use crate::aws::{self, Aws, SECRETS_MANAGER, SSM};
use crate::pauses::Pauses;
use kiln_userdata::EnvValue;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// `GetParameters` takes at most ten names (Systems Manager's API reference).
pub(crate) const NAMES: usize = 10;
/// Bounds the wait for sources that do not answer: it protects the launch hook, which waits for the bootstrap.
const BOUND: Duration = Duration::from_mins(1);

/// The values of a plan's sources.
#[derive(Debug, Default)]
pub(super) struct Values {
    parameters: HashMap<String, Secret>,
    secrets: HashMap<String, Secret>,
}

/// What one call asks for.
#[derive(Debug)]
enum Call<'a> {
    Parameters(&'a [&'a str]),
    Secret(&'a str),
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GetParameters<'a> {
    names: &'a [&'a str],
    with_decryption: bool,
}

#[derive(Deserialize)]
struct Parameters {
    #[serde(rename = "Parameters", default)]
    found: Vec<Parameter>,
}

#[derive(Deserialize)]
struct Parameter {
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "ARN")]
    arn: Option<String>,
    /// The version or label that was asked for, with its `:`.
    #[serde(rename = "Selector", default)]
    selector: String,
    #[serde(rename = "Value")]
    value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GetSecretValue<'a> {
    secret_id: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SecretValue {
    secret_string: Option<String>,
}

impl Values {
    /// Reads every source that the plan names, each once, within [`BOUND`] and the last call's own bounds.
    pub(super) async fn fetch(plan: &Plan, aws: &Aws) -> Result<Self, Error> {
        let mut sources = super::Sources::default();
        for (_, value) in plan.wanted() {
            sources.add(value);
        }
        let calls: Vec<Call<'_>> = sources
            .parameters
            .chunks(NAMES)
            .map(Call::Parameters)
            .chain(sources.secrets.into_iter().map(Call::Secret))
            .collect();
        let until = Instant::now() + BOUND;
        let answers =
            futures_util::future::join_all(calls.iter().map(|call| call.patiently(aws, until))).await;
        let mut values = Self::default();
        for (call, answer) in calls.iter().zip(answers) {
            let found = answer.map_err(|error| call.failed(plan, &error))?;
            match call {
                Call::Parameters(_) => values.parameters.extend(found),
                Call::Secret(_) => values.secrets.extend(found),
            }
        }
        Ok(values)
    }

    /// The value that a source gave.
    pub(super) fn of(&self, variable: &str, value: &EnvValue) -> Result<Secret, Error> {
        let found = match value {
            EnvValue::Literal(text) => Ok(Secret::new(text.clone())),
            EnvValue::Ssm(name) => {
                self.parameters.get(name).cloned().ok_or("there is no such parameter in this region")
            }
            EnvValue::Secret { id, key } => match (self.secrets.get(id), key) {
                (None, _) => Err("it holds no text"),
                (Some(whole), None) => Ok(whole.clone()),
                (Some(whole), Some(key)) => member(whole, key),
            },
        };
        found.map_err(|reason| source(variable, value, reason.to_owned()))
    }
}

impl Call<'_> {
    async fn patiently(&self, aws: &Aws, until: Instant) -> Result<Vec<(String, Secret)>, aws::Error> {
        let mut pauses = Pauses::new(Duration::from_millis(200), Duration::from_secs(5));
        loop {
            let error = match self.ask(aws).await {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            let pause = pauses.next_pause();
            if is_final(&error) || Instant::now() + pause >= until {
                return Err(error);
            }
            tracing::debug!(reason = %error, "a source of [env] gave no answer, asking again");
            tokio::time::sleep(pause).await;
        }
    }

    async fn ask(&self, aws: &Aws) -> Result<Vec<(String, Secret)>, aws::Error> {
        match self {
            Call::Parameters(names) => {
                let input = GetParameters { names, with_decryption: true };
                let answer: Parameters = aws.json(&SSM, "GetParameters", &input).await?;
                Ok(names
                    .iter()
                    .filter_map(|name| Some(((*name).to_owned(), answer.value_of(name)?)))
                    .collect())
            }
            Call::Secret(id) => {
                let input = GetSecretValue { secret_id: id };
                let answer: SecretValue = aws.json(&SECRETS_MANAGER, "GetSecretValue", &input).await?;
                Ok(answer
                    .secret_string
                    .map(|text| ((*id).to_owned(), Secret::new(text)))
                    .into_iter()
                    .collect())
            }
        }
    }

    /// The error, by the first variable that wanted the answer.
    fn failed(&self, plan: &Plan, error: &aws::Error) -> Error {
        let asked = |value: &EnvValue| match (self, value) {
            (Call::Parameters(names), EnvValue::Ssm(name)) => names.contains(&name.as_str()),
            (Call::Secret(wanted), EnvValue::Secret { id, .. }) => id == wanted,
            _ => false,
        };
        let way_out = match (self, error.is_denied()) {
            (_, false) => "",
            (Call::Parameters(_), true) => {
                ": allow the role ssm:GetParameters, and kms:Decrypt with the parameter's key"
            }
            (Call::Secret(_), true) => {
                ": allow the role secretsmanager:GetSecretValue, and kms:Decrypt with the secret's key"
            }
        };
        let reason = format!("{error}{way_out}");
        match plan.wanted().find(|(_, value)| asked(value)) {
            Some((variable, value)) => source(variable, value, reason),
            None => source("", &EnvValue::Literal(String::new()), reason),
        }
    }
}

impl Parameters {
    /// A parameter answers to its name and its ARN, each with the selector that was asked for.
    fn value_of(&self, wanted: &str) -> Option<Secret> {
        let answers =
            |own: &str, selector: &str| wanted.strip_prefix(own).is_some_and(|rest| rest == selector);
        let found = self.found.iter().find(|parameter| {
            [Some(&parameter.name), parameter.arn.as_ref()]
                .into_iter()
                .flatten()
                .any(|own| answers(own, &parameter.selector) || wanted == own)
        })?;
        Some(Secret::new(found.value.clone()))
    }
}

/// What asking again does not mend: no permission, nothing of that name, a key that does not decrypt.
fn is_final(error: &aws::Error) -> bool {
    let final_codes = ["ResourceNotFoundException", "ParameterNotFound", "DecryptionFailure"];
    error.is_denied()
        || error.is_invalid()
        || matches!(error, aws::Error::Garbled { .. })
        || final_codes.iter().any(|code| error.is(code))
}

/// One member of a secret that is a JSON object; numbers and truth values as they are written.
fn member(whole: &Secret, key: &str) -> Result<Secret, &'static str> {
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(whole.expose()).map_err(|_| "it is no JSON object, and has no keys")?;
    match object.get(key) {
        None => Err("it has no such key"),
        Some(serde_json::Value::String(text)) => Ok(Secret::new(text.clone())),
        Some(plain @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_))) => {
            Ok(Secret::new(plain.to_string()))
        }
        Some(_) => Err("the key's value is no text"),
    }
}

fn source(variable: &str, value: &EnvValue, reason: String) -> Error {
    Error::Source { variable: variable.to_owned(), origin: value.to_string(), reason }
}

#[cfg(test)]
mod tests;
