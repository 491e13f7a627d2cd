//! A MIME message (RFC 2045 and 2046) to entities: headers, and a body that is bytes or further entities.
//!
//! ```text
//!  From nobody …                ← an envelope line is skipped
//!  Content-Type: multipart/mixed; boundary="//"     ─▶ header.rs
//!  (empty line)
//!  --//                         ─▶ one entity each, by offset: bodies are cut out, never rewritten
//!  --//--
//! ```
//!
//! Own code, since mail libraries mend what is broken and normalise line ends and character sets: here a body is
//! code that runs as root, byte for byte, and what is broken is an error with its offset.

mod header;

pub(crate) use header::{Header, Headers};

use crate::error::Reason;
use crate::limits::HEADERS;
use std::ops::Range;

/// Something wrong at an offset.
pub(crate) type Broken = (usize, Reason);

/// Splits an entity into its headers and the range of its body. The envelope line of a mailbox is skipped.
pub(crate) fn split(raw: &[u8]) -> Result<(Headers, Range<usize>), Broken> {
    let mut start = if raw.starts_with(b"From ") { next_line(raw, 0) } else { 0 };
    let mut lines: Vec<Range<usize>> = Vec::new();
    loop {
        let end = next_line(raw, start);
        let text = start..start + line(&raw[start..end]).len();
        if text.is_empty() {
            return Ok((header::parse(raw, &lines)?, end..raw.len()));
        }
        if end > HEADERS {
            return Err((start, broken(format!("the headers are more than {HEADERS} bytes"))));
        }
        lines.push(text);
        start = end;
    }
}

/// Ranges of the parts between the boundary's lines.
pub(crate) fn parts(raw: &[u8], body: Range<usize>, boundary: &[u8]) -> Result<Vec<Range<usize>>, Broken> {
    let mut parts = Vec::new();
    let mut open: Option<usize> = None;
    let mut at = body.start;
    while at < body.end {
        let end = next_line(&raw[..body.end], at);
        let Some(closing) = delimiter(&raw[at..end], boundary) else {
            at = end;
            continue;
        };
        if let Some(start) = open {
            // The line end before a boundary belongs to it (RFC 2046, 5.1.1).
            let last = raw[start..at]
                .strip_suffix(b"\n")
                .map_or(0, |text| text.strip_suffix(b"\r").unwrap_or(text).len());
            parts.push(start..start + last);
        }
        open = Some(end);
        at = end;
        if closing {
            return match raw[at..body.end].iter().position(|byte| !byte.is_ascii_whitespace()) {
                None => Ok(parts),
                Some(extra) => Err((at + extra, broken("text follows the closing boundary".to_owned()))),
            };
        }
    }
    let problem = match open {
        None => "no line begins with the boundary",
        Some(_) => "the closing boundary is missing: the text was cut off",
    };
    Err((body.end, broken(problem.to_owned())))
}

/// Whether a line is the boundary's, and if so whether it closes.
fn delimiter(line: &[u8], boundary: &[u8]) -> Option<bool> {
    let rest = line.strip_prefix(b"--")?.strip_prefix(boundary)?;
    match rest.trim_ascii_end() {
        b"" => Some(false),
        b"--" => Some(true),
        _ => None,
    }
}

pub(crate) fn broken(problem: String) -> Reason {
    Reason::Mime(problem)
}

/// Offset behind the line end that follows `at`.
fn next_line(raw: &[u8], at: usize) -> usize {
    raw[at..].iter().position(|byte| *byte == b'\n').map_or(raw.len(), |found| at + found + 1)
}

/// A line without its end.
fn line(raw: &[u8]) -> &[u8] {
    let text = raw.strip_suffix(b"\n").unwrap_or(raw);
    text.strip_suffix(b"\r").unwrap_or(text)
}
