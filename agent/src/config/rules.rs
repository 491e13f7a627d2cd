//! The rules between keys: each message names the keys, and what to do.

use super::{Config, Probe};

impl Config {
    /// The first broken rule between keys.
    pub(super) fn rules(&self) -> Option<String> {
        let name_twice = self.checks.iter().enumerate().find_map(|(at, check)| {
            let same = self.checks[..at].iter().any(|earlier| earlier.name == check.name);
            same.then(|| format!("health.check '{}' is defined twice: rename one", check.name))
        });
        let url = |key: &str, url: &str| {
            crate::fetch::Url::parse(url)
                .err()
                .map(|error| format!("{key} '{url}' is no URL that can be asked: {error}"))
        };
        let check_url = self.checks.iter().find_map(|check| match &check.probe {
            Probe::Http(address) => url(&format!("health.check '{}' http", check.name), address),
            _ => None,
        });
        let pairs = [
            (self.quiet >= self.drain_max, "drain.quiet must be shorter than drain.max"),
            (self.scripts.iter().any(Vec::is_empty), "drain.scripts holds an empty command"),
        ];
        name_twice
            .or(check_url)
            .or_else(|| self.stub_status.as_deref().and_then(|address| url("drain.stub_status", address)))
            .or_else(|| pairs.iter().find(|(broken, _)| *broken).map(|(_, rule)| (*rule).to_owned()))
            .or_else(|| self.metrics.rules())
            .or_else(|| self.record.rules())
    }
}
