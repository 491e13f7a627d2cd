//! `[env]` and `[service.<name>.env]`: variables, each with its value or with the place that keeps it.

use crate::error::At;
use crate::node::{Fault, Node, Value};
use std::fmt;

/// The value of an environment variable, or where it is kept.
#[derive(Clone, PartialEq, Eq)]
pub enum EnvValue {
    /// The value itself.
    Literal(String),
    /// Name or ARN of a parameter in SSM's Parameter Store.
    Ssm(String),
    /// In Secrets Manager.
    Secret {
        /// Name or ARN.
        id: String,
        /// Key of a secret that is a JSON object; none takes the secret whole.
        key: Option<String>,
    },
}

/// Leaves literals out.
impl fmt::Debug for EnvValue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EnvValue::Literal(text) => write!(out, "Literal({} bytes)", text.len()),
            EnvValue::Ssm(name) => write!(out, "Ssm({name})"),
            EnvValue::Secret { id, key } => write!(out, "Secret({id}, {key:?})"),
        }
    }
}

/// Where the value comes from, as a message calls it; never the value.
impl fmt::Display for EnvValue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EnvValue::Literal(_) => out.write_str("a literal"),
            EnvValue::Ssm(parameter) => write!(out, "parameter {parameter}"),
            EnvValue::Secret { id, key: None } => write!(out, "secret {id}"),
            EnvValue::Secret { id, key: Some(key) } => write!(out, "key {key} of secret {id}"),
        }
    }
}

pub(super) fn service(name: String, at: At, node: Node) -> Result<(String, Vec<(String, EnvValue)>), Fault> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !name.starts_with(|first: char| first.is_ascii_lowercase()) || !name.bytes().all(plain) {
        return Err(Fault::invalid(at, "service", "write [service.NAME.env] with the name of a service"));
    }
    let mut fields = node.fields("service")?;
    let env = env(fields.need("env", "write [service.NAME.env]")?)?;
    fields.end("env", &[])?;
    Ok((name, env))
}

pub(super) fn env(node: Node) -> Result<Vec<(String, EnvValue)>, Fault> {
    let mut env = Vec::new();
    for (name, at, node) in node.fields("env")?.entries {
        let named = name.bytes().enumerate().all(|(place, byte)| {
            byte == b'_' || byte.is_ascii_alphabetic() || (place > 0 && byte.is_ascii_digit())
        });
        if name.is_empty() || !named {
            return Err(Fault::invalid(at, "env", "a variable's name is letters, digits and '_'"));
        }
        let value = match node.value {
            Value::Map(_) => reference(node)?,
            _ => EnvValue::Literal(node.scalar(&name).map_err(|fault| {
                let problem = "it must be a string, { ssm = \"…\" } or { secret = \"…\" }";
                Fault::invalid(fault.at, &name, problem)
            })?),
        };
        if matches!(&value, EnvValue::Literal(text) if !carried(text)) {
            return Err(Fault::invalid(at, &name, "it must hold no zero byte and no Unicode noncharacter"));
        }
        env.push((name, value));
    }
    Ok(env)
}

/// Whether an environment file of systemd's can hold the text (`unichar_is_valid` in systemd's `src/basic/utf8.c`).
fn carried(text: &str) -> bool {
    !text.chars().any(|letter| {
        let code = u32::from(letter);
        code == 0 || (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
    })
}

fn reference(node: Node) -> Result<EnvValue, Fault> {
    let mut fields = node.fields("env")?;
    let at = fields.at;
    let named = |key: &str, node: Node| -> Result<String, Fault> {
        let at = node.at;
        let text = node.text(key)?;
        if text.is_empty() || text.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
            return Err(Fault::invalid(at, key, "it must be a name or an ARN"));
        }
        Ok(text)
    };
    let value = match (fields.take("ssm"), fields.take("secret")) {
        (Some(ssm), None) => EnvValue::Ssm(named("ssm", ssm)?),
        (None, Some(secret)) => EnvValue::Secret {
            id: named("secret", secret)?,
            key: fields.take("key").map(|key| key.text("key")).transpose()?,
        },
        (None, None) if fields.entries.is_empty() => {
            return Err(Fault::invalid(at, "env", "it must name { ssm = \"…\" } or { secret = \"…\" }"));
        }
        (Some(_), Some(_)) => {
            return Err(Fault::invalid(at, "env", "it names both ssm and secret: keep one"));
        }
        (None, None) => EnvValue::Literal(String::new()),
    };
    fields.end("ssm, or secret and key", &[])?;
    Ok(value)
}
