//! Parts to user data: the least wrapping that fits EC2's limit.
//!
//! ```text
//!  sources ──▶ each is understood ──▶ none looks like a secret ──▶ plain, gzip, MIME, gzip of MIME: the first that fits
//! ```
//!
//! Least wrapped before least bytes: what is plain can be read in the console by who is on call.

use crate::error::{Error, Label, Reason};
use crate::limits::{Budget, LIMIT, PARTS};
use crate::part::Reader;
use crate::secret::{self, Finding};
use crate::{File, UserData, gzip, transfer};
use std::fmt;

/// One part to be: a script or a document, as it would stand alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Source {
    /// What messages call it; it travels with the part where there are several.
    pub filename: Option<String>,
    /// The bytes, which begin with `#!`, `#kiln` or `#cloud-config`.
    pub bytes: Vec<u8>,
}

/// Leaves the bytes out.
impl fmt::Debug for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Source({:?}, {} bytes)", self.filename, self.bytes.len())
    }
}

/// User data that fits.
#[derive(Clone, PartialEq, Eq)]
pub struct Composed {
    /// The bytes, to be base64-encoded once by who sends them.
    pub bytes: Vec<u8>,
    /// How they are wrapped.
    pub form: Form,
}

/// Leaves the bytes out.
impl fmt::Debug for Composed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Composed({}, {} bytes)", self.form, self.bytes.len())
    }
}

/// How user data is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Not at all: one source as it is.
    Plain,
    /// One source, packed.
    Gzip,
    /// Several, as MIME multipart.
    Mime,
    /// The same, packed.
    MimeGzip,
}

impl fmt::Display for Form {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Form::Plain => "plain",
            Form::Gzip => "gzip",
            Form::Mime => "MIME multipart",
            Form::MimeGzip => "gzip of MIME multipart",
        })
    }
}

/// Why no user data is made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A source that an instance would refuse.
    #[error(transparent)]
    Invalid(#[from] Error),
    /// A source that is itself wrapped.
    #[error("{0} is wrapped already: pass what is in it")]
    Wrapped(Label),
    /// Places that look like secrets; at least one.
    #[error("{}", list(.0))]
    Secret(Vec<Finding>),
    /// No form fits.
    #[error(
        "user data is {plain} bytes and {size} as {form}, EC2 takes at most {LIMIT} before base64: fetch the rest from S3 in a script"
    )]
    TooLarge {
        /// Of all sources together.
        plain: usize,
        /// Of the smallest form.
        size: usize,
        /// That form.
        form: Form,
    },
}

fn list(findings: &[Finding]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Makes user data of the sources, in their order; what it gives back, [`crate::parse`] reads as those sources.
pub fn compose(sources: &[Source]) -> Result<Composed, Refusal> {
    let mut findings = Vec::new();
    let mut kinds = Vec::new();
    let mut budget = Budget::new();
    for (index, source) in sources.iter().enumerate() {
        let label = Label { number: vec![index + 1], filename: source.filename.clone() };
        if index == PARTS {
            return Err(Error::new(Some(&label), 0, Reason::TooManyParts).into());
        }
        let mut reader = Reader { budget: &mut budget, label: Some(label.clone()), depth: 0, declared: None };
        let content = reader.read(&source.bytes)?;
        let (content_type, files): (_, &[File]) = match &content {
            _ if crate::kind::is_wrapped(&source.bytes) => return Err(Refusal::Wrapped(label)),
            UserData::Script(_) => ("text/x-shellscript", &[]),
            UserData::Kiln(kiln) => ("text/x-kiln", &kiln.files),
            UserData::CloudConfig(config) => ("text/cloud-config", &config.files),
            UserData::Empty | UserData::Left(_) | UserData::Multipart(_) => ("text/plain", &[]),
        };
        kinds.push(content_type);
        findings.extend(secret::scan(&source.bytes, &label, None));
        for file in files {
            // What stands in the document as it is has been looked at; what is encoded there has not.
            if !contains(&source.bytes, &file.content) {
                findings.extend(secret::scan(&file.content, &label, Some(&file.path)));
            }
        }
    }
    if !findings.is_empty() {
        return Err(Refusal::Secret(findings));
    }
    let (bytes, wrapped) = match sources {
        [] => (Vec::new(), false),
        [source] => (source.bytes.clone(), false),
        _ => (message(sources, &kinds), true),
    };
    let composed = fit(bytes, wrapped, sources)?;
    // An instance judges by this; what it would refuse is not handed out.
    crate::parse(&composed.bytes)?;
    Ok(composed)
}

fn fit(bytes: Vec<u8>, wrapped: bool, sources: &[Source]) -> Result<Composed, Refusal> {
    let (form, packed_form) = if wrapped { (Form::Mime, Form::MimeGzip) } else { (Form::Plain, Form::Gzip) };
    if bytes.len() <= LIMIT {
        return Ok(Composed { bytes, form });
    }
    let packed = gzip::pack(&bytes);
    if packed.len() <= LIMIT {
        return Ok(Composed { bytes: packed, form: packed_form });
    }
    let plain = sources.iter().map(|source| source.bytes.len()).sum();
    let (size, form) =
        if packed.len() < bytes.len() { (packed.len(), packed_form) } else { (bytes.len(), form) };
    Err(Refusal::TooLarge { plain, size, form })
}

fn message(sources: &[Source], kinds: &[&str]) -> Vec<u8> {
    let boundary = boundary(sources);
    let mut text =
        format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\nMIME-Version: 1.0\n\n").into_bytes();
    for (source, kind) in sources.iter().zip(kinds) {
        let plain = is_plain(&source.bytes);
        let encoding = if plain { "7bit" } else { "base64" };
        let filename = source.filename.as_deref().map(disposition).unwrap_or_default();
        text.extend_from_slice(
            format!(
                "--{boundary}\nContent-Type: {kind}\nMIME-Version: 1.0\nContent-Transfer-Encoding: {encoding}\n{filename}\n"
            )
            .as_bytes(),
        );
        if plain {
            text.extend_from_slice(&source.bytes);
            text.push(b'\n');
        } else {
            text.extend_from_slice(&transfer::to_base64(&source.bytes));
        }
    }
    text.extend_from_slice(format!("--{boundary}--\n").as_bytes());
    text
}

/// Text that a mail reader hands on unchanged: ASCII in lines of at most 998 (RFC 5322), ended by LF. Python's mail
/// reader, which is cloud-init's, damages other bytes.
fn is_plain(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'\n' | b'\t' | b' '..=b'~'))
        && bytes.split(|byte| *byte == b'\n').all(|line| line.len() <= 998)
}

/// A boundary that no source holds; the same sources give the same one.
fn boundary(sources: &[Source]) -> String {
    let mut number = 0_usize;
    loop {
        let boundary = format!("==kiln-{number}==");
        if !sources.iter().any(|source| contains(&source.bytes, boundary.as_bytes())) {
            return boundary;
        }
        number += 1;
    }
}

fn disposition(name: &str) -> String {
    let simple = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if name.bytes().all(simple) {
        return format!("Content-Disposition: attachment; filename=\"{name}\"\n");
    }
    let coded: String = name
        .bytes()
        .map(|byte| if simple(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    format!("Content-Disposition: attachment; filename*=utf-8''{coded}\n")
}

fn contains(hay: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || hay.windows(needle.len()).any(|window| window == needle)
}
