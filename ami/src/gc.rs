//! Retires an app's old images in one region: gathers what uses them, has them judged, and does what was asked for.

use std::collections::BTreeMap;

use aws_sdk_ec2::primitives::DateTime;
use aws_sdk_ec2::types::{
    Filter, Image, ImageReferenceOptionName, ImageReferenceResourceType, ImageState, ResourceTypeOption,
    ResourceTypeRequest, Tag,
};
use jiff::Timestamp;
use serde::Serialize;

use crate::call::call;
use crate::clients::Clients;
use crate::error::Error;
use crate::image::tag;
use crate::retire::{Facts, Stand, Terms, Verdict, judge};
use crate::spec::{NAME_TAG, PUBLISHING, STATE_TAG};

/// The tag that says since when an image is on its way out: RFC 3339.
const RETIRED_TAG: &str = "kiln:retired";
/// Launch template versions that are looked through, the newest first: all that AWS allows.
const VERSIONS: &str = "10000";
/// Images that one question about references takes.
const IMAGES: usize = 10;

/// An image, judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judged {
    /// The AMI's id.
    pub image_id: String,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub region: String,
    /// When it was registered.
    pub created: String,
    /// What becomes of it.
    pub verdict: Verdict,
    /// Why.
    pub reason: String,
}

/// Judges every image called `name` in the clients' region, the newest first.
///
/// # Errors
/// AWS cannot be asked: what uses an image is then not known, and nothing may go.
pub async fn judge_images(
    clients: &Clients,
    name: &str,
    terms: Terms,
    now: Timestamp,
) -> Result<Vec<Judged>, Error> {
    let named = Filter::builder().name(format!("tag:{NAME_TAG}")).values(name).build();
    let asked = clients.ec2.describe_images().owners("self").include_disabled(true).filters(named);
    let (mut pages, mut images) = (asked.into_paginator().send(), Vec::new());
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| call("ec2:DescribeImages", name, &error))?;
        images.extend(page.images.unwrap_or_default());
    }
    images.sort_by(|one, other| other.creation_date().cmp(&one.creation_date()));
    let ids: Vec<&str> = images.iter().filter_map(Image::image_id).collect();
    let used = users(clients, &ids).await?;
    let facts: Vec<_> = images.iter().map(|image| facts(image, &used)).collect();
    let judged = images.iter().zip(judge(&facts, terms, now));
    Ok(judged
        .map(|(image, (verdict, reason))| Judged {
            image_id: image.image_id().unwrap_or_default().to_owned(),
            name: image.name().unwrap_or_default().to_owned(),
            region: clients.region.clone(),
            created: image.creation_date().unwrap_or_default().to_owned(),
            verdict,
            reason,
        })
        .collect())
}

/// Does what was judged.
///
/// # Errors
/// The call fails; what was done stays, and the next run goes on.
pub async fn retire(clients: &Clients, judged: &Judged, now: Timestamp) -> Result<(), Error> {
    let (ec2, id) = (&clients.ec2, &judged.image_id);
    match judged.verdict {
        Verdict::Keep => {}
        Verdict::Deprecate => {
            // EC2 takes no date in the past, and rounds to minutes.
            let at = DateTime::from_secs(now.as_second() + 60);
            let asked = ec2.enable_image_deprecation().image_id(id).deprecate_at(at).send().await;
            asked.map_err(|error| call("ec2:EnableImageDeprecation", id, &error))?;
            let since = Tag::builder().key(RETIRED_TAG).value(now.to_string()).build();
            let asked = ec2.create_tags().resources(id).tags(since).send().await;
            asked.map_err(|error| call("ec2:CreateTags", id, &error))?;
        }
        Verdict::Disable => {
            let asked = ec2.disable_image().image_id(id).send().await;
            asked.map_err(|error| call("ec2:DisableImage", id, &error))?;
        }
        Verdict::Deregister => {
            let asked = ec2.deregister_image().image_id(id).delete_associated_snapshots(true).send().await;
            asked.map_err(|error| call("ec2:DeregisterImage", id, &error))?;
        }
    }
    Ok(())
}

fn facts(image: &Image, used: &BTreeMap<String, Vec<String>>) -> Facts {
    let time = |text: Option<&str>| text.and_then(|text| text.parse::<Timestamp>().ok());
    Facts {
        created: time(image.creation_date()).unwrap_or_default(),
        published: tag(image.tags(), STATE_TAG) != Some(PUBLISHING),
        stand: match image.state() {
            Some(ImageState::Available) => Stand::Available,
            Some(ImageState::Disabled) => Stand::Disabled,
            _ => Stand::Other,
        },
        protected: image.deregistration_protection().is_some_and(|told| told.starts_with("enabled")),
        retired: time(tag(image.tags(), RETIRED_TAG)),
        launched: time(image.last_launched_time()),
        used_by: image.image_id().and_then(|id| used.get(id)).cloned().unwrap_or_default(),
    }
}

/// What uses the images: instances, launch templates in any version, SSM parameters, Image Builder recipes, and launch
/// configurations, of which EC2 does not know.
///
/// # Errors
/// [`Error::Call`].
pub async fn users(clients: &Clients, ids: &[&str]) -> Result<BTreeMap<String, Vec<String>>, Error> {
    let mut used: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let depth = ResourceTypeOption::builder()
        .option_name(ImageReferenceOptionName::VersionDepth)
        .option_values(VERSIONS)
        .build();
    let templates = ResourceTypeRequest::builder()
        .resource_type(ImageReferenceResourceType::Ec2LaunchTemplate)
        .resource_type_options(depth)
        .build();
    for some in ids.chunks(IMAGES) {
        let asked = clients.ec2.describe_image_references().include_all_resource_types(true);
        let asked = asked.resource_types(templates.clone());
        let asked = asked.set_image_ids(Some(some.iter().map(|id| (*id).to_owned()).collect()));
        let mut pages = asked.into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call("ec2:DescribeImageReferences", &some.join(", "), &error))?;
            for found in page.image_references() {
                let by = used.entry(found.image_id().unwrap_or_default().to_owned()).or_default();
                by.extend(found.arn().map(str::to_owned));
            }
        }
    }
    let groups = aws_sdk_autoscaling::Client::new(clients.config());
    let mut pages = groups.describe_launch_configurations().into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| call("autoscaling:DescribeLaunchConfigurations", "*", &error))?;
        for found in page.launch_configurations() {
            if let Some(id) = found.image_id().filter(|id| ids.contains(id)) {
                let name = found.launch_configuration_name().unwrap_or_default();
                used.entry(id.to_owned()).or_default().push(format!("launch configuration {name}"));
            }
        }
    }
    Ok(used)
}
