//! Logging: to the journal with `KILN_` fields under systemd, to stderr elsewhere; `KILN_LOG` filters.

use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

/// What is logged unless `KILN_LOG` says otherwise.
const DEFAULT: &str = "info";
/// The targets that may log at all. The SDK and what it stands on log whole requests and responses, with session tokens
/// and metadata tokens in them: no filter opens those. What matters of them is in the agent's own errors.
const OURS: [&str; 2] = ["kiln_agent", "kiln_userdata"];

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
    let given: Targets = wanted.parse().map_err(|error| {
        format!("KILN_LOG '{wanted}' is no filter ({error}): write 'debug' or 'warn,kiln_agent=debug'")
    })?;
    // A target without a directive of its own takes the level that was given for all; none given is none wanted.
    let all = given.default_level().unwrap_or(LevelFilter::OFF);
    let ours = given.iter().filter(|(target, _)| OURS.iter().any(|name| is_within(target, name)));
    Ok(Targets::new().with_targets(OURS.map(|name| (name, all))).with_targets(ours))
}

/// Whether `target` is the crate `name` or a module of it.
fn is_within(target: &str, name: &str) -> bool {
    target.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn a_filter_is_a_level_or_levels_by_target() {
        let enabled = |wanted: &str, target, level| {
            filter(wanted).expect("a valid filter").would_enable(target, &level)
        };
        let hook = "kiln_agent::hook";
        assert!(enabled("", hook, Level::INFO) && !enabled("", hook, Level::DEBUG));
        assert!(enabled("debug", hook, Level::DEBUG) && !enabled("off", hook, Level::ERROR));
        assert!(enabled("warn,kiln_agent::hook=debug", hook, Level::DEBUG));
        assert!(!enabled("warn,kiln_agent::hook=debug", "kiln_agent::drain", Level::INFO));
        assert!(
            filter("kiln_agent=loud").is_err_and(|error| error.starts_with("KILN_LOG 'kiln_agent=loud'"))
        );
    }

    #[test]
    fn no_filter_opens_what_logs_tokens() {
        let foreign = [
            "aws_smithy_runtime::client::orchestrator",
            "aws_config::imds::credentials",
            "hyper_util::client::legacy::pool",
            "rustls::conn",
        ];
        let wanted = [
            "",
            "trace",
            "trace,aws_smithy_runtime=trace",
            "aws_config=trace",
            "k=trace",
            "=trace",
            "hyper_util=error",
        ];
        for wanted in wanted {
            let filter = filter(wanted).expect("a valid filter");
            for target in foreign {
                assert!(!filter.would_enable(target, &Level::ERROR), "'{wanted}' opens {target}");
            }
        }
    }
}
