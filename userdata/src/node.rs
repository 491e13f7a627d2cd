//! A TOML or YAML document as one kind of tree that knows where each value stands.
//!
//! ```text
//!  TOML ─┐
//!        ├─▶ Node (value + place) ─▶ Fields: take each known key, what is left over is an error
//!  YAML ─┘
//! ```
//!
//! Not serde: its errors quote the values they complain of, and user data holds secrets.

pub(crate) mod toml;
pub(crate) mod yaml;

use crate::error::{At, Reason};

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) at: At,
    pub(crate) value: Value,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// Quoted: text whatever it looks like.
    Text(String),
    /// Unquoted: a number, a truth value, a date, null; in YAML also text.
    Plain(String),
    /// YAML's `!!binary`.
    Binary(String),
    List(Vec<Node>),
    Map(Vec<(String, At, Node)>),
}

/// What is wrong, and where.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) at: At,
    pub(crate) reason: Reason,
}

impl Fault {
    pub(crate) fn invalid(at: At, key: &str, problem: impl Into<String>) -> Self {
        Self { at, reason: Reason::Invalid { key: key.to_owned(), problem: problem.into() } }
    }
}

impl Node {
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Plain(text) if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// Quoted text only.
    pub(crate) fn text(self, key: &str) -> Result<String, Fault> {
        match self.value {
            Value::Text(text) => Ok(text),
            _ => Err(Fault::invalid(self.at, key, "it must be a string: put it in quotes")),
        }
    }

    /// Text, or what stands unquoted, as it is written.
    pub(crate) fn scalar(self, key: &str) -> Result<String, Fault> {
        let null = self.is_null();
        match self.value {
            Value::Text(text) | Value::Plain(text) if !null => Ok(text),
            _ => Err(Fault::invalid(self.at, key, "it must be a string")),
        }
    }

    /// A truth value, YAML 1.1's words for it included.
    pub(crate) fn truth(self, key: &str) -> Result<bool, Fault> {
        let word =
            if let Value::Plain(word) = &self.value { word.to_ascii_lowercase() } else { String::new() };
        match word.as_str() {
            "true" | "yes" | "on" => Ok(true),
            "false" | "no" | "off" => Ok(false),
            _ => Err(Fault::invalid(self.at, key, "it must be true or false")),
        }
    }

    pub(crate) fn list(self, key: &str) -> Result<Vec<Node>, Fault> {
        match self.value {
            Value::List(nodes) => Ok(nodes),
            _ => Err(Fault::invalid(self.at, key, "it must be a list")),
        }
    }

    pub(crate) fn fields(self, key: &str) -> Result<Fields, Fault> {
        match self.value {
            Value::Map(entries) => Ok(Fields { at: self.at, entries }),
            _ => Err(Fault::invalid(self.at, key, "it must be a table of keys and values")),
        }
    }
}

/// The keys of one table that nobody has taken yet.
#[derive(Debug)]
pub(crate) struct Fields {
    pub(crate) at: At,
    pub(crate) entries: Vec<(String, At, Node)>,
}

impl Fields {
    pub(crate) fn take(&mut self, key: &str) -> Option<Node> {
        let found = self.entries.iter().position(|(name, ..)| name == key)?;
        Some(self.entries.remove(found).2)
    }

    pub(crate) fn need(&mut self, key: &'static str, way_out: &'static str) -> Result<Node, Fault> {
        self.take(key).ok_or(Fault { at: self.at, reason: Reason::Missing { key, way_out } })
    }

    /// Refuses the first key that is left over, by the advice given for it or by the list of keys that there are.
    pub(crate) fn end(self, known: &str, advice: &[(&str, &str)]) -> Result<(), Fault> {
        let Some((key, at, _)) = self.entries.into_iter().next() else { return Ok(()) };
        let way_out = advice
            .iter()
            .find(|(name, _)| *name == key)
            .map_or_else(|| format!("the keys here are {known}"), |(_, advice)| (*advice).to_owned());
        Err(Fault { at, reason: Reason::UnknownKey { key: printable(&key), way_out } })
    }
}

/// A key as a message shows it: short, on one line.
fn printable(key: &str) -> String {
    key.chars().take(64).flat_map(char::escape_debug).collect()
}
