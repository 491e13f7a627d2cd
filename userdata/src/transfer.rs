//! Content transfer encodings of MIME (RFC 2045): base64 and quoted-printable to bytes.
//!
//! Quoted-printable is decoded here: the crate for it turns all line ends into CR LF, which breaks scripts.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Padding is optional, as mail readers and cloud-init have it.
const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Offset in the encoded bytes at which they stop making sense.
pub(crate) type Offset = usize;

/// Decodes base64, white space anywhere.
pub(crate) fn base64(coded: &[u8]) -> Result<Vec<u8>, Offset> {
    let dense: Vec<u8> = coded.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    ENGINE.decode(&dense).map_err(|error| {
        let at = match error {
            base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
            _ => dense.len(),
        };
        let mut solid = coded.iter().enumerate().filter(|(_, byte)| !byte.is_ascii_whitespace());
        solid.nth(at).map_or(coded.len(), |(offset, _)| offset)
    })
}

/// Encodes to base64 in lines of 76, each ended by LF.
pub(crate) fn to_base64(bytes: &[u8]) -> Vec<u8> {
    let coded = ENGINE.encode(bytes).into_bytes();
    let mut lines = Vec::with_capacity(coded.len() + coded.len() / 76 + 1);
    for line in coded.chunks(76) {
        lines.extend_from_slice(line);
        lines.push(b'\n');
    }
    lines
}

/// Decodes quoted-printable; line ends stay as they are.
pub(crate) fn quoted_printable(coded: &[u8]) -> Result<Vec<u8>, Offset> {
    let mut bytes = Vec::with_capacity(coded.len());
    let mut offset = 0;
    for line in coded.split_inclusive(|byte| *byte == b'\n') {
        let text = line.trim_ascii_end();
        let soft = text.last() == Some(&b'=');
        let text = text.strip_suffix(b"=").unwrap_or(text);
        let mut rest = text;
        while let Some((byte, tail)) = rest.split_first() {
            if *byte == b'=' {
                let pair = tail.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
                let decoded = pair
                    .filter(|pair| pair.bytes().all(|digit| digit.is_ascii_hexdigit()))
                    .and_then(|pair| u8::from_str_radix(pair, 16).ok());
                bytes.push(decoded.ok_or(offset + text.len() - rest.len())?);
                rest = &tail[2..];
            } else {
                bytes.push(*byte);
                rest = tail;
            }
        }
        if !soft {
            // White space before a line's end was added on the way (RFC 2045, 6.7, rule 3); the line end was not.
            let end: &[u8] = if line.ends_with(b"\r\n") {
                b"\r\n"
            } else if line.ends_with(b"\n") {
                b"\n"
            } else {
                b""
            };
            bytes.extend_from_slice(end);
        }
        offset += line.len();
    }
    Ok(bytes)
}
