//! Publications that are not finished, as their tags tell: for a machine that has no journal of them.

use std::collections::BTreeMap;
use std::path::Path;

use aws_sdk_ec2::types::{Filter, Tag};

use crate::builder;
use crate::call::call;
use crate::clients::Clients;
use crate::error::Error;
use crate::image::tag;
use crate::journal::Journal;
use crate::parameter;
use crate::spec::{
    After, BASE_TAG, DIGEST_TAG, EXPIRES_TAG, NAME_TAG, OWNER_TAG, PUBLICATION_TAG, PUBLISHING, STATE_TAG,
};
use crate::thing::{CopyAsk, GroupAsk, Head, SnapshotAsk, What};

/// A publication that is not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// Who publishes what.
    pub head: Head,
    /// Its builder's security group.
    pub group: Option<String>,
    /// Its builder's bucket.
    pub bucket: Option<String>,
    /// Its builder.
    pub instance: Option<String>,
    /// Its snapshots; more than one only if something went very wrong.
    pub snapshots: Vec<String>,
    /// Its image: id and name.
    pub image: Option<(String, String)>,
    /// Copies of it: region, id and name.
    pub copies: Vec<(String, String, String)>,
    /// Parameters that name them, with what they named before.
    pub parameters: Vec<What>,
}

impl Open {
    /// True if nobody works on it any more.
    pub fn is_expired(&self, now: jiff::Timestamp) -> bool {
        self.head.expires.parse::<jiff::Timestamp>().is_ok_and(|expires| expires <= now)
    }

    /// Writes the journal that its own machine has, as far as the tags tell it.
    ///
    /// # Errors
    /// [`Error::Journal`].
    pub fn journal(&self, path: &Path) -> Result<Journal, Error> {
        let mut journal = Journal::begin(path, self.head.clone())?;
        if let Some(id) = &self.group {
            let ask = GroupAsk { vpc: String::new(), name: String::new(), tags: BTreeMap::new() };
            journal.intend(What::Group(ask))?;
            journal.made("security group", id)?;
            // There is no bundle without a group.
            if let Some(bucket) = self.bucket.clone() {
                journal.intend(What::Bundle { bucket, folder: builder::folder(&self.head.publication) })?;
            }
        }
        if let Some(id) = &self.instance {
            journal.intend(What::Instance)?;
            journal.made("instance", id)?;
        }
        // A builder's is the image's own, and goes with it.
        if let Some(id) = self.snapshots.first().filter(|_| self.head.base.is_none()) {
            let nothing = SnapshotAsk {
                volume_gib: 0,
                description: String::new(),
                tags: BTreeMap::new(),
                parent: None,
                kms_key: None,
            };
            journal.intend(What::Snapshot(nothing))?;
            journal.made("snapshot", id)?;
        }
        if let Some((id, name)) = &self.image {
            journal.intend(What::Image { name: name.clone() })?;
            journal.made("image", id)?;
        }
        for (region, id, name) in &self.copies {
            let ask = CopyAsk {
                region: region.clone(),
                source_image: String::new(),
                source_region: String::new(),
                name: name.clone(),
                tags: BTreeMap::new(),
                kms_key: None,
            };
            journal.intend(What::Copy(ask))?;
            journal.made(&format!("copy in {region}"), id)?;
        }
        for parameter in &self.parameters {
            journal.intend(parameter.clone())?;
        }
        Ok(journal)
    }
}

/// Every publication in the clients' region that is not finished, of the images called `name` or of all, with what
/// `after` may have made elsewhere; builders are looked for where there is a `bucket` for them.
///
/// # Errors
/// [`Error::Call`].
pub async fn open_publications(
    clients: &Clients,
    name: Option<&str>,
    after: &After,
    bucket: Option<&str>,
) -> Result<Vec<Open>, Error> {
    let mut filters = vec![filter(STATE_TAG, PUBLISHING)];
    filters.extend(name.map(|name| filter(NAME_TAG, name)));
    let mut found: BTreeMap<String, Open> = BTreeMap::new();
    let mut pages = clients
        .ec2
        .describe_snapshots()
        .owner_ids("self")
        .set_filters(Some(filters.clone()))
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| call("ec2:DescribeSnapshots", PUBLISHING, &error))?;
        for snapshot in page.snapshots() {
            if let Some(open) = entry(&mut found, snapshot.tags(), &clients.region) {
                open.snapshots.extend(snapshot.snapshot_id().map(str::to_owned));
            }
        }
    }
    if let Some(bucket) = bucket {
        builders(clients, &filters, bucket, &mut found).await?;
    }
    for (id, name, tags) in images(clients, filters).await? {
        if let Some(open) = entry(&mut found, &tags, &clients.region) {
            open.image = Some((id, name));
        }
    }
    for open in found.values_mut() {
        for region in &after.regions {
            // The copies are settled before the image: whatever they say of themselves, it is not finished.
            let ours = vec![filter(PUBLICATION_TAG, &open.head.publication)];
            for (id, name, _) in images(&clients.in_region(region), ours).await? {
                open.copies.push((region.clone(), id, name));
            }
        }
        if let Some(name) = &after.parameter {
            open.parameters = parameters(clients, open, name).await?;
        }
    }
    Ok(found.into_values().collect())
}

/// Instances and security groups: of a builder there is the group at least, until all of it is gone.
async fn builders(
    clients: &Clients,
    filters: &[Filter],
    bucket: &str,
    found: &mut BTreeMap<String, Open>,
) -> Result<(), Error> {
    let asked = clients.ec2.describe_security_groups().set_filters(Some(filters.to_vec()));
    let mut pages = asked.into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| call("ec2:DescribeSecurityGroups", PUBLISHING, &error))?;
        for group in page.security_groups() {
            if let Some(open) = entry(found, group.tags(), &clients.region) {
                (open.group, open.bucket) = (group.group_id().map(str::to_owned), Some(bucket.to_owned()));
            }
        }
    }
    for open in found.values_mut().filter(|open| open.group.is_some()) {
        let tag = format!("tag:{PUBLICATION_TAG}");
        open.instance = builder::instances(clients, &tag, &open.head.publication).await?.pop();
    }
    Ok(())
}

fn filter(key: &str, value: &str) -> Filter {
    Filter::builder().name(format!("tag:{key}")).values(value).build()
}

fn entry<'f>(found: &'f mut BTreeMap<String, Open>, tags: &[Tag], region: &str) -> Option<&'f mut Open> {
    let head = head(tags, region)?;
    let new = || Open {
        head: head.clone(),
        group: None,
        bucket: None,
        instance: None,
        snapshots: Vec::new(),
        image: None,
        copies: Vec::new(),
        parameters: Vec::new(),
    };
    Some(found.entry(head.publication.clone()).or_insert_with(new))
}

async fn images(clients: &Clients, filters: Vec<Filter>) -> Result<Vec<(String, String, Vec<Tag>)>, Error> {
    let asked = clients.ec2.describe_images().owners("self").include_disabled(true);
    let mut pages = asked.set_filters(Some(filters)).into_paginator().send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| call("ec2:DescribeImages", PUBLISHING, &error))?;
        found.extend(page.images().iter().filter_map(|image| {
            Some((image.image_id()?.to_owned(), image.name()?.to_owned(), image.tags().to_vec()))
        }));
    }
    Ok(found)
}

/// The parameters that name one of the publication's images.
async fn parameters(clients: &Clients, open: &Open, name: &str) -> Result<Vec<What>, Error> {
    let home = open.image.iter().map(|(id, _)| (clients.region.clone(), id.clone()));
    let copies = open.copies.iter().map(|(region, id, _)| (region.clone(), id.clone()));
    let mut found = Vec::new();
    for (region, image_id) in home.chain(copies) {
        let there = clients.in_region(&region);
        if parameter::get(&there, name).await?.is_some_and(|now| now.value == image_id) {
            let before = parameter::before(&there, name, &image_id).await?;
            found.push(What::Parameter { region, name: name.to_owned(), image_id, before });
        }
    }
    Ok(found)
}

fn head(tags: &[Tag], region: &str) -> Option<Head> {
    let value = |key| tag(tags, key).map(str::to_owned);
    Some(Head {
        publication: value(PUBLICATION_TAG)?,
        name: value(NAME_TAG)?,
        digest: value(DIGEST_TAG)?,
        region: region.to_owned(),
        owner: value(OWNER_TAG).unwrap_or_default(),
        expires: value(EXPIRES_TAG).unwrap_or_default(),
        base: value(BASE_TAG),
    })
}
