//! `rehearsal.html`: a play on one page that needs nothing else.

use anyhow::{Context, Result};
use minijinja::value::{Serde, Value};
use minijinja::{Environment, UndefinedBehavior, context};

use crate::rehearsal::Rehearsal;

/// The name ends in `.html`: that is what turns escaping on.
const NAME: &str = "rehearsal.html";

/// Renders the page; all that came from outside is escaped.
///
/// # Errors
/// When the template and [`Rehearsal`] disagree, which a test rules out.
pub fn render(rehearsal: &Rehearsal) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
        .add_template(NAME, include_str!("html/rehearsal.html.j2"))
        .context("failed to read the page's template")?;
    let page = environment.get_template(NAME).context("failed to find the page's template")?;
    // Polls of IMDS are many and alike: the page counts them, the JSON has them all.
    let (imds, calls): (Vec<_>, Vec<_>) =
        rehearsal.requests.iter().partition(|request| request.service == "imds");
    let (rehearsal, calls) = (Value::from(Serde(rehearsal)), Value::from(Serde(&calls)));
    page.render(context! { rehearsal, calls, imds => imds.len() }).context("failed to render the page")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::load::{Failure, LoadSummary};
    use crate::record::Request;
    use crate::rehearsal::{Event, Promise, Snapshot, Verdict, Who};

    #[test]
    fn the_page_shows_everything_and_escapes_it() {
        let page = render(&rehearsal()).unwrap();
        for shown in [
            "shop &lt;b&gt;",
            "kept &lt;i&gt;",
            "journal &lt;script&gt;",
            "DeregisterTargets",
            "status 502 &lt;",
        ] {
            assert!(page.contains(shown), "{shown} in {page}");
        }
        for raw in ["<b>", "<i>", "<script>"] {
            assert!(!page.contains(raw), "{raw} in {page}");
        }
        assert!(!page.contains("http://") && !page.contains("https://"), "the page needs nothing else");
    }

    fn rehearsal() -> Rehearsal {
        let failure = Failure { at: 1.0, path: "/".to_owned(), reason: "status 502 <".to_owned() };
        Rehearsal {
            scenario: "life".to_owned(),
            subject: "shop <b>".to_owned(),
            started_at: "2026-01-01T00:00:00Z".to_owned(),
            seconds: 47.5,
            verdict: Verdict::Broken,
            promises: vec![Promise {
                promise: "kept <i>".to_owned(),
                kept: true,
                reached: true,
                evidence: "so".to_owned(),
            }],
            figures: BTreeMap::from([("boot_to_ready_s".to_owned(), 9.0)]),
            load: LoadSummary { failed: 1, failures: vec![failure], ..LoadSummary::default() },
            snapshots: vec![Snapshot {
                at: 3.0,
                moment: "serving".to_owned(),
                healthz: Some(200),
                readyz: None,
                status: json!({"phase": "serving"}),
            }],
            timeline: vec![Event { at: 0.0, who: Who::Stage, text: "the stage is set".to_owned() }],
            requests: vec![Request {
                at: 2.0,
                service: "elasticloadbalancing".to_owned(),
                action: "DeregisterTargets".to_owned(),
                instance: None,
                state: None,
                parameters: json!({}),
                status: 200,
                error: String::new(),
                notes: BTreeMap::new(),
            }],
            journal_tail: vec!["journal <script>".to_owned()],
        }
    }
}
