//! The instance itself: launched once for each token, looked at, terminated.

use std::time::Instant;

use aws_sdk_ec2::types::{
    BlockDeviceMapping, EbsBlockDevice, Filter, HttpTokensState, IamInstanceProfileSpecification,
    InstanceMetadataEndpointState, InstanceMetadataOptionsRequest, InstanceType, Reservation, ResourceType,
    ShutdownBehavior, VolumeType,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Builder;
use crate::call::{Kind, call};
use crate::clients::Clients;
use crate::error::Error;
use crate::image::tags_for;
use crate::spec::PublishSpec;
use crate::thing::Head;
use crate::wait::Waits;

/// What EC2 takes of user data before it is encoded, in bytes.
const USER_DATA_MOST: usize = 16 * 1024;

/// The arguments of `RunInstances`.
pub(super) struct Launch<'a> {
    pub(super) spec: &'a PublishSpec,
    pub(super) builder: &'a Builder,
    pub(super) head: &'a Head,
    pub(super) group: &'a str,
    pub(super) token: &'a str,
    pub(super) user_data: String,
}

impl Launch<'_> {
    /// Launches it; its id. Asked again with the token by another process, whose signatures are others, EC2 refuses:
    /// there is one by that token, then.
    pub(super) async fn run(&self, clients: &Clients, waits: &Waits) -> Result<String, Error> {
        let Self { spec, builder, head, group, token, user_data } = self;
        if user_data.len() > USER_DATA_MOST {
            let long = user_data.len();
            return Err(Error::Spec(format!("user data of {long} bytes, and EC2 takes {USER_DATA_MOST}")));
        }
        let tags = spec.tags_of(head);
        let metadata = InstanceMetadataOptionsRequest::builder()
            .http_endpoint(InstanceMetadataEndpointState::Enabled)
            .http_tokens(HttpTokensState::Required)
            .http_put_response_hop_limit(1)
            .build();
        let profile = |name: &String| IamInstanceProfileSpecification::builder().name(name).build();
        let asked = clients
            .ec2
            .run_instances()
            .image_id(&builder.base.image_id)
            .instance_type(InstanceType::from(builder.instance_type.as_str()))
            .min_count(1)
            .max_count(1)
            .subnet_id(&builder.subnet)
            .security_group_ids(*group)
            .metadata_options(metadata)
            .block_device_mappings(self.root_volume())
            // It powers itself off, and is imaged then: a termination would take the volume along.
            .instance_initiated_shutdown_behavior(ShutdownBehavior::Stop)
            .set_iam_instance_profile(builder.profile.as_ref().map(profile))
            .user_data(STANDARD.encode(user_data))
            .client_token(*token)
            .tag_specifications(tags_for(ResourceType::Instance, &tags))
            .tag_specifications(tags_for(ResourceType::Volume, &tags));
        let deadline = Instant::now() + waits.visible;
        loop {
            let failed = match asked.clone().send().await {
                Ok(launched) => {
                    let id = launched.instances().first().and_then(|instance| instance.instance_id());
                    return Ok(id.unwrap_or_default().to_owned());
                }
                Err(error) => call("ec2:RunInstances", &builder.base.image_id, &error),
            };
            match failed.code.as_deref() {
                // The group was made a moment ago, and is not shown everywhere.
                Some("InvalidGroup.NotFound") if Instant::now() < deadline => {}
                Some("IdempotentParameterMismatch") if Instant::now() < deadline => {
                    if let Some(id) = instances(clients, "client-token", token).await?.pop() {
                        return Ok(id);
                    }
                }
                _ => return Err(failed.into()),
            }
            tokio::time::sleep(waits.poll).await;
        }
    }

    /// Encrypted, whatever the account's default is, and gone with the instance.
    fn root_volume(&self) -> BlockDeviceMapping {
        let gib = self.builder.volume_gib.max(self.builder.base.volume_gib);
        let volume = EbsBlockDevice::builder()
            .volume_type(VolumeType::Gp3)
            .volume_size(i32::try_from(gib).expect("64 TiB are 65536 GiB"))
            .encrypted(true)
            .set_kms_key_id(self.spec.kms_key.clone().filter(|key| !key.is_empty()))
            .delete_on_termination(true)
            .build();
        BlockDeviceMapping::builder().device_name(&self.builder.base.root_device).ebs(volume).build()
    }
}

/// What EC2 says of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// `running`, `stopped` …
    pub(super) state: String,
    /// Its own reason for the last change.
    pub(super) reason: String,
}

impl Seen {
    /// It will never be stopped.
    pub(super) fn is_gone(&self) -> bool {
        ["shutting-down", "terminated"].contains(&self.state.as_str())
    }
}

/// Looks at one; none if EC2 does not know it, or not yet.
pub(super) async fn look(clients: &Clients, id: &str) -> Result<Option<Seen>, Error> {
    let asked = clients.ec2.describe_instances().instance_ids(id).send().await;
    let found = match asked.map_err(|error| call("ec2:DescribeInstances", id, &error)) {
        Err(error) if error.kind == Kind::NotFound => return Ok(None),
        found => found?,
    };
    let instance = found.reservations().iter().flat_map(Reservation::instances).next();
    Ok(instance.map(|instance| {
        let state = instance.state().and_then(|state| state.name()).map_or("unknown", |name| name.as_str());
        let reason = instance.state_reason().and_then(|reason| reason.message());
        let reason = reason.or(instance.state_transition_reason()).filter(|reason| !reason.is_empty());
        Seen { state: state.to_owned(), reason: reason.unwrap_or("AWS gives no reason").to_owned() }
    }))
}

/// The instances that a filter finds and that are not on their way out.
pub(crate) async fn instances(clients: &Clients, filter: &str, value: &str) -> Result<Vec<String>, Error> {
    let alive = ["pending", "running", "stopping", "stopped"].map(str::to_owned).to_vec();
    let alive = Filter::builder().name("instance-state-name").set_values(Some(alive)).build();
    let wanted = Filter::builder().name(filter).values(value).build();
    let asked = clients.ec2.describe_instances().filters(wanted).filters(alive);
    let (mut pages, mut found) = (asked.into_paginator().send(), Vec::new());
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| call("ec2:DescribeInstances", value, &error))?;
        let some = page.reservations().iter().flat_map(Reservation::instances);
        found.extend(some.filter_map(|instance| instance.instance_id()).map(str::to_owned));
    }
    Ok(found)
}

/// Terminates an instance and waits until it is gone: before, its security group cannot go.
pub(crate) async fn terminate(clients: &Clients, id: &str, waits: &Waits) -> Result<(), Error> {
    let began = Instant::now();
    if let Err(error) = clients.ec2.terminate_instances().instance_ids(id).send().await {
        let failed = call("ec2:TerminateInstances", id, &error);
        // One that was terminated long ago.
        return if failed.kind == Kind::NotFound { Ok(()) } else { Err(failed.into()) };
    }
    loop {
        match look(clients, id).await? {
            None => return Ok(()),
            Some(seen) if seen.state == "terminated" => return Ok(()),
            Some(seen) if began.elapsed() >= waits.instance => {
                let (state, waited) = (seen.state, waits.instance);
                return Err(Error::TimedOut { what: "instance", id: id.to_owned(), state, waited });
            }
            Some(_) => tokio::time::sleep(waits.poll).await,
        }
    }
}
