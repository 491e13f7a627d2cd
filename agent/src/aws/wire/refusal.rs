//! What a service says when it refuses: a code and a message, in JSON or, from S3, in XML.

use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

/// A message longer than this is cut: it goes to the journal and the board.
const MESSAGE_LIMIT: usize = 500;
/// A code longer than this is none.
const CODE_LIMIT: usize = 100;

/// An answer other than 2xx.
#[derive(Debug)]
pub(in crate::aws) struct Refusal {
    status: u16,
    said: ErrorMetadata,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "answered {}", self.status)
    }
}

impl std::error::Error for Refusal {}

impl ProvideErrorMetadata for Refusal {
    fn meta(&self) -> &ErrorMetadata {
        &self.said
    }
}

impl Refusal {
    /// Reads an answer of any content: what makes no sense is left out, and the status stays. The code stands in the
    /// header `x-amzn-errortype` or in the body, with a namespace before a `#` or an address after a `:`.
    pub(in crate::aws) fn read(status: u16, header: Option<&str>, body: &[u8]) -> Self {
        let text = std::str::from_utf8(body).unwrap_or_default().trim_start();
        let (in_body, message) = if text.starts_with('<') { xml(text) } else { json(text) };
        let code = header.and_then(bare).or_else(|| in_body.as_deref().and_then(bare));
        let mut said = ErrorMetadata::builder();
        if let Some(code) = code {
            said = said.code(code);
        }
        if let Some(message) = message {
            said = said.message(message.chars().take(MESSAGE_LIMIT).collect::<String>());
        }
        Self { status, said: said.build() }
    }
}

/// The name alone; `None` when it is none that a service would give.
fn bare(code: &str) -> Option<String> {
    let code = code.split(':').next().unwrap_or_default();
    let code = code.rsplit('#').next().unwrap_or_default().trim();
    let plain = code.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    (plain && !code.is_empty() && code.len() <= CODE_LIMIT).then(|| code.to_owned())
}

fn json(text: &str) -> (Option<String>, Option<String>) {
    let Ok(said) = serde_json::from_str::<serde_json::Value>(text) else {
        return (None, None);
    };
    let field = |names: [&str; 2]| names.iter().find_map(|name| Some(said.get(*name)?.as_str()?.to_owned()));
    (field(["__type", "code"]), field(["message", "Message"]))
}

fn xml(text: &str) -> (Option<String>, Option<String>) {
    let field = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0.to_owned())
    };
    (field("Code"), field("Message"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_code_is_found_wherever_a_service_puts_it() {
        let throttled = r#"{"__type":"ThrottlingException","message":"slow"}"#;
        let bucket = "<?xml version=\"1.0\"?>\n<Error><Code>NoSuchBucket</Code><Message>no</Message></Error>";
        // An empty word stands for none.
        let table = [
            ("", throttled, "ThrottlingException", "slow"),
            ("", r#"{"__type":"com.amazon.coral#ParameterNotFound"}"#, "ParameterNotFound", ""),
            ("AccessDeniedException:http://x/", "{}", "AccessDeniedException", ""),
            ("", r#"{"code":"Slow","Message":"m"}"#, "Slow", "m"),
            ("", bucket, "NoSuchBucket", "no"),
            ("", "<html>502 Bad Gateway</html>", "", ""),
            ("", r#"{"__type":7,"message":["x"]}"#, "", ""),
            ("bad\u{7f}code", "", "", ""),
        ];
        for (header, body, code, message) in table {
            let refusal = Refusal::read(400, Some(header).filter(|text| !text.is_empty()), body.as_bytes());
            let said = (refusal.code().unwrap_or_default(), refusal.message().unwrap_or_default());
            assert_eq!(said, (code, message), "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_a_refusal(
            status in 300..=999_u16,
            header in proptest::option::of("\\PC{0,200}"),
            body in proptest::collection::vec(any::<u8>(), 0..400),
            text in "[<{]?(<Code>|\"__type\":|</Code>|[a-z\"#:<>{}\\\\])*",
        ) {
            for body in [&body[..], text.as_bytes()] {
                let refusal = Refusal::read(status, header.as_deref(), body);
                prop_assert!(refusal.code().is_none_or(|code| !code.is_empty() && code.len() <= CODE_LIMIT));
                prop_assert!(refusal.message().is_none_or(|text| text.chars().count() <= MESSAGE_LIMIT));
            }
        }
    }
}
