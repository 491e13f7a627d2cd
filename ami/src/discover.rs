//! Publications that are not finished, as their tags tell: for a machine that has no journal of them.

use std::collections::BTreeMap;
use std::path::Path;

use aws_sdk_ec2::types::{Filter, Tag};

use crate::call::call;
use crate::clients::Clients;
use crate::error::Error;
use crate::image::tag;
use crate::journal::Journal;
use crate::spec::{DIGEST_TAG, EXPIRES_TAG, NAME_TAG, OWNER_TAG, PUBLICATION_TAG, PUBLISHING, STATE_TAG};
use crate::thing::{Head, SnapshotAsk, What};

/// A publication that is not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// Who publishes what.
    pub head: Head,
    /// Its snapshots; more than one only if something went very wrong.
    pub snapshots: Vec<String>,
    /// Its image: id and name.
    pub image: Option<(String, String)>,
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
        if let Some(id) = self.snapshots.first() {
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
        Ok(journal)
    }
}

/// Every publication in the clients' region that is not finished, of the images called `name` or of all.
///
/// # Errors
/// [`Error::Call`].
pub async fn open_publications(clients: &Clients, name: Option<&str>) -> Result<Vec<Open>, Error> {
    let filter = |key: &str, value: &str| Filter::builder().name(format!("tag:{key}")).values(value).build();
    let mut filters = vec![filter(STATE_TAG, PUBLISHING)];
    filters.extend(name.map(|name| filter(NAME_TAG, name)));
    let mut found: BTreeMap<String, Open> = BTreeMap::new();
    let mut of = |tags: &[Tag]| -> Option<String> {
        let head = head(tags, &clients.region)?;
        let id = head.publication.clone();
        found.entry(id.clone()).or_insert_with(|| Open { head, snapshots: Vec::new(), image: None });
        Some(id)
    };

    let mut pages = clients
        .ec2
        .describe_snapshots()
        .owner_ids("self")
        .set_filters(Some(filters.clone()))
        .into_paginator()
        .send();
    let mut snapshots = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| call("ec2:DescribeSnapshots", PUBLISHING, &error))?;
        for snapshot in page.snapshots() {
            snapshots.extend(of(snapshot.tags()).zip(snapshot.snapshot_id().map(str::to_owned)));
        }
    }
    let asked = clients.ec2.describe_images().owners("self").include_disabled(true);
    let mut pages = asked.set_filters(Some(filters)).into_paginator().send();
    let mut images = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| call("ec2:DescribeImages", PUBLISHING, &error))?;
        for image in page.images() {
            let named = image.image_id().zip(image.name()).map(|(id, name)| (id.to_owned(), name.to_owned()));
            images.extend(of(image.tags()).zip(named));
        }
    }
    for (publication, id) in snapshots {
        found.get_mut(&publication).into_iter().for_each(|open| open.snapshots.push(id.clone()));
    }
    for (publication, image) in images {
        found.get_mut(&publication).into_iter().for_each(|open| open.image = Some(image.clone()));
    }
    Ok(found.into_values().collect())
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
    })
}
