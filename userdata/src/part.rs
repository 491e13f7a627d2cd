//! Bytes to a tree of parts: unwraps gzip and MIME until a script or a document is left.
//!
//! ```text
//!            ┌─ gzip ──────────▶ the same again, one level deeper
//!  bytes ──▶ ├─ MIME ──────────▶ the same for each part, by its content type
//!            ├─ #! ────────────▶ Script
//!            ├─ #kiln ─────────▶ Kiln
//!            └─ #cloud-config ─▶ CloudConfig
//! ```

use crate::error::{Error, Label, Reason};
use crate::kind::{self, Kind};
use crate::limits::{Budget, NESTING};
use crate::mime::{self, Headers};
use crate::{CloudConfig, Kiln, Left, Script, UserData, cloud_config, gzip, kiln, node, script, transfer};
use std::borrow::Cow;

/// One part of a multipart message.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// What messages call it.
    pub label: Label,
    /// What it holds.
    pub content: UserData,
}

/// Where the reading stands.
pub(crate) struct Reader<'a> {
    pub(crate) budget: &'a mut Budget,
    /// The part that is read, if it is one.
    pub(crate) label: Option<Label>,
    /// Wrappers around it.
    pub(crate) depth: usize,
    /// What its content type says it is.
    pub(crate) declared: Option<Declared>,
}

/// A content type that settles the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Declared {
    Script,
    CloudConfig,
    Kiln,
}

impl Declared {
    fn content_type(self) -> &'static str {
        match self {
            Declared::Script => "text/x-shellscript",
            Declared::CloudConfig => "text/cloud-config",
            Declared::Kiln => "text/x-kiln",
        }
    }
}

impl Reader<'_> {
    /// Reads what stands at this level.
    pub(crate) fn read(&mut self, raw: &[u8]) -> Result<UserData, Error> {
        if self.depth > NESTING {
            return Err(self.error(0, Reason::TooDeep));
        }
        let Some((first, byte)) = kind::first_byte(raw) else { return Ok(UserData::Empty) };
        let seen = kind::detect(raw);
        if let Some((Kind::Gzip, _)) = seen {
            let unpacked = gzip::unpack(raw, self.budget).map_err(|reason| self.error(0, reason))?;
            self.depth += 1;
            return self.read(&unpacked);
        }
        let (kind, offset) = match (self.declared, seen) {
            (None, Some(seen)) => seen,
            (None, None) => return Err(self.unknown(raw, first, byte)),
            (Some(Declared::Script), Some((Kind::Script, offset))) => (Kind::Script, offset),
            // The content type says it all: cloud-init does not ask for the first line then.
            (Some(Declared::CloudConfig), Some((Kind::CloudConfig, offset))) => (Kind::CloudConfig, offset),
            (Some(Declared::CloudConfig), None) => (Kind::CloudConfig, first),
            (Some(Declared::Kiln), Some((Kind::Kiln, offset))) => (Kind::Kiln, offset),
            (Some(declared), seen) => {
                let declared = declared.content_type();
                let (found, offset) = seen.map_or_else(
                    || (format!("what begins with {}", kind::printable(byte)), first),
                    |(kind, offset)| (kind.to_string(), offset),
                );
                return Err(self.error(offset, Reason::Mismatch { declared, found }));
            }
        };
        match kind {
            Kind::Script => {
                script::parse(raw, offset).map(UserData::Script).map_err(|reason| self.error(offset, reason))
            }
            Kind::Kiln => {
                // TOML would keep CR LF within strings that span lines; YAML turns it into LF by itself.
                let raw = script::with_line_feeds(raw, offset);
                self.document(&raw, |text, _| kiln::parse(text)).map(UserData::Kiln)
            }
            Kind::CloudConfig if self.budget.beside_cloud_init => Ok(UserData::Left(Left::new(raw))),
            Kind::CloudConfig => self.document(raw, cloud_config::parse).map(UserData::CloudConfig),
            Kind::Mime => self.message(&raw[offset..], offset),
            Kind::Gzip | Kind::Foreign(_) => Err(self.error(offset, Reason::Unsupported(kind))),
        }
    }

    fn document<T>(
        &mut self,
        raw: &[u8],
        parse: impl FnOnce(&str, &mut Budget) -> Result<T, node::Fault>,
    ) -> Result<T, Error> {
        let mark = kind::byte_order_mark(raw);
        let text = std::str::from_utf8(&raw[mark..])
            .map_err(|error| self.error(mark + error.valid_up_to(), Reason::NotText))?;
        parse(text, self.budget)
            .map_err(|fault| Error::in_text(self.label.as_ref(), text, fault.at, fault.reason))
    }

    /// Reads an entity whose headers begin `shift` bytes into this level.
    fn message(&mut self, raw: &[u8], shift: usize) -> Result<UserData, Error> {
        let at_shift = |this: &Self, (offset, reason): mime::Broken| this.error(shift + offset, reason);
        let (headers, body) = mime::split(raw).map_err(|broken| at_shift(self, broken))?;
        let content_type = headers.content_type();
        let offset = headers.get("content-type").map_or(0, |header| header.offset);
        if content_type.starts_with("multipart/") {
            let boundary = headers.get("content-type").and_then(|header| header.parameter("boundary"));
            let Some(boundary) = boundary.filter(|boundary| !boundary.is_empty()) else {
                return Err(at_shift(
                    self,
                    (offset, mime::broken("the multipart names no boundary".to_owned())),
                ));
            };
            identity(&headers).map_err(|broken| at_shift(self, broken))?;
            let ranges =
                mime::parts(raw, body, boundary.as_bytes()).map_err(|broken| at_shift(self, broken))?;
            let mut parts = Vec::with_capacity(ranges.len().min(crate::PARTS));
            for (index, range) in ranges.into_iter().enumerate() {
                parts.push(self.part(&raw[range.clone()], index + 1, shift + range.start)?);
            }
            return Ok(UserData::Multipart(parts));
        }
        self.declared = declared(&content_type).map_err(|reason| at_shift(self, (offset, reason)))?;
        merging(&headers).map_err(|broken| at_shift(self, broken))?;
        let decoded = decode(&headers, &raw[body.clone()], self.budget).map_err(|(offset, reason)| {
            at_shift(self, (if offset == 0 { body.start } else { offset }, reason))
        })?;
        self.depth += 1;
        self.read(&decoded)
    }

    fn part(&mut self, raw: &[u8], number: usize, start: usize) -> Result<Part, Error> {
        let Some(left) = self.budget.parts.checked_sub(1) else {
            return Err(self.error(start, Reason::TooManyParts));
        };
        self.budget.parts = left;
        let mut numbers = self.label.as_ref().map(|label| label.number.clone()).unwrap_or_default();
        numbers.push(number);
        let mut label = Label { number: numbers, filename: None };
        let depth = self.depth + 1;
        if let Ok((headers, _)) = mime::split(raw) {
            label.filename = headers.filename();
        }
        let mut inner =
            Reader { budget: &mut *self.budget, label: Some(label.clone()), depth, declared: None };
        if depth > NESTING {
            return Err(inner.error(0, Reason::TooDeep));
        }
        let content = inner.message(raw, 0)?;
        Ok(Part { label, content })
    }

    fn unknown(&self, raw: &[u8], first: usize, byte: u8) -> Error {
        let twice = transfer::base64(raw).ok().and_then(|decoded| kind::detect(&decoded));
        let reason = match twice {
            Some((kind, _)) => Reason::EncodedTwice(kind),
            None => Reason::Unknown { found: kind::printable(byte) },
        };
        self.error(first, reason)
    }

    fn error(&self, offset: usize, reason: Reason) -> Error {
        Error::new(self.label.as_ref(), offset, reason)
    }
}

/// What a content type says of the bytes; none leaves it to their beginning.
fn declared(content_type: &str) -> Result<Option<Declared>, Reason> {
    match content_type {
        "text/x-shellscript" => Ok(Some(Declared::Script)),
        "text/cloud-config" => Ok(Some(Declared::CloudConfig)),
        "text/x-kiln" => Ok(Some(Declared::Kiln)),
        "text/plain" | "text/x-not-multipart" | "application/octet-stream" => Ok(None),
        "application/gzip"
        | "application/x-gzip"
        | "application/gzip-compressed"
        | "application/gzipped"
        | "application/x-compressed"
        | "application/x-gunzip"
        | "application/x-gzip-compressed" => Ok(None),
        _ => {
            let shown: String = content_type.chars().filter(|letter| !letter.is_control()).take(64).collect();
            Err(mime::broken(format!(
                "the content type '{shown}' is not supported: write text/x-shellscript, text/cloud-config or text/x-kiln"
            )))
        }
    }
}

/// A multipart must not be encoded itself (RFC 2045, 6.4).
fn identity(headers: &Headers) -> Result<(), mime::Broken> {
    match headers.get("content-transfer-encoding") {
        Some(header) if !matches!(encoding(header).as_str(), "7bit" | "8bit" | "binary") => {
            Err((header.offset, mime::broken("a multipart cannot be encoded: encode its parts".to_owned())))
        }
        _ => Ok(()),
    }
}

/// Parts run one after the other, which is what appending lists comes to; any other merging would be passed over.
fn merging(headers: &Headers) -> Result<(), mime::Broken> {
    for name in ["x-merge-type", "merge-type"] {
        if let Some(header) = headers.get(name).filter(|header| !header.value.contains("append")) {
            return Err((
                header.offset,
                mime::broken(format!("the header '{name}' asks for a merge: drop it")),
            ));
        }
    }
    Ok(())
}

/// The body's bytes. An offset of 0 stands for the body's start.
fn decode<'a>(headers: &Headers, body: &'a [u8], budget: &mut Budget) -> Result<Cow<'a, [u8]>, mime::Broken> {
    let Some(header) = headers.get("content-transfer-encoding") else { return Ok(Cow::Borrowed(body)) };
    let decoded = match encoding(header).as_str() {
        // Terraform says 7bit of whatever it holds.
        "7bit" | "8bit" | "binary" | "" => return Ok(Cow::Borrowed(body)),
        "base64" => transfer::base64(body).map_err(|at| (at, "the base64 is damaged")),
        "quoted-printable" => {
            transfer::quoted_printable(body).map_err(|at| (at, "the quoted-printable is damaged"))
        }
        _ => {
            let problem =
                "the Content-Transfer-Encoding is not supported: use 7bit, 8bit, base64 or quoted-printable";
            return Err((header.offset, mime::broken(problem.to_owned())));
        }
    };
    let decoded =
        decoded.map_err(|(at, problem)| (0, mime::broken(format!("{problem} at byte {at} of the body"))))?;
    if !budget.take(decoded.len()) {
        return Err((0, Reason::TooMuchUnpacked));
    }
    Ok(Cow::Owned(decoded))
}

fn encoding(header: &mime::Header) -> String {
    header.value.to_ascii_lowercase()
}

/// A leaf of the tree.
#[derive(Debug, Clone, Copy)]
pub enum Leaf<'a> {
    /// A script.
    Script(&'a Script),
    /// A `#kiln` document.
    Kiln(&'a Kiln),
    /// A `#cloud-config` document.
    CloudConfig(&'a CloudConfig),
    /// A `#cloud-config` document that is left to cloud-init.
    Left(&'a Left),
}
