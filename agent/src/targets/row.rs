//! One group's answer about the health of its targets: which rows are ours, and which must still be told to leave.

use crate::aws::Error;
use crate::board::TargetRow;
use aws_sdk_elasticloadbalancingv2::operation::describe_target_health::DescribeTargetHealthOutput;
use aws_sdk_elasticloadbalancingv2::types::TargetDescription;

/// Our rows of one group.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) ours: Vec<TargetRow>,
    /// Whether every row could be read. One that could not may be ours: then nothing follows from its absence.
    pub(super) whole: bool,
}

/// Whether a row must still be told to leave.
///
/// `draining` lasts for the whole delay even with nothing in flight, so `unused` is not waited for. But `unused` has
/// two meanings: `Target.NotRegistered` has left, while `Target.NotInUse` is still registered, in a group on no listener
/// or in a zone that is not enabled, and takes requests as soon as that changes. A state that is unknown or missing is
/// told: deregistering twice does no harm.
pub fn must_be_told(state: &str, reason: Option<&str>) -> bool {
    match (state, reason) {
        ("draining" | "unhealthy.draining", _) => false,
        ("unused", reason) => reason != Some("Target.NotRegistered"),
        _ => true,
    }
}

impl Rows {
    /// Reads what the group `arn` says of the targets that go by one of `ids`.
    pub(crate) fn read(
        arn: &str,
        answer: &DescribeTargetHealthOutput,
        ids: &[String],
    ) -> Result<Self, Error> {
        // An empty list is an answer, a missing one is none.
        let listed = answer
            .target_health_descriptions
            .as_deref()
            .ok_or_else(|| Error::lacks("DescribeTargetHealth", "TargetHealthDescriptions"))?;
        let mut rows = Self { ours: Vec::new(), whole: true };
        for found in listed {
            let target = found.target();
            // The SDK fills in what is missing and must not be: empty is missing.
            let Some(id) = target.and_then(TargetDescription::id).filter(|id| !id.is_empty()) else {
                rows.whole = false;
                continue;
            };
            if !ids.iter().any(|own| own == id) {
                continue;
            }
            let health = found.target_health();
            rows.ours.push(TargetRow {
                group: arn.to_owned(),
                id: id.to_owned(),
                port: target.and_then(TargetDescription::port),
                zone: target.and_then(TargetDescription::availability_zone).map(str::to_owned),
                state: health
                    .and_then(|health| health.state())
                    .map_or("unknown", |state| state.as_str())
                    .to_owned(),
                reason: health.and_then(|health| health.reason()).map(|reason| reason.as_str().to_owned()),
            });
        }
        Ok(rows)
    }

    /// Those that must still be told.
    pub(super) fn staying(&self) -> Vec<TargetRow> {
        let stays = |row: &&TargetRow| must_be_told(&row.state, row.reason.as_deref());
        self.ours.iter().filter(stays).cloned().collect()
    }
}
