//! Why user data is refused, and where: the part, and the byte or the line and column within it.
//!
//! ```text
//!  part 2 ('app.toml'), line 3, column 1: unknown key 'pakages': the keys here are env, file, run, agent
//! ```

use crate::kind::Kind;
use crate::limits::{LIMIT, NESTING, PARTS, UNPACKED};
use std::fmt;

/// Why user data is refused. Neither form of its text quotes user data beyond names of keys and headers.
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    part: Option<Label>,
    place: Place,
    reason: Reason,
    excerpt: Option<String>,
}

/// What a part is called in messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Place among its siblings, counted from 1; a part of a part has two numbers.
    pub number: Vec<usize>,
    /// Its file name, as its headers give it.
    pub filename: Option<String>,
}

impl fmt::Display for Label {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("part ")?;
        for (at, number) in self.number.iter().enumerate() {
            write!(out, "{}{number}", if at == 0 { "" } else { "." })?;
        }
        match &self.filename {
            Some(name) => write!(out, " ('{name}')"),
            None => Ok(()),
        }
    }
}

/// A place within a part's bytes as decoded, or within the user data when there are no parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Offset in bytes, from 0.
    Byte(usize),
    /// Of a text.
    Line {
        /// Counted from 1.
        line: usize,
        /// In characters, counted from 1.
        column: usize,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Byte(offset) => write!(out, "byte {offset}"),
            Place::Line { line, column } => write!(out, "line {line}, column {column}"),
        }
    }
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// More bytes than EC2 takes.
    #[error(
        "{size} bytes are too many, EC2 takes at most {LIMIT} before base64: fetch the rest from S3 in a script"
    )]
    TooLarge {
        /// Size in bytes before base64.
        size: usize,
    },
    /// Decoding makes more than [`UNPACKED`] bytes.
    #[error("unpacks to more than {UNPACKED} bytes: fetch large files from S3 in a script")]
    TooMuchUnpacked,
    /// More than [`PARTS`] parts.
    #[error("has more than {PARTS} parts: join some")]
    TooManyParts,
    /// More than [`NESTING`] wrappers.
    #[error("has more than {NESTING} wrappers (gzip, multipart) within each other: unwrap some")]
    TooDeep,
    /// A form that EC2 tooling knows and Kiln does not read.
    #[error("{0} is not supported: write a '#!' script or a #kiln document")]
    Unsupported(Kind),
    /// Bytes of no known form.
    #[error(
        "is of no known kind (it begins with {found}): begin it with '#!' and an interpreter, '#kiln' or '#cloud-config'"
    )]
    Unknown {
        /// The first byte that is not white space, printable.
        found: String,
    },
    /// Base64 of something that would have been understood.
    #[error("is base64 of {0}: it was encoded twice, pass it as it is (or by user_data_base64)")]
    EncodedTwice(Kind),
    /// A `#!` line that names no absolute interpreter; the kernel would refuse it.
    #[error("the first line names no interpreter by absolute path: write '#!/bin/bash'")]
    NoInterpreter,
    /// A document that is not UTF-8.
    #[error("the document is not UTF-8: save it as UTF-8")]
    NotText,
    /// A broken gzip stream.
    #[error("failed to unpack gzip: {0}")]
    Gzip(&'static str),
    /// A broken MIME message.
    #[error("failed to read MIME: {0}")]
    Mime(String),
    /// The content is not what its header says.
    #[error("is declared as {declared} and holds {found}: correct its Content-Type")]
    Mismatch {
        /// The content type.
        declared: &'static str,
        /// What the bytes are.
        found: String,
    },
    /// Not TOML, or not YAML.
    #[error("failed to read {format}: {problem}")]
    Syntax {
        /// `TOML` or `YAML`.
        format: &'static str,
        /// What the parser says.
        problem: String,
    },
    /// A key that means nothing here.
    #[error("unknown key '{key}': {way_out}")]
    UnknownKey {
        /// The key.
        key: String,
        /// What to do instead.
        way_out: String,
    },
    /// A key that must be there.
    #[error("missing key '{key}': {way_out}")]
    Missing {
        /// The key.
        key: &'static str,
        /// What to write.
        way_out: &'static str,
    },
    /// A value that does not do.
    #[error("invalid '{key}': {problem}")]
    Invalid {
        /// The key, or what the value is for.
        key: String,
        /// What is wanted.
        problem: String,
    },
}

impl Reason {
    /// A name for the journal and for tables.
    pub fn name(&self) -> &'static str {
        match self {
            Reason::TooLarge { .. } => "too-large",
            Reason::TooMuchUnpacked => "too-much-unpacked",
            Reason::TooManyParts => "too-many-parts",
            Reason::TooDeep => "too-deep",
            Reason::Unsupported(_) => "unsupported",
            Reason::Unknown { .. } => "unknown-kind",
            Reason::EncodedTwice(_) => "encoded-twice",
            Reason::NoInterpreter => "no-interpreter",
            Reason::NotText => "not-text",
            Reason::Gzip(_) => "gzip",
            Reason::Mime(_) => "mime",
            Reason::Mismatch { .. } => "mismatch",
            Reason::Syntax { .. } => "syntax",
            Reason::UnknownKey { .. } => "unknown-key",
            Reason::Missing { .. } => "missing-key",
            Reason::Invalid { .. } => "invalid",
        }
    }
}

impl Error {
    pub(crate) fn new(part: Option<&Label>, offset: usize, reason: Reason) -> Self {
        Self(Box::new(Inner { part: part.cloned(), place: Place::Byte(offset), reason, excerpt: None }))
    }

    pub(crate) fn in_text(part: Option<&Label>, text: &str, at: At, reason: Reason) -> Self {
        let (line, column) = at.resolve(text);
        let excerpt = Some(excerpt(text, line, column));
        let place = Place::Line { line, column };
        Self(Box::new(Inner { part: part.cloned(), place, reason, excerpt }))
    }

    /// The part that is at fault; none when the user data is not in parts.
    pub fn part(&self) -> Option<&Label> {
        self.0.part.as_ref()
    }

    /// Where in the part.
    pub fn place(&self) -> Place {
        self.0.place
    }

    /// What is wrong.
    pub fn reason(&self) -> &Reason {
        &self.0.reason
    }

    /// The line at fault with a caret below its column, for TOML and YAML. It quotes the user data: show it to who
    /// wrote that, keep it out of journals.
    pub fn excerpt(&self) -> Option<&str> {
        self.0.excerpt.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.part {
            Some(part) => write!(out, "{part}")?,
            None => out.write_str("user data")?,
        }
        write!(out, ", {}: {}", self.0.place, self.0.reason)
    }
}

/// Leaves the excerpt out: user data holds secrets more often than not.
impl fmt::Debug for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Error({self})")
    }
}

impl std::error::Error for Error {}

/// A place as a parser gives it; it is counted out only when it goes into an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Byte(usize),
    Line(usize, usize),
}

impl At {
    fn resolve(self, text: &str) -> (usize, usize) {
        match self {
            At::Line(line, column) => (line, column),
            At::Byte(offset) => {
                let before = text.get(..offset).unwrap_or(text);
                let start = before.rfind('\n').map_or(0, |at| at + 1);
                (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
            }
        }
    }
}

/// Characters of a line that are shown on either side of the caret.
const AROUND: usize = 60;

fn excerpt(text: &str, line: usize, column: usize) -> String {
    let source = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let skipped = column.saturating_sub(AROUND + 1);
    // A control character or a tab would move the caret.
    let shown: String = source
        .chars()
        .skip(skipped)
        .take(2 * AROUND)
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    let number = line.to_string();
    let gutter = " ".repeat(number.len());
    let indent = " ".repeat(column.saturating_sub(skipped + 1));
    format!("{gutter} |\n{number} | {}\n{gutter} | {indent}^", shown.trim_end())
}
