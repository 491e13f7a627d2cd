//! A `#!` script: its interpreter, its bytes as they are to be run, and what had to be mended for that.

use crate::{Error, kind};
use std::fmt;

/// A script ready to be written to a file and executed.
#[derive(Clone, PartialEq, Eq)]
pub struct Script {
    interpreter: String,
    body: Vec<u8>,
    notes: Vec<Note>,
}

/// Something in the script that would have kept the kernel from running it, mended as cloud-init does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// A UTF-8 byte order mark in front was dropped.
    ByteOrderMark,
    /// Lines ended in CR LF; they end in LF in [`Script::body`].
    CarriageReturns,
}

impl fmt::Display for Note {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Note::ByteOrderMark => "a byte order mark at byte 0 was dropped",
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

pub(crate) fn parse(raw: &[u8], offset: usize) -> Result<Script, Error> {
    let mut notes = Vec::new();
    if kind::byte_order_mark(raw) > 0 {
        notes.push(Note::ByteOrderMark);
    }
    let text = &raw[offset..];
    let line_end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
    let first_line = &text[..line_end];
    let body = if first_line.ends_with(b"\r") {
        notes.push(Note::CarriageReturns);
        without_carriage_returns(text)
    } else {
        text.to_vec()
    };
    let interpreter = interpreter(&first_line[2..]).ok_or(Error::NoInterpreter { offset })?;
    Ok(Script { interpreter, body, notes })
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
