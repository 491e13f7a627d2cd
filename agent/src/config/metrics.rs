//! `[metrics]`: what is published to `CloudWatch`, how finely, and how often.

use super::fragment;
use serde::Deserialize;
use std::time::Duration;

/// The settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// Whether anything is published.
    pub enabled: bool,
    /// The namespace.
    pub namespace: String,
    /// What is published, each under each dimension.
    pub publish: Vec<Published>,
    /// Time between two samples.
    pub sample: Duration,
    /// Time between two calls.
    pub period: Duration,
    /// How finely `CloudWatch` keeps the datums: 10 s or 60 s.
    pub resolution: Duration,
    /// The dimensions, a datum each: `InstanceId`, `AutoScalingGroupName`.
    pub dimensions: Vec<String>,
}

/// Something that is measured, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Published {
    /// The CPUs' time but idle and iowait.
    Cpu,
    /// The CPUs' time in user code.
    User,
    /// The CPUs' time in the kernel.
    System,
    /// The CPUs' idle time while a disk was waited for.
    Iowait,
    /// The CPUs' time that was wanted and given to another guest.
    Steal,
    /// Memory in use.
    Memory,
    /// The root file system in use.
    Disk,
}

impl Published {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Cpu, Self::User, Self::System, Self::Iowait, Self::Steal, Self::Memory, Self::Disk];

    /// Its place in [`Published::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// The metric's name.
    pub fn metric(self) -> &'static str {
        match self {
            Self::Cpu => "CPUUtilization",
            Self::User => "CPUUser",
            Self::System => "CPUSystem",
            Self::Iowait => "CPUIowait",
            Self::Steal => "CPUSteal",
            Self::Memory => "MemoryUtilization",
            Self::Disk => "DiskUtilization",
        }
    }
}

impl Metrics {
    pub(super) fn new(given: fragment::Metrics) -> Self {
        let seconds =
            |span: Option<fragment::Span>, default| span.map_or(Duration::from_secs(default), |span| span.0);
        Self {
            enabled: given.enabled.unwrap_or(true),
            namespace: given.namespace.unwrap_or_else(|| "Kiln".to_owned()),
            publish: given.publish.unwrap_or_else(|| vec![Published::Cpu]),
            sample: seconds(given.sample, 1),
            period: seconds(given.period, 60),
            resolution: seconds(given.resolution, 60),
            dimensions: given
                .dimensions
                .unwrap_or_else(|| vec!["InstanceId".to_owned(), "AutoScalingGroupName".to_owned()]),
        }
    }

    /// `StorageResolution`: 1 keeps each datum for three hours, 60 adds up those of a minute.
    pub fn storage_resolution(&self) -> i32 {
        if self.resolution < Duration::from_mins(1) { 1 } else { 60 }
    }

    /// The first broken rule between keys.
    pub(super) fn rules(&self) -> Option<String> {
        let ten = Duration::from_secs(10);
        let twice = |at: usize| self.publish[..at].contains(&self.publish[at]);
        let pairs = [
            (self.sample > ten, "metrics.sample must be at most 10s: a datum covers ten seconds"),
            (self.period < ten, "metrics.period must be at least 10s: a datum covers ten seconds"),
            (
                self.resolution != ten && self.resolution != Duration::from_mins(1),
                "metrics.resolution must be 10s or 60s: CloudWatch keeps each datum, or those of a minute",
            ),
            (
                self.namespace.is_empty() || self.namespace.starts_with("AWS/"),
                "metrics.namespace must be a name, and not one of AWS' own: set metrics.enabled = false for none",
            ),
            (
                self.publish.is_empty() || self.dimensions.is_empty(),
                "metrics.publish and metrics.dimensions must not be empty: set metrics.enabled = false for none",
            ),
            ((0..self.publish.len()).any(twice), "metrics.publish names something twice"),
        ];
        let unknown = self
            .dimensions
            .iter()
            .find(|name| !matches!(name.as_str(), "InstanceId" | "AutoScalingGroupName"))
            .map(|name| {
                format!(
                    "metrics.dimensions has '{name}': only InstanceId and AutoScalingGroupName are published"
                )
            });
        pairs.iter().find(|(broken, _)| *broken).map(|(_, rule)| (*rule).to_owned()).or(unknown)
    }
}
