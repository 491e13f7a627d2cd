//! Tells the forms of user data apart by their first bytes, as cloud-init does.

use crate::script;
use std::fmt;

/// A form of user data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Starts with `#!`.
    Script,
    /// A gzip stream (RFC 1952).
    Gzip,
    /// A MIME message (RFC 2045), usually multipart.
    Mime,
    /// A `#cloud-config` document.
    CloudConfig,
    /// A `#kiln` document.
    Kiln,
    /// A form of cloud-init's or of Windows' that is known by this mark and not read.
    Foreign(&'static str),
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Script => out.write_str("a script"),
            Kind::Gzip => out.write_str("gzip"),
            Kind::Mime => out.write_str("a MIME message"),
            Kind::CloudConfig => out.write_str("a #cloud-config document"),
            Kind::Kiln => out.write_str("a #kiln document"),
            Kind::Foreign(mark) => write!(out, "'{mark}'"),
        }
    }
}

/// Marks of the forms that are known by name only, in lower case.
const FOREIGN: [&str; 9] = [
    "#cloud-boothook",
    "#cloud-config-archive",
    "#cloud-config-jsonp",
    "#include-once",
    "#include",
    "#part-handler",
    "#upstart-job",
    "## template: jinja",
    "<powershell>",
];

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// RFC 1952: the two magic bytes.
const GZIP: &[u8] = b"\x1f\x8b";
/// How far the headers of a message are searched; cloud-init looks as far.
const HEADER_REACH: usize = 4096;

/// Length of the byte order mark in front, 0 or 3.
pub(crate) fn byte_order_mark(raw: &[u8]) -> usize {
    if raw.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 }
}

/// The kind and the byte offset at which it shows.
pub(crate) fn detect(raw: &[u8]) -> Option<(Kind, usize)> {
    if raw.starts_with(GZIP) {
        return Some((Kind::Gzip, 0));
    }
    let (offset, _) = first_byte(raw)?;
    let text = &raw[offset..];
    if text.starts_with(script::MARK) {
        return Some((Kind::Script, offset));
    }
    let line = first_line(text).to_ascii_lowercase();
    let kind = if is_marked(&line, b"#cloud-config") {
        Kind::CloudConfig
    } else if is_marked(&line, b"#kiln") {
        Kind::Kiln
    } else if let Some(mark) = FOREIGN.iter().find(|mark| line.starts_with(mark.as_bytes())) {
        Kind::Foreign(mark)
    } else if is_message(text) {
        Kind::Mime
    } else {
        return None;
    };
    Some((kind, offset))
}

/// Offset and value of the first byte that is neither byte order mark nor white space.
pub(crate) fn first_byte(raw: &[u8]) -> Option<(usize, u8)> {
    let start = byte_order_mark(raw);
    raw.iter().copied().enumerate().skip(start).find(|(_, byte)| !byte.is_ascii_whitespace())
}

/// A byte as an error message shows it.
pub(crate) fn printable(byte: u8) -> String {
    if byte.is_ascii_graphic() { format!("'{}'", char::from(byte)) } else { format!("0x{byte:02x}") }
}

fn first_line(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
    text[..end].trim_ascii_end()
}

/// The mark alone or followed by white space: editors' mode lines are common behind it.
fn is_marked(line: &[u8], mark: &[u8]) -> bool {
    line.strip_prefix(mark).is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_whitespace))
}

/// Headers from the first line on, one of which only a MIME entity has.
fn is_message(text: &[u8]) -> bool {
    let reach = &text[..text.len().min(HEADER_REACH)];
    let mut found = false;
    for (at, line) in reach.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // The line that mailboxes put between messages; old tools print it.
        let envelope = at == 0 && line.starts_with(b"From ");
        let folded = at > 0 && line.first().is_some_and(|byte| matches!(byte, b' ' | b'\t'));
        if line.is_empty() {
            break;
        }
        if envelope || folded {
            continue;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
        let name = line[..colon].to_ascii_lowercase();
        if name.is_empty() || !name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-') {
            return false;
        }
        found |= name == b"content-type" || name == b"mime-version";
    }
    found
}

/// Whether something else is in it: gzip or a MIME message.
pub(crate) fn is_wrapped(raw: &[u8]) -> bool {
    matches!(detect(raw), Some((Kind::Gzip | Kind::Mime, _)))
}
