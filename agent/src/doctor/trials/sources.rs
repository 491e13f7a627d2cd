//! The sources of `[env]`: parameters and secrets, read for real as the next boot will, and forgotten at once.

use super::{Outcome, Trial};
use crate::aws::{Aws, Error, SECRETS_MANAGER, SSM};
use crate::env;
use crate::imds::Imds;
use futures_util::future::join_all;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

pub(in crate::doctor) const PARAMETERS: &str = "ssm:GetParameters";
pub(in crate::doctor) const SECRETS: &str = "secretsmanager:GetSecretValue";

/// As much of the answer as is of interest: no value.
#[derive(Debug, Deserialize)]
struct Parameters {
    #[serde(rename = "Parameters", default)]
    found: Vec<IgnoredAny>,
    #[serde(rename = "InvalidParameters", default)]
    unknown: Vec<String>,
}

/// Every source that the user data names, each by its name. None where it names none, or cannot be read: bootstrap says so.
pub(in crate::doctor) async fn sources(imds: &Imds, aws: &Aws) -> Vec<Trial> {
    let raw = imds.user_data().await.ok().flatten().unwrap_or_default();
    let Ok(data) = kiln_userdata::parse_beside_cloud_init(&raw) else { return Vec::new() };
    let named = env::sources(&data);
    let (parameters, secrets) = tokio::join!(
        join_all(named.parameters.chunks(env::NAMES).map(|names| parameters(aws, names))),
        join_all(named.secrets.iter().map(|id| secret(aws, id))),
    );
    parameters.into_iter().flatten().chain(secrets).collect()
}

async fn parameters(aws: &Aws, names: &[&str]) -> Vec<Trial> {
    let input = json!({ "Names": names, "WithDecryption": true });
    let answer = aws.json::<_, Parameters>(&SSM, "GetParameters", &input).await;
    let outcome = |name: &str| match &answer {
        Ok(answer) if answer.unknown.iter().any(|unknown| unknown == name) => {
            Outcome::Missing(format!("there is no parameter '{name}' in this region"))
        }
        Ok(answer) if answer.found.len() + answer.unknown.len() < names.len() => {
            Outcome::Unknown(Error::lacks("GetParameters", "some of the names").to_string())
        }
        Ok(_) => Outcome::Allowed("answered"),
        Err(error) => refusal(error),
    };
    names.iter().map(|name| Trial { outcome: outcome(name), ..Trial::new(PARAMETERS).of(name) }).collect()
}

async fn secret(aws: &Aws, id: &str) -> Trial {
    let input = json!({ "SecretId": id });
    let outcome = match aws.json::<_, IgnoredAny>(&SECRETS_MANAGER, "GetSecretValue", &input).await {
        Ok(_) => Outcome::Allowed("answered"),
        Err(error) => refusal(&error),
    };
    Trial { outcome, ..Trial::new(SECRETS).of(id) }
}

/// What is refused now is refused at the next boot, unless it passes.
fn refusal(error: &Error) -> Outcome {
    match error {
        Error::Refused { code, .. }
            if !error.is_denied() && !code.contains("Throttl") && !code.contains("Internal") =>
        {
            Outcome::Missing(error.to_string())
        }
        error => super::refusal(error),
    }
}
