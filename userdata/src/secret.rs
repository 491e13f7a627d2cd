//! Finds what looks like a secret: user data is readable by everything that runs on the instance.
//!
//! By eye of rule, not of entropy: a finding names rule and place, never the value, and each has a way out.

use crate::error::Label;
use std::fmt;

/// What a finding looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// `AKIA…` or `ASIA…` and 16 letters or digits (IAM user guide, "IAM identifiers").
    AccessKeyId,
    /// A PEM block that says `PRIVATE KEY`.
    PrivateKey,
    /// A name such as `password`, `…_secret`, `…_token` or `api_key` that is given a literal value.
    Assignment,
    /// A password within an address, as in `postgres://user:…@host`.
    UrlPassword,
    /// A token by its issuer's prefix: GitHub, GitLab, Slack, Stripe.
    Token,
}

impl fmt::Display for Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Rule::AccessKeyId => "an AWS access key id: give the instance a role",
            Rule::PrivateKey => {
                "a private key: keep it in Secrets Manager and write { secret = \"…\" } under [env]"
            }
            Rule::Assignment => "a literal secret: keep it in SSM and write { ssm = \"…\" } under [env]",
            Rule::UrlPassword => {
                "a password in an address: keep the address in SSM and write { ssm = \"…\" } under [env]"
            }
            Rule::Token => {
                "an access token: keep it in Secrets Manager and write { secret = \"…\" } under [env]"
            }
        })
    }
}

/// A place that looks like a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The part.
    pub part: Label,
    /// The file that the part writes, when the place is in that one's content as decoded.
    pub file: Option<String>,
    /// Line, counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// What it looks like.
    pub rule: Rule,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}, ", self.part)?;
        if let Some(file) = &self.file {
            write!(out, "content of {file}, ")?;
        }
        write!(out, "line {}, column {}: looks like {}", self.line, self.column, self.rule)
    }
}

/// Every line's first finding in a text that is no user data as yet, such as a manifest; `part` is what they are to
/// call it.
pub fn findings(bytes: &[u8], part: &Label) -> Vec<Finding> {
    scan(bytes, part, None)
}

/// Every line's first finding.
pub(crate) fn scan(bytes: &[u8], part: &Label, file: Option<&str>) -> Vec<Finding> {
    let text = String::from_utf8_lossy(bytes);
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if let Some((at, rule)) = look(line) {
            let column = line[..at].chars().count() + 1;
            let file = file.map(str::to_owned);
            findings.push(Finding { part: part.clone(), file, line: number + 1, column, rule });
        }
    }
    findings
}

fn look(line: &str) -> Option<(usize, Rule)> {
    access_key(line)
        .map(|at| (at, Rule::AccessKeyId))
        .or_else(|| private_key(line).map(|at| (at, Rule::PrivateKey)))
        .or_else(|| token(line).map(|at| (at, Rule::Token)))
        .or_else(|| url_password(line).map(|at| (at, Rule::UrlPassword)))
        .or_else(|| assignment(line).map(|at| (at, Rule::Assignment)))
}

fn access_key(line: &str) -> Option<usize> {
    ["AKIA", "ASIA"].into_iter().flat_map(|prefix| line.match_indices(prefix)).find_map(|(at, _)| {
        let free = line[..at].chars().next_back().is_none_or(|before| !before.is_ascii_alphanumeric());
        let id = word(&line[at..], |letter| letter.is_ascii_uppercase() || letter.is_ascii_digit());
        // AWS writes its documentation's keys so.
        (free && id.len() == 20 && !id.ends_with("EXAMPLE")).then_some(at)
    })
}

fn private_key(line: &str) -> Option<usize> {
    let at = line.find("-----BEGIN ")?;
    line[at..].contains("PRIVATE KEY").then_some(at)
}

fn token(line: &str) -> Option<usize> {
    const PREFIXES: [&str; 9] =
        ["ghp_", "gho_", "ghs_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "sk_live_", "rk_live_"];
    PREFIXES.into_iter().flat_map(|prefix| line.match_indices(prefix)).find_map(|(at, prefix)| {
        let rest = &line[at + prefix.len()..];
        let body = word(rest, |letter| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-'));
        (body.len() >= 16).then_some(at)
    })
}

fn url_password(line: &str) -> Option<usize> {
    line.match_indices("://").find_map(|(at, mark)| {
        let authority = word(&line[at + mark.len()..], |letter| {
            !letter.is_whitespace() && !matches!(letter, '/' | '"' | '\'' | '?' | '#' | '<' | '>')
        });
        let (user, _host) = authority.rsplit_once('@')?;
        let (_name, password) = user.split_once(':')?;
        (!password.is_empty() && !is_reference(password)).then_some(at)
    })
}

/// Ends of names that hold secrets, in lower case, without `_` and `-`.
const NAMES: [&str; 11] = [
    "password",
    "passwd",
    "passphrase",
    "apikey",
    "accesskey",
    "secretkey",
    "privatekey",
    "signingkey",
    "token",
    "credentials",
    "secret",
];

/// `name = value`, `name: value`, `"name": "value"` and `--name value`.
fn assignment(line: &str) -> Option<usize> {
    let mut start = 0;
    while start < line.len() {
        let at = start + line[start..].find(is_name)?;
        let name = word(&line[at..], is_name);
        start = at + name.len();
        if is_secret(name) && value(&line[start..], name.starts_with("--")).is_some_and(is_literal) {
            return Some(at);
        }
    }
    None
}

fn is_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.')
}

fn is_secret(name: &str) -> bool {
    let dense: String =
        name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect();
    // `secret = "…"` alone is how a #kiln document names one that is kept elsewhere.
    dense != "secret" && NAMES.iter().any(|end| dense.ends_with(end))
}

/// What stands behind `=`, `:` or, for an option, a space.
fn value(rest: &str, option: bool) -> Option<&str> {
    let rest = rest.strip_prefix(['"', '\'']).unwrap_or(rest);
    let spaced = rest.trim_start();
    let rest = match spaced.strip_prefix(['=', ':']) {
        // A comparison.
        Some(value) if value.starts_with('=') => return None,
        // `::`, as in names of types and of ARNs.
        Some(value) if value.starts_with(':') => return None,
        Some(value) => value,
        None if option && spaced.len() < rest.len() => spaced,
        None => return None,
    };
    let value = rest.trim_start();
    let value = value.strip_prefix(['"', '\'']).unwrap_or(value);
    Some(word(value, |letter| {
        !letter.is_whitespace() && !matches!(letter, '"' | '\'' | ',' | ';' | '}' | ')')
    }))
}

fn is_literal(value: &str) -> bool {
    const WORDS: [&str; 8] = ["true", "false", "yes", "no", "null", "none", "~", "|"];
    !value.is_empty() && !is_reference(value) && !WORDS.contains(&value.to_ascii_lowercase().as_str())
}

/// A variable, a command's output, a template's hole, a path or an ARN.
fn is_reference(value: &str) -> bool {
    value.starts_with(['$', '`', '{', '[', '<', '%', '/', '(', '-', '\\']) || value.starts_with("arn:")
}

fn word(text: &str, mut belongs: impl FnMut(char) -> bool) -> &str {
    let end = text.find(|letter| !belongs(letter)).unwrap_or(text.len());
    &text[..end]
}
