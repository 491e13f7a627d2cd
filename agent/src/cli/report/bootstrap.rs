//! The bootstrap in one line: the part that it is at.

use crate::board::Status;
use crate::bootstrap::Step;

/// What a bootstrapping instance waits for.
pub(super) fn waiting(status: &Status) -> String {
    let parts = status.bootstrap.as_ref().map(|report| report.parts.as_slice()).unwrap_or_default();
    let at = parts.iter().position(|part| matches!(part.step, Step::Running | Step::Failed));
    match at.and_then(|at| Some((at, parts.get(at)?))) {
        Some((at, part)) => {
            let word = if part.step == Step::Running { "runs" } else { "has failed" };
            format!("'{}', part {} of {} of the user data, {word}", part.name, at + 1, parts.len())
        }
        None => "kiln-bootstrap.service, which does what the user data asks for".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_that_runs_or_has_failed_is_named() {
        let mut status = crate::fake::board().snapshot();
        assert!(waiting(&status).starts_with("kiln-bootstrap.service"));
        for (step, word) in [("running", "runs"), ("failed", "has failed")] {
            let parts = format!(r#"[{{"name":"a","step":"earlier"}},{{"name":"migrate","step":"{step}"}}]"#);
            let rest =
                r#""outcome":"running","ran":true,"started":"","elapsed_ms":1,"progress":4,"advanced":0"#;
            status.bootstrap =
                serde_json::from_str(&format!(r#"{{{rest},"parts":{parts}}}"#)).expect("a report");
            assert_eq!(waiting(&status), format!("'migrate', part 2 of 2 of the user data, {word}"));
        }
    }
}
