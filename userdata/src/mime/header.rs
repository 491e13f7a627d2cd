//! MIME headers: names, values, parameters; folded lines, quoted strings and RFC 2231's encoded file names.

use super::{Broken, broken};
use std::ops::Range;

/// The headers of an entity that mean something here.
#[derive(Debug, Default)]
pub(crate) struct Headers {
    list: Vec<Header>,
}

/// One header, unfolded.
#[derive(Debug)]
pub(crate) struct Header {
    name: String,
    /// Where its line begins.
    pub(crate) offset: usize,
    /// The value before the first `;`.
    pub(crate) value: String,
    parameters: Vec<(String, String)>,
}

impl Headers {
    /// The header of that name, in lower case.
    pub(crate) fn get(&self, name: &str) -> Option<&Header> {
        self.list.iter().find(|header| header.name == name)
    }

    /// The content type in lower case, `text/plain` if there is none (RFC 2045, 5.2).
    pub(crate) fn content_type(&self) -> String {
        self.get("content-type")
            .map_or_else(|| "text/plain".to_owned(), |header| header.value.to_ascii_lowercase())
    }

    /// The part's file name, without what would upset a terminal.
    pub(crate) fn filename(&self) -> Option<String> {
        let named = |header: &str, parameter: &str| self.get(header)?.parameter(parameter);
        let name = named("content-disposition", "filename").or_else(|| named("content-type", "name"))?;
        let name: String = name.chars().filter(|letter| !letter.is_control()).take(128).collect();
        (!name.is_empty()).then_some(name)
    }
}

impl Header {
    /// A parameter's value; the form with `*` wins (RFC 2231).
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        let find =
            |name: &str| self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value);
        if let Some(extended) = find(&format!("{name}*")) {
            let coded = extended.splitn(3, '\'').nth(2).unwrap_or(extended);
            return Some(percent(coded));
        }
        find(name).cloned()
    }
}

/// Reads the lines at those ranges.
pub(super) fn parse(raw: &[u8], lines: &[Range<usize>]) -> Result<Headers, Broken> {
    let mut unfolded: Vec<(usize, String)> = Vec::new();
    for range in lines {
        let text = String::from_utf8_lossy(&raw[range.clone()]).into_owned();
        match unfolded.last_mut() {
            Some((_, header)) if text.starts_with([' ', '\t']) => {
                header.push(' ');
                header.push_str(text.trim());
            }
            _ => unfolded.push((range.start, text)),
        }
    }
    let mut headers = Headers::default();
    for (offset, text) in unfolded {
        let (name, value) =
            text.split_once(':').ok_or((offset, broken("a header line has no ':'".to_owned())))?;
        let name = name.trim_end().to_ascii_lowercase();
        if name.is_empty() || name.contains(|letter: char| !letter.is_ascii_graphic()) {
            return Err((offset, broken("a header's name is not one word".to_owned())));
        }
        if name.starts_with("content-") && headers.get(&name).is_some() {
            return Err((offset, broken(format!("the header '{name}' is there twice"))));
        }
        let (value, parameters) = parameters(value);
        headers.list.push(Header { name, offset, value, parameters });
    }
    Ok(headers)
}

/// `value; name=value; name="quoted"`.
fn parameters(text: &str) -> (String, Vec<(String, String)>) {
    let mut pieces = pieces(text).into_iter();
    let value = pieces.next().unwrap_or_default().trim().to_owned();
    let parameters = pieces
        .filter_map(|piece| {
            let (name, value) = piece.split_once('=')?;
            Some((name.trim().to_ascii_lowercase(), unquote(value.trim())))
        })
        .collect();
    (value, parameters)
}

/// Splits at `;` outside quotes.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for letter in text.chars() {
        if letter == ';' && !quoted {
            pieces.push(String::new());
            continue;
        }
        quoted ^= letter == '"' && !escaped;
        escaped = letter == '\\' && quoted && !escaped;
        if let Some(piece) = pieces.last_mut() {
            piece.push(letter);
        }
    }
    pieces
}

fn unquote(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else {
        return text.to_owned();
    };
    let mut plain = String::with_capacity(inner.len());
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        plain.push(if letter == '\\' { letters.next().unwrap_or('\\') } else { letter });
    }
    plain
}

fn percent(coded: &str) -> String {
    let mut bytes = Vec::with_capacity(coded.len());
    let mut rest = coded.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        let pair = tail.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        let decoded = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).filter(|_| *byte == b'%');
        bytes.push(decoded.unwrap_or(*byte));
        rest = if decoded.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
