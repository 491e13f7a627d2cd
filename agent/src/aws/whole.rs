//! An XML answer that is cut short is no answer. The SDK's parser takes what it was given for all there is: a list that
//! ends early would read as a list without our row, and a target as gone.

use aws_sdk_autoscaling::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_autoscaling::config::{ConfigBag, Intercept, RuntimeComponents};

/// Turns successes with an unfinished body into errors.
#[derive(Debug)]
pub(super) struct Whole;

impl Intercept for Whole {
    fn name(&self) -> &'static str {
        "whole answers"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let answer = context.response();
        // A refusal decides nothing by what it lacks.
        if !answer.status().is_success() || answer.body().bytes().is_some_and(is_whole) {
            return Ok(());
        }
        Err("answer is cut short".into())
    }
}

/// Whether the last thing is the end of the root element.
fn is_whole(body: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(body.trim_ascii()) else {
        return false;
    };
    // Past the declaration, if there is one.
    let root =
        text.strip_prefix("<?xml").and_then(|rest| rest.split_once("?>")).map_or(text, |(_, root)| root);
    let root = root.trim_start().strip_prefix('<').unwrap_or_default();
    let name =
        root.split(|c: char| c.is_ascii_whitespace() || c == '>' || c == '/').next().unwrap_or_default();
    let closed = |rest: &str| rest.strip_suffix(name).is_some_and(|rest| rest.ends_with("</"));
    !name.is_empty() && text.strip_suffix('>').is_some_and(closed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_of_an_answer_is_whole() {
        for declaration in ["", "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n  "] {
            let text = format!(
                "{declaration}<AResponse xmlns=\"http://a/\"><AResult><B>c</B></AResult></AResponse>"
            );
            for cut in 0..text.len() {
                assert!(!is_whole(&text.as_bytes()[..cut]), "{}", &text[..cut]);
            }
            assert!(is_whole(text.as_bytes()));
            assert!(is_whole(format!("{text}\n").as_bytes()));
        }
        for body in [&b""[..], b"<", b"<>", b"</>", b"plain", b"<a></b>", b"\xff\xfe", b"<?xml"] {
            assert!(!is_whole(body), "{}", String::from_utf8_lossy(body));
        }
    }
}
