//! A `#!` script: its interpreter, its bytes as they are to be run, and what had to be mended for that.

use crate::error::Reason;
use crate::kind;
use std::borrow::Cow;
use std::fmt;

/// What a script begins with.
pub(crate) const MARK: &[u8] = b"#!";

/// A script ready to be written to a file and executed.
#[derive(Clone, PartialEq, Eq)]
pub struct Script {
    interpreter: String,
    body: Vec<u8>,
    notes: Vec<Note>,
}

/// Something in the script that would have kept the kernel from running it, mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// A UTF-8 byte order mark in front was dropped.
    ByteOrderMark,
    /// White space in front was dropped.
    LeadingSpace,
    /// Lines ended in CR LF; they end in LF in [`Script::body`].
    CarriageReturns,
}

impl Note {
    /// A name for the journal and for tables.
    pub fn name(self) -> &'static str {
        match self {
            Note::ByteOrderMark => "byte-order-mark",
            Note::LeadingSpace => "leading-space",
            Note::CarriageReturns => "carriage-returns",
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Note::ByteOrderMark => "a byte order mark at byte 0 was dropped",
            Note::LeadingSpace => "white space before '#!' was dropped",
            Note::CarriageReturns => "line ends CR LF were turned into LF",
        })
    }
}

impl Script {
    /// Absolute path of the interpreter on the `#!` line, without its argument.
    pub fn interpreter(&self) -> &str {
        &self.interpreter
    }

    /// The bytes to execute.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// What was mended, in the order met.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }
}

/// Leaves the body out: user data holds secrets more often than not.
impl fmt::Debug for Script {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Script")
            .field("interpreter", &self.interpreter)
            .field("bytes", &self.body.len())
            .field("notes", &self.notes)
            .finish()
    }
}

/// Takes the script that [`kind::detect`] saw at `offset`.
pub(crate) fn parse(raw: &[u8], offset: usize) -> Result<Script, Reason> {
    let mut notes = Vec::new();
    let mark = kind::byte_order_mark(raw);
    if mark > 0 {
        notes.push(Note::ByteOrderMark);
    }
    if offset > mark {
        notes.push(Note::LeadingSpace);
    }
    let first_line = first_line(&raw[offset..]);
    let body = with_line_feeds(&raw[offset..], 0);
    if matches!(body, Cow::Owned(_)) {
        notes.push(Note::CarriageReturns);
    }
    let interpreter = interpreter(&first_line[MARK.len()..]).ok_or(Reason::NoInterpreter)?;
    Ok(Script { interpreter, body: body.into_owned(), notes })
}

/// The text with line ends of LF, if the line at `offset` ends in CR LF.
pub(crate) fn with_line_feeds(text: &[u8], offset: usize) -> Cow<'_, [u8]> {
    if first_line(&text[offset..]).ends_with(b"\r") {
        Cow::Owned(without_carriage_returns(text))
    } else {
        Cow::Borrowed(text)
    }
}

fn first_line(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
    &text[..end]
}

fn interpreter(after_mark: &[u8]) -> Option<String> {
    let word = after_mark.trim_ascii().split(u8::is_ascii_whitespace).next()?;
    let path = std::str::from_utf8(word).ok()?;
    (path.starts_with('/') && !path.contains('\0')).then(|| path.to_owned())
}

fn without_carriage_returns(text: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(text.len());
    for (at, byte) in text.iter().enumerate() {
        let ends_line = matches!(text.get(at + 1), Some(b'\n') | None);
        if *byte != b'\r' || !ends_line {
            body.push(*byte);
        }
    }
    body
}
