//! The AMI that a builder instance starts from: named once, and pinned by its id from then on.

use aws_sdk_ec2::types::{Filter, Image};

use serde::Serialize;

use crate::call::call;
use crate::clients::Clients;
use crate::error::Error;
use crate::image::root_snapshot;
use crate::parameter;

/// How a base is named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Base {
    /// By its id.
    Id(String),
    /// The newest of an owner whose name fits a pattern.
    Newest {
        /// With `*` and `?`, as in `debian-12-amd64-*`.
        name: String,
        /// An account, or `amazon`, `self`.
        owner: String,
    },
    /// By an SSM parameter, such as the vendors' public ones.
    Parameter(String),
}

/// A base that instances can be launched from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseImage {
    /// Its id: what is in an AMI never changes.
    pub image_id: String,
    /// What its owner calls it.
    pub name: String,
    /// The device of its root volume.
    pub root_device: String,
    /// The size of that, in GiB.
    pub volume_gib: u32,
}

impl Base {
    /// Asks which image that is now.
    ///
    /// # Errors
    /// [`Error::Spec`] if there is none, or no instance of Kiln's can start from it; [`Error::Call`].
    pub async fn resolve(&self, clients: &Clients) -> Result<BaseImage, Error> {
        let none = |why: String| Err(Error::Spec(why));
        match self {
            Self::Id(id) => by_id(clients, id).await,
            Self::Parameter(name) => match parameter::get(clients, name).await? {
                Some(found) => by_id(clients, &found.value).await,
                None => none(format!("there is no SSM parameter '{name}' in {}", clients.region)),
            },
            Self::Newest { name, owner } => match newest(clients, name, owner).await? {
                Some(image) => usable(&image),
                None => none(format!(
                    "owner {owner} has no image for x86_64 in {} whose name fits '{name}'",
                    clients.region
                )),
            },
        }
    }
}

async fn by_id(clients: &Clients, id: &str) -> Result<BaseImage, Error> {
    let asked = clients.ec2.describe_images().image_ids(id).send().await;
    let found = asked.map_err(|error| call("ec2:DescribeImages", id, &error))?;
    match found.images().first() {
        Some(image) => usable(image),
        None => Err(Error::Spec(format!("base image '{id}' is not in {}", clients.region))),
    }
}

async fn newest(clients: &Clients, name: &str, owner: &str) -> Result<Option<Image>, Error> {
    let filter = |key: &str, value: &str| Filter::builder().name(key).values(value).build();
    let asked = clients
        .ec2
        .describe_images()
        .owners(owner)
        .filters(filter("name", name))
        .filters(filter("architecture", "x86_64"))
        .filters(filter("root-device-type", "ebs"))
        .filters(filter("state", "available"));
    let (mut pages, mut newest) = (asked.into_paginator().send(), None::<Image>);
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| call("ec2:DescribeImages", name, &error))?;
        for image in page.images.unwrap_or_default() {
            // RFC 3339 in UTC: the order of the text is that of the time.
            if newest.as_ref().is_none_or(|newest| newest.creation_date() < image.creation_date()) {
                newest = Some(image);
            }
        }
    }
    Ok(newest)
}

/// Refuses what no builder can start from.
fn usable(image: &Image) -> Result<BaseImage, Error> {
    let id = image.image_id().unwrap_or_default();
    let refuse = |why: String| Err(Error::Spec(format!("base image '{id}' {why}")));
    match image.architecture().map(aws_sdk_ec2::types::ArchitectureValues::as_str) {
        Some("x86_64") => {}
        other => {
            return refuse(format!("is for {}: Kiln makes images for x86_64", other.unwrap_or("nothing")));
        }
    }
    match image.state().map(aws_sdk_ec2::types::ImageState::as_str) {
        Some("available") => {}
        other => {
            return refuse(format!("is {}: no instance can be launched from it", other.unwrap_or("gone")));
        }
    }
    let (Some(root_device), Some((_, volume_gib))) = (image.root_device_name(), root_snapshot(image)) else {
        return refuse("has no EBS root volume".to_owned());
    };
    Ok(BaseImage {
        image_id: id.to_owned(),
        name: image.name().unwrap_or_default().to_owned(),
        root_device: root_device.to_owned(),
        volume_gib,
    })
}
