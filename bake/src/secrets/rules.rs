//! Gitleaks's rules, which its maintainers keep for what hundreds of services call a key: `rules/gitleaks.json`.
//!
//! A rule finds what its expression matches in a file that has one of its keywords, if the match is as random as the rule
//! asks for and on no list of what is no secret.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, MatchKind};
use regex::bytes::Captures;
use serde::Deserialize;

use super::allow::{About, Allow, Lazy};
use crate::sources::hash_bytes;

/// Of version 8.30.1; beside it `LICENSE.gitleaks`.
const TEXT: &str = include_str!("../../rules/gitleaks.json");

/// Goes by words around what might be a value. Gitleaks passes over programs; there the other rules are asked all the same.
const GENERIC: &str = "generic-api-key";

static RULES: LazyLock<Result<RuleSet, String>> =
    LazyLock::new(|| RuleSet::read(TEXT).map_err(|error| format!("{error:#}")));

/// The rules, ready to be asked.
#[derive(Debug)]
pub struct RuleSet {
    /// `gitleaks 8.30.1`.
    pub name: String,
    /// Of their text, in hex.
    pub sha256: String,
    rules: Vec<Rule>,
    allow: Allow,
    keywords: AhoCorasick,
    /// By keyword, the rules that have it.
    wanted_by: Vec<Vec<usize>>,
}

#[derive(Debug, Deserialize)]
struct File {
    name: String,
    version: String,
    rules: Vec<Rule>,
    allow: Allow,
}

#[derive(Debug, Deserialize)]
struct Rule {
    id: String,
    /// `None`: that a file of such a path is there is the finding.
    regex: Option<String>,
    /// Of the expression, what is the secret; else the first group that matched, else all.
    group: Option<usize>,
    #[serde(default)]
    keywords: Vec<String>,
    /// Bits a byte that the secret has to exceed.
    #[serde(default)]
    entropy: f64,
    path: Option<String>,
    #[serde(default)]
    allow: Vec<Allow>,
    #[serde(skip)]
    compiled: Lazy,
    #[serde(skip)]
    compiled_path: Lazy,
}

impl RuleSet {
    /// Those that Kiln ships.
    ///
    /// # Errors
    /// Their text is no set of rules.
    pub fn shipped() -> anyhow::Result<&'static Self> {
        RULES
            .as_ref()
            .map_err(|error| anyhow::anyhow!("failed to read the rules of the secrets scan: {error}"))
    }

    fn read(text: &str) -> anyhow::Result<Self> {
        let File { name, version, mut rules, mut allow } = serde_json::from_str(text)?;
        allow.prepare();
        // What a repository keeps in such files is no finding; in an image they are files like any other.
        allow.paths.clear();
        let mut wanted_by: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, rule) in rules.iter_mut().enumerate() {
            rule.allow.iter_mut().for_each(Allow::prepare);
            for keyword in &rule.keywords {
                wanted_by.entry(keyword.to_lowercase()).or_default().push(index);
            }
        }
        let keywords = AhoCorasickBuilder::new()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .build(wanted_by.keys())?;
        Ok(Self {
            name: format!("{name} {version}"),
            sha256: hash_bytes(text),
            rules,
            allow,
            keywords,
            wanted_by: wanted_by.into_values().collect(),
        })
    }

    /// Whether there is such a rule.
    pub fn knows(&self, id: &str) -> bool {
        self.rules.iter().any(|rule| rule.id == id)
    }

    /// Every finding in a file: the rule and where in `content` it begins. `path` is below the root.
    ///
    /// # Errors
    /// An expression does not compile.
    pub fn findings<'a>(&'a self, path: &str, content: &[u8]) -> anyhow::Result<Vec<(&'a str, usize)>> {
        let mut asked = vec![false; self.rules.len()];
        for found in self.keywords.find_overlapping_iter(content) {
            for rule in &self.wanted_by[found.pattern().as_usize()] {
                asked[*rule] = true;
            }
        }
        let binary = content.contains(&0);
        let mut findings = Vec::new();
        for (rule, asked) in self.rules.iter().zip(asked) {
            let by_path = rule.regex.is_none();
            if !asked && !by_path || binary && rule.id == GENERIC {
                continue;
            }
            if let Some(of) = &rule.path
                && !rule.compiled_path.of(of)?.is_match(path.as_bytes())
            {
                continue;
            }
            let Some(regex) = &rule.regex else {
                findings.push((rule.id.as_str(), 0));
                continue;
            };
            for found in rule.compiled.of(regex)?.captures_iter(content) {
                if let Some(at) = self.is_secret(rule, path, content, &found)? {
                    findings.push((rule.id.as_str(), at));
                }
            }
        }
        Ok(findings)
    }

    fn is_secret(
        &self,
        rule: &Rule,
        path: &str,
        content: &[u8],
        found: &Captures<'_>,
    ) -> anyhow::Result<Option<usize>> {
        let group = match rule.group {
            Some(group) => found.get(group),
            None => found.iter().skip(1).flatten().find(|group| !group.is_empty()),
        };
        let Some(whole) = found.get(0) else { return Ok(None) };
        let secret = group.unwrap_or(whole);
        if rule.entropy > 0.0 && entropy(secret.as_bytes()) <= rule.entropy {
            return Ok(None);
        }
        let about = About {
            path,
            secret: secret.as_bytes(),
            whole: whole.as_bytes(),
            line: line(content, whole.range()),
        };
        for allow in std::iter::once(&self.allow).chain(&rule.allow) {
            if allow.knows(&about)? {
                return Ok(None);
            }
        }
        Ok(Some(secret.start()))
    }
}

/// Shannon's, in bits a byte.
#[expect(clippy::cast_precision_loss, reason = "counts of bytes of one match")]
fn entropy(bytes: &[u8]) -> f64 {
    let mut counts = [0_u64; 256];
    for byte in bytes {
        counts[usize::from(*byte)] += 1;
    }
    let share = |count: u64| count as f64 / bytes.len() as f64;
    -counts.iter().filter(|count| **count > 0).map(|count| share(*count) * share(*count).log2()).sum::<f64>()
}

/// The lines that a match is in.
fn line(content: &[u8], found: std::ops::Range<usize>) -> &[u8] {
    let start = content[..found.start].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let end = content[found.end..]
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(content.len(), |at| found.end + at);
    &content[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_of_the_set_is_there_and_compiles() {
        let set = RuleSet::shipped().expect("it is readable");
        assert_eq!((set.name.as_str(), set.rules.len()), ("gitleaks 8.30.1", 222));
        let mut failed = Vec::new();
        let mut attempt = |id: &str, lazy: &Lazy, pattern: &str| {
            failed.extend(lazy.of(pattern).err().map(|error| format!("{id}: {error:#}")));
        };
        for rule in &set.rules {
            assert!(rule.regex.is_none() || !rule.keywords.is_empty(), "{} would never be asked", rule.id);
            assert!(rule.regex.is_some() || rule.path.is_some(), "{} asks for nothing", rule.id);
            for (pattern, lazy) in [(&rule.regex, &rule.compiled), (&rule.path, &rule.compiled_path)] {
                if let Some(pattern) = pattern {
                    attempt(&rule.id, lazy, pattern);
                }
            }
        }
        for (allow, id) in set
            .rules
            .iter()
            .flat_map(|rule| rule.allow.iter().map(|allow| (allow, rule.id.as_str())))
            .chain([(&set.allow, "all")])
        {
            for (pattern, lazy) in
                allow.regexes.iter().zip(&allow.compiled).chain(allow.paths.iter().zip(&allow.compiled_paths))
            {
                attempt(id, lazy, pattern);
            }
        }
        assert!(failed.is_empty(), "{failed:#?}");
    }

    #[test]
    fn a_match_counts_if_it_is_random_enough_and_on_no_list() {
        let set = RuleSet::shipped().expect("it is readable");
        // Put together here, so that no scan of this repository takes them for keys.
        let aws = ["AKIA", "Q3EGRIYVB2LKXMTZ"].concat();
        let github = ["ghp_", "x9Kq2LmZ7Rv4TnB8Wc3YpD6HsF1JgA5eUiQo"].concat();
        let pem = format!(
            "-----BEGIN {0}-----\n{1}\n-----END {0}-----\n",
            "PRIVATE KEY",
            "MIIEvQIBADANBgkq".repeat(8)
        );
        let word = "secret_token = \"x9Kq2LmZ7Rv4TnB8Wc3Y\"";
        let table: [(&str, &str, String, &[&str]); 10] = [
            ("aws", "a.py", format!("id = '{aws}'"), &["aws-access-token"]),
            ("AWS's own example", "a.py", format!("id = 'AKIA{}EXAMPLE'", "IOSFODNN7"), &[]),
            ("not random", "a.py", "id = 'AKIAAAAAAAAAAAAAAAAA'".to_owned(), &[]),
            ("github", "a.min.js", format!("x=\"{github}\";"), &["github-pat"]),
            ("pem", "srv/site.pem", pem, &["private-key"]),
            ("by a word", "a.py", word.to_owned(), &["generic-api-key"]),
            ("a program", "a.so", format!("\0{word}"), &[]),
            ("a variable", "a.env", "API_TOKEN=${API_TOKEN_FROM_ELSEWHERE}".to_owned(), &[]),
            ("a path alone", "srv/shop/client.p12", String::new(), &["pkcs12-file"]),
            ("code", "a.py", "key = request.headers['X-Api-Key']".to_owned(), &[]),
        ];
        for (name, path, content, expected) in table {
            let found = set.findings(path, content.as_bytes()).expect("the rules compile");
            assert_eq!(found.iter().map(|(id, _)| *id).collect::<Vec<_>>(), expected, "{name}");
        }
    }
}
