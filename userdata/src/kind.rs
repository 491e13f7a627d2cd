//! Tells the forms of user data apart by their first bytes, as cloud-init does.

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
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Kind::Script => "a script",
            Kind::Gzip => "gzip",
            Kind::Mime => "a MIME message",
            Kind::CloudConfig => "a #cloud-config document",
            Kind::Kiln => "a #kiln document",
        })
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// RFC 1952: the two magic bytes.
const GZIP: &[u8] = b"\x1f\x8b";

/// Length of the byte order mark in front, 0 or 3.
pub(crate) fn byte_order_mark(raw: &[u8]) -> usize {
    if raw.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 }
}

/// The kind and the byte offset at which it shows.
pub(crate) fn detect(raw: &[u8]) -> Option<(Kind, usize)> {
    if raw.starts_with(GZIP) {
        return Some((Kind::Gzip, 0));
    }
    let start = byte_order_mark(raw);
    let text = &raw[start..];
    // The kernel and cloud-init both want `#!` at the very start; white space in front makes it no script.
    if text.starts_with(b"#!") {
        return Some((Kind::Script, start));
    }
    let (offset, _) = first_byte(raw)?;
    let line = first_line(&raw[offset..]);
    match line {
        b"#cloud-config" => Some((Kind::CloudConfig, offset)),
        b"#kiln" => Some((Kind::Kiln, offset)),
        _ if is_mime_header(line) => Some((Kind::Mime, offset)),
        _ => None,
    }
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

fn is_mime_header(line: &[u8]) -> bool {
    let lower = line.to_ascii_lowercase();
    lower.starts_with(b"content-type:") || lower.starts_with(b"mime-version:")
}
