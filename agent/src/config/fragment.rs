//! One configuration file as written: every key optional, unknown keys refused, merged in order.

use super::{Check, Probe, Published, RecordTo};
use crate::lifecycle::OnFailure;
use serde::{Deserialize, Deserializer, de::Error as _};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

/// A name that is given, or found out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Selector {
    /// Ask AWS.
    #[default]
    Auto,
    /// Use this.
    Named(String),
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        match name.as_str() {
            "" => Err(D::Error::custom("a name is empty: give it, or write \"auto\"")),
            "auto" => Ok(Self::Auto),
            _ => Ok(Self::Named(name)),
        }
    }
}

/// What a rebalance recommendation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rebalance {
    /// It is logged: draining on advice alone removes capacity that nothing replaces.
    #[default]
    Report,
    /// It starts a drain.
    Drain,
}

/// Who runs the user data on an image that has cloud-init.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CloudInit {
    /// The agent; cloud-init must have been told not to.
    #[default]
    TakeOver,
    /// cloud-init, but for `#kiln` documents, which the agent does when that one has ended.
    Wait,
}

/// A length of time, written `"30s"`, `"2m"`, `"500ms"`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span(pub(super) Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let span = humantime::parse_duration(&text).map_err(|error| {
            D::Error::custom(format!("'{text}' is no duration ({error}): write \"30s\" or \"2m\""))
        })?;
        // A day bounds every wait there is; hooks themselves last 48 h at most.
        if span.is_zero() || span > Duration::from_hours(24) {
            return Err(D::Error::custom(format!("'{text}' must be more than zero and at most one day")));
        }
        Ok(Self(span))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Fragment {
    pub(super) imds: Imds,
    pub(super) health: Health,
    pub(super) lifecycle: Lifecycle,
    pub(super) drain: Drain,
    pub(super) spot: Spot,
    pub(super) metrics: Metrics,
    pub(super) record: Record,
    pub(super) bootstrap: Bootstrap,
}

/// Declares a table of optional keys, of which a later fragment's win.
macro_rules! table {
    ($name:ident { $($key:ident: $type:ty),+ $(,)? } $(list $list:ident: $item:ty)?) => {
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(super) struct $name {
            $(pub(super) $key: Option<$type>,)+
            $(pub(super) $list: Vec<$item>,)?
        }

        impl $name {
            fn merge(&mut self, later: Self) {
                $(if later.$key.is_some() { self.$key = later.$key; })+
                $(self.$list.extend(later.$list);)?
            }
        }
    };
}

table!(Imds { poll: Span });
table!(Health { listen: SocketAddr, ready_after: NonZeroU32, unready_after: NonZeroU32 } list check: CheckFragment);
table!(Lifecycle {
    group: Selector,
    launch_hook: Selector,
    terminate_hook: Selector,
    ready_deadline: Span,
    on_failure: OnFailure,
});
table!(Drain {
    target_groups: TargetGroups,
    ports: Vec<u16>,
    quiet: Span,
    max: Span,
    margin: Span,
    scripts: Vec<Vec<String>>,
    stub_status: String,
});
table!(Spot { rebalance: Rebalance });
table!(Metrics {
    enabled: bool,
    namespace: String,
    publish: Vec<Published>,
    sample: Span,
    period: Span,
    resolution: Span,
    dimensions: Vec<String>,
});
table!(Record { to: RecordTo, log_group: String, bucket: String, prefix: String });
table!(Bootstrap { timeout: Span, imds_wait: Span, cloud_init: CloudInit });

impl Fragment {
    /// Parses one file; the error begins `name:line:column:` and ends with the line and a caret.
    pub(super) fn parse(text: &str, name: &str) -> Result<Self, String> {
        parse(text, name)
    }

    /// Parses the `[agent]` table of a document that holds others too.
    pub(super) fn parse_agent(text: &str, name: &str) -> Result<Self, String> {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Document {
            agent: Fragment,
        }
        parse(text, name).map(|document: Document| document.agent)
    }

    /// Takes in a later fragment: its keys win, its checks are added.
    pub(super) fn merge(&mut self, later: Self) {
        self.imds.merge(later.imds);
        self.health.merge(later.health);
        self.lifecycle.merge(later.lifecycle);
        self.drain.merge(later.drain);
        self.spot.merge(later.spot);
        self.metrics.merge(later.metrics);
        self.record.merge(later.record);
        self.bootstrap.merge(later.bootstrap);
    }
}

fn parse<T: serde::de::DeserializeOwned>(text: &str, name: &str) -> Result<T, String> {
    toml::from_str(text).map_err(|error| {
        let (line, column) = error.span().map_or((1, 1), |span| position(text, span.start));
        format!("{name}:{line}:{column}: {}\n{}", error.message(), error.to_string().trim_end())
    })
}

fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let line = before.split(|byte| *byte == b'\n').count();
    (line, 1 + before.len() - line_start)
}

/// `"auto"`, or ARNs.
#[derive(Debug)]
pub(super) struct TargetGroups(Option<Vec<String>>);

impl TargetGroups {
    pub(super) fn explicit(self) -> Option<Vec<String>> {
        self.0
    }
}

impl<'de> Deserialize<'de> for TargetGroups {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected \"auto\" or a list of target group ARNs")]
        enum Written {
            Word(String),
            Arns(Vec<String>),
        }
        match Written::deserialize(from)? {
            Written::Word(word) if word == "auto" => Ok(Self(None)),
            Written::Word(word) => {
                Err(D::Error::custom(format!("'{word}' is neither \"auto\" nor a list of ARNs")))
            }
            Written::Arns(arns) => match arns.iter().find(|arn| !arn.contains(":targetgroup/")) {
                Some(arn) => Err(D::Error::custom(format!("'{arn}' is no target group ARN"))),
                None => Ok(Self(Some(arns))),
            },
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckFragment {
    name: String,
    http: Option<String>,
    unix: Option<PathBuf>,
    tcp: Option<String>,
    command: Option<Vec<String>>,
    every: Option<Span>,
    timeout: Option<Span>,
}

impl CheckFragment {
    /// The check, when exactly one probe is given and it can be asked.
    pub(super) fn check(self) -> Result<Check, String> {
        let Self { name, http, unix, tcp, command, every, timeout } = self;
        let probe = match (http, unix, tcp, command) {
            (Some(url), None, None, None) => Probe::Http(url),
            (None, Some(path), None, None) => Probe::Unix(path),
            (None, None, Some(address), None) => Probe::Tcp(address),
            (None, None, None, Some(argv)) if argv.is_empty() => {
                return Err(format!("health.check '{name}' has an empty command"));
            }
            (None, None, None, Some(argv)) => Probe::Command(argv),
            _ => {
                return Err(format!(
                    "health.check '{name}' needs exactly one of http, unix, tcp and command"
                ));
            }
        };
        let span = |given: Option<Span>, default| given.map_or(Duration::from_secs(default), |span| span.0);
        Ok(Check { name, probe, every: span(every, 2), timeout: span(timeout, 2) })
    }
}
