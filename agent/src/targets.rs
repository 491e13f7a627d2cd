//! The instance's rows in its target groups: read whole, told to leave by id and port, and read again.

use crate::aws::Error;
use crate::board::{Board, TargetRow};
use crate::group::Group;
use crate::imds::Imds;
use crate::pauses::Pauses;
use aws_sdk_elasticloadbalancingv2::types::TargetDescription;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Time between two reads while targets have yet to leave.
const POLL: Duration = Duration::from_secs(1);
/// Longest pause after a failed call; a drain is short.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Takes the instance out of its target groups.
#[derive(Debug)]
pub struct Targets {
    group: Arc<Group>,
    imds: Arc<Imds>,
    configured: Option<Vec<String>>,
    board: Board,
    /// When AWS last answered, or was first asked.
    heard: Mutex<Option<Instant>>,
}

/// What one target group still wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Every row of ours is leaving, has left, or was never there.
    Told,
    /// Rows have just been told; the next read shows whether it took.
    Asked,
    /// The group cannot be read or changed by this instance's role.
    Denied,
}

/// Whether a row must still be told to leave. `draining` lasts for the whole delay even with nothing in flight, so
/// `unused` is not waited for; an unknown state is told: deregistering twice does no harm.
pub fn must_be_told(state: &str) -> bool {
    !matches!(state, "draining" | "unhealthy.draining" | "unused")
}

impl Targets {
    /// Target groups as configured, or those that the Auto Scaling group is attached to.
    pub fn new(group: Arc<Group>, imds: Arc<Imds>, configured: Option<Vec<String>>, board: Board) -> Self {
        Self { group, imds, configured, board, heard: Mutex::default() }
    }

    /// How long AWS has not answered while the targets are to leave.
    pub fn silence(&self) -> Duration {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).map_or(Duration::ZERO, |at| at.elapsed())
    }

    fn heard(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Comes back when every target of every group has been told to leave. Through outages; a group that is deleted
    /// or denied is done with, and said so. The drain's deadline bounds it.
    pub async fn leave(&self) {
        self.heard();
        self.board.error("denied-targets", None);
        let mut pauses = Pauses::new(POLL, LONGEST_PAUSE);
        let (mut open, ids) = loop {
            match self.groups().await {
                Ok(groups) if groups.is_empty() => return,
                Err(error) if error.is_denied() => {
                    self.report(&error);
                    return;
                }
                Ok(groups) => {
                    self.heard();
                    match self.ids().await {
                        Ok(ids) => break (groups, ids),
                        Err(error) => self.report(&error),
                    }
                }
                Err(error) => self.report(&error),
            }
            tokio::time::sleep(pauses.next_pause()).await;
        };
        pauses.reset();
        while !open.is_empty() {
            let mut failed = false;
            let mut still_open = Vec::new();
            for arn in open {
                match self.tell(&arn, &ids).await {
                    Ok(Standing::Told | Standing::Denied) => {}
                    Ok(Standing::Asked) => still_open.push(arn),
                    Err(error) => {
                        failed = true;
                        self.report(&error);
                        still_open.push(arn);
                    }
                }
            }
            open = still_open;
            if !open.is_empty() {
                let pause = if failed { pauses.next_pause() } else { POLL };
                tokio::time::sleep(pause).await;
            }
        }
    }

    async fn groups(&self) -> Result<Vec<String>, Error> {
        if let Some(arns) = &self.configured {
            return Ok(arns.clone());
        }
        match self.group.name().await? {
            Some(name) => self.group.target_groups(&name).await,
            None => Ok(Vec::new()),
        }
    }

    /// What our rows are listed by: the instance's id, or its address in groups of type `ip`.
    async fn ids(&self) -> Result<Vec<String>, Error> {
        let mut ids = vec![self.group.instance_id().await?.to_owned()];
        ids.extend(self.imds.get("local-ipv4").await?);
        Ok(ids)
    }

    async fn tell(&self, arn: &str, ids: &[String]) -> Result<Standing, Error> {
        let rows = match self.rows(arn, ids).await {
            Ok(rows) => rows,
            Err(error) => return self.excuse(arn, error),
        };
        self.show(arn, &rows);
        let staying: Vec<&TargetRow> = rows.iter().filter(|row| must_be_told(&row.state)).collect();
        if staying.is_empty() {
            return Ok(Standing::Told);
        }
        match self.deregister(arn, &staying).await {
            Ok(()) => Ok(Standing::Asked),
            Err(error) => self.excuse(arn, error),
        }
    }

    /// A deleted group is done with; a denied one is out of reach, and its Auto Scaling group tells it anyway.
    fn excuse(&self, arn: &str, error: Error) -> Result<Standing, Error> {
        if error.is("TargetGroupNotFound") || error.is("TargetGroupNotFoundException") {
            self.show(arn, &[]);
            return Ok(Standing::Told);
        }
        if error.is_denied() {
            // Under a name of its own: another group's answer must not wipe it out.
            self.board.error("denied-targets", Some(&error.to_string()));
            tracing::warn!(target_group = arn, reason = %error, "target group out of reach, its rows are not told");
            self.heard();
            return Ok(Standing::Denied);
        }
        Err(error)
    }

    async fn rows(&self, arn: &str, ids: &[String]) -> Result<Vec<TargetRow>, Error> {
        // Unfiltered: a filter by id alone misses rows that were registered with a port of their own.
        let answer = self
            .group
            .aws()
            .elbv2()
            .await?
            .describe_target_health()
            .target_group_arn(arn)
            .send()
            .await
            .map_err(|error| Error::new("DescribeTargetHealth", &error))?;
        let row = |found: &aws_sdk_elasticloadbalancingv2::types::TargetHealthDescription| {
            let target = found.target()?;
            Some(TargetRow {
                group: arn.to_owned(),
                id: target.id()?.to_owned(),
                port: target.port(),
                zone: target.availability_zone().map(str::to_owned),
                state: found.target_health()?.state()?.as_str().to_owned(),
            })
        };
        let rows = answer.target_health_descriptions().iter().filter_map(row);
        Ok(rows.filter(|row| ids.contains(&row.id)).collect())
    }

    async fn deregister(&self, arn: &str, rows: &[&TargetRow]) -> Result<(), Error> {
        // Without the port a row with a port of its own stays, and the call succeeds all the same.
        let target = |row: &TargetRow| {
            TargetDescription::builder()
                .id(&row.id)
                .set_port(row.port)
                .set_availability_zone(row.zone.clone())
                .build()
        };
        self.group
            .aws()
            .elbv2()
            .await?
            .deregister_targets()
            .target_group_arn(arn)
            .set_targets(Some(rows.iter().map(|row| target(row)).collect()))
            .send()
            .await
            .map_err(|error| Error::new("DeregisterTargets", &error))?;
        for row in rows {
            tracing::info!(target_id = row.id, port = row.port, target_group = arn, "target deregistered");
            self.board.note(format!("deregistered {}:{}", row.id, row.port.unwrap_or_default()));
        }
        Ok(())
    }

    fn show(&self, arn: &str, rows: &[TargetRow]) {
        self.heard();
        self.board.error("targets", None);
        let mut status = self.board.lock();
        status.targets.retain(|row| row.group != arn);
        status.targets.extend_from_slice(rows);
    }

    fn report(&self, error: &Error) {
        if !error.is_silence() {
            self.heard();
        }
        let text = error.to_string();
        if self.board.error("targets", Some(&text)) {
            tracing::warn!(reason = text, "target group call failed");
        }
    }
}

#[cfg(test)]
mod tests;
