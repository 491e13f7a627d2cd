//! What a rule's match must not be: placeholders, words, paths that its maintainers know to be no secrets.

use std::sync::OnceLock;

use anyhow::Context as _;
use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;

/// What is no secret. Without `and`, one list that knows it is enough.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Allow {
    #[serde(default)]
    condition: Condition,
    #[serde(default)]
    target: Target,
    #[serde(default)]
    pub(super) regexes: Vec<String>,
    #[serde(default)]
    pub(super) paths: Vec<String>,
    #[serde(default)]
    stopwords: Vec<String>,
    #[serde(skip)]
    pub(super) compiled: Vec<Lazy>,
    #[serde(skip)]
    pub(super) compiled_paths: Vec<Lazy>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Condition {
    #[default]
    Or,
    And,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Target {
    #[default]
    Secret,
    Match,
    Line,
}

/// An expression that is compiled when a file first asks for it: most rules meet none.
#[derive(Debug, Default)]
pub(super) struct Lazy(OnceLock<Regex>);

impl Lazy {
    pub(super) fn of(&self, pattern: &str) -> anyhow::Result<&Regex> {
        if let Some(regex) = self.0.get() {
            return Ok(regex);
        }
        // Bytes, not characters: Go's classes are ASCII, and files are what they are.
        let regex = RegexBuilder::new(pattern).unicode(false).size_limit(64 << 20).build();
        let regex = regex.with_context(|| format!("failed to compile the expression {pattern}"))?;
        Ok(self.0.get_or_init(|| regex))
    }
}

/// A match, and where it is.
pub(super) struct About<'a> {
    pub(super) path: &'a str,
    pub(super) secret: &'a [u8],
    pub(super) whole: &'a [u8],
    pub(super) line: &'a [u8],
}

impl Allow {
    pub(super) fn prepare(&mut self) {
        let lazy = |patterns: &[String]| patterns.iter().map(|_| Lazy::default()).collect();
        (self.compiled, self.compiled_paths) = (lazy(&self.regexes), lazy(&self.paths));
        self.stopwords.iter_mut().for_each(|word| *word = word.to_lowercase());
    }

    pub(super) fn knows(&self, about: &About<'_>) -> anyhow::Result<bool> {
        let target = match self.target {
            Target::Secret => about.secret,
            Target::Match => about.whole,
            Target::Line => about.line,
        };
        let mut answers = Vec::with_capacity(3);
        for (patterns, compiled, text) in [
            (&self.regexes, &self.compiled, target),
            (&self.paths, &self.compiled_paths, about.path.as_bytes()),
        ] {
            if !patterns.is_empty() {
                let mut any = false;
                for (pattern, lazy) in patterns.iter().zip(compiled) {
                    any = any || lazy.of(pattern)?.is_match(text);
                }
                answers.push(any);
            }
        }
        if !self.stopwords.is_empty() {
            let secret = String::from_utf8_lossy(about.secret).to_lowercase();
            answers.push(self.stopwords.iter().any(|word| secret.contains(word.as_str())));
        }
        Ok(match self.condition {
            Condition::Or => answers.contains(&true),
            Condition::And => !answers.is_empty() && !answers.contains(&false),
        })
    }
}
