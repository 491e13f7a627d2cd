//! The three calls of Elastic Load Balancing.

use super::Targets;
use super::left::Target;
use super::row::Rows;
use crate::aws::{Aws, Error};
use crate::board::TargetRow;
use aws_sdk_elasticloadbalancingv2::types::TargetDescription;
use futures_util::future::join_all;

impl Targets {
    pub(super) async fn rows(&self, arn: &str, ids: &[String]) -> Result<Rows, Error> {
        let _slot = self.slots.acquire().await;
        read_rows(self.group.aws(), arn, ids).await
    }

    /// One call for all rows, or, where the group finds one of them invalid, one for each: the others still leave.
    pub(super) async fn deregister_all(&self, arn: &str, rows: &[TargetRow]) -> Result<(), Error> {
        let targets: Vec<Target> = rows.iter().map(Target::from).collect();
        self.remembered(self.left.add(&targets));
        match self.deregister(arn, &targets).await {
            Err(error) if error.is("InvalidTarget") && targets.len() > 1 => {
                let each = targets.chunks(1).map(|one| self.deregister(arn, one));
                join_all(each).await.into_iter().collect()
            }
            answer => answer,
        }
    }

    async fn deregister(&self, arn: &str, targets: &[Target]) -> Result<(), Error> {
        let _slot = self.slots.acquire().await;
        self.group
            .aws()
            .elbv2()
            .await?
            .deregister_targets()
            .target_group_arn(arn)
            .set_targets(Some(targets.iter().map(description).collect()))
            .send()
            .await
            .map_err(|error| Error::new("DeregisterTargets", &error))?;
        for target in targets {
            tracing::info!(
                target_id = target.id,
                port = target.port,
                target_group = arn,
                "target deregistered"
            );
            self.board.note(format!("deregistered {}:{}", target.id, target.port.unwrap_or_default()));
        }
        Ok(())
    }

    pub(super) async fn register(&self, arn: &str, targets: &[Target]) -> Result<(), Error> {
        let _slot = self.slots.acquire().await;
        self.group
            .aws()
            .elbv2()
            .await?
            .register_targets()
            .target_group_arn(arn)
            .set_targets(Some(targets.iter().map(description).collect()))
            .send()
            .await
            .map_err(|error| Error::new("RegisterTargets", &error))?;
        Ok(())
    }
}

/// Without the port a row with a port of its own stays, and the call succeeds all the same.
fn description(target: &Target) -> TargetDescription {
    TargetDescription::builder()
        .id(&target.id)
        .set_port(target.port)
        .set_availability_zone(target.zone.clone())
        .build()
}

/// A target group's rows, ours and how many others there are.
pub(crate) async fn read_rows(aws: &Aws, arn: &str, ids: &[String]) -> Result<Rows, Error> {
    // Unfiltered: a filter by id alone misses rows that were registered with a port of their own.
    let answer = aws
        .elbv2()
        .await?
        .describe_target_health()
        .target_group_arn(arn)
        .send()
        .await
        .map_err(|error| Error::new("DescribeTargetHealth", &error))?;
    Rows::read(arn, &answer, ids)
}
