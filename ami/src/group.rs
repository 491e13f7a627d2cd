//! A builder's security group: nothing gets in, and nobody else is in it.

use std::time::Instant;

use aws_sdk_ec2::types::{Filter, ResourceType};

use crate::builder;
use crate::call::{Kind, call};
use crate::clients::Clients;
use crate::error::Error;
use crate::image::tags_for;
use crate::thing::GroupAsk;
use crate::wait::Waits;

/// Makes the group, or finds the one that was made by an earlier call: a group has no token, but a name.
///
/// A new group lets everything out and nothing in.
pub(crate) async fn open(clients: &Clients, ask: &GroupAsk, waits: &Waits) -> Result<String, Error> {
    let deadline = Instant::now() + waits.visible;
    loop {
        let asked = clients
            .ec2
            .create_security_group()
            .group_name(&ask.name)
            .description("A builder of Kiln's: nothing gets in")
            .vpc_id(&ask.vpc)
            .tag_specifications(tags_for(ResourceType::SecurityGroup, &ask.tags))
            .send()
            .await;
        let failed = match asked {
            Ok(made) => return Ok(made.group_id.unwrap_or_default()),
            Err(error) => call("ec2:CreateSecurityGroup", &ask.name, &error),
        };
        if failed.code.as_deref() != Some("InvalidGroup.Duplicate") {
            return Err(failed.into());
        }
        let filter = |key: &str, value: &str| Filter::builder().name(key).values(value).build();
        let asked = clients.ec2.describe_security_groups();
        let asked = asked.filters(filter("group-name", &ask.name)).filters(filter("vpc-id", &ask.vpc));
        let found =
            asked.send().await.map_err(|error| call("ec2:DescribeSecurityGroups", &ask.name, &error))?;
        if let Some(id) = found.security_groups().first().and_then(|group| group.group_id()) {
            return Ok(id.to_owned());
        }
        if Instant::now() >= deadline {
            return Err(failed.into());
        }
        tokio::time::sleep(waits.poll).await;
    }
}

/// Deletes the group. What is still in it is an instance whose launch was answered to nobody: that goes first.
pub(crate) async fn delete(clients: &Clients, id: &str, waits: &Waits) -> Result<Vec<String>, Error> {
    let deadline = Instant::now() + waits.visible;
    let mut gone = Vec::new();
    loop {
        let failed = match clients.ec2.delete_security_group().group_id(id).send().await {
            Ok(_) => break,
            Err(error) => call("ec2:DeleteSecurityGroup", id, &error),
        };
        match (failed.kind, failed.code.as_deref()) {
            (Kind::NotFound, _) => break,
            (_, Some("DependencyViolation")) if Instant::now() < deadline => {}
            _ => return Err(failed.into()),
        }
        for instance in builder::instances(clients, "instance.group-id", id).await? {
            builder::terminate(clients, &instance, waits).await?;
            gone.push(format!("instance {instance}"));
        }
        tokio::time::sleep(waits.poll).await;
    }
    gone.push(format!("security group {id}"));
    Ok(gone)
}
