//! Logging: to the journal with `KILN_` fields under systemd, to stderr elsewhere; `KILN_LOG` filters.

use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

/// What is logged unless `KILN_LOG` says otherwise. The SDK warns with whole responses, tokens included; what matters of
/// them is in the agent's own errors.
const DEFAULT: &str = "error,kiln_agent=info";

/// Sets logging up, once per process. The error says what is wrong with `KILN_LOG`.
pub fn init() -> Result<(), String> {
    let wanted = std::env::var("KILN_LOG").unwrap_or_default();
    let filter = filter(&wanted)?;
    // systemd sets it where stderr is the journal's; then events go there as fields.
    let journal =
        std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok()).map(|layer| {
            layer.with_field_prefix(Some("KILN".to_owned())).with_priority_mappings(PriorityMappings {
                error: Priority::Error,
                warn: Priority::Warning,
                info: Priority::Informational,
                debug: Priority::Debug,
                trace: Priority::Debug,
            })
        });
    let stderr = journal.is_none().then(|| {
        tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .with_target(false)
    });
    tracing_subscriber::registry().with(filter).with(journal).with(stderr).init();
    Ok(())
}

fn filter(wanted: &str) -> Result<Targets, String> {
    let wanted = if wanted.is_empty() { DEFAULT } else { wanted };
    wanted.parse().map_err(|error| {
        format!("KILN_LOG '{wanted}' is no filter ({error}): write 'debug' or 'warn,kiln_agent=debug'")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn a_filter_is_a_level_or_levels_by_target() {
        let enabled = |wanted: &str, level| {
            filter(wanted).expect("a valid filter").would_enable("kiln_agent::hook", &level)
        };
        assert!(enabled("", Level::INFO) && !enabled("", Level::DEBUG));
        assert!(enabled("debug", Level::DEBUG) && !enabled("off", Level::ERROR));
        assert!(
            filter("kiln_agent=loud").is_err_and(|error| error.starts_with("KILN_LOG 'kiln_agent=loud'"))
        );
    }
}
