//! What is done with an image once it is there: one order, each step only where it is needed, all of it undone or none.
//!
//! ```text
//! copies (side by side) ─▶ deprecation ─▶ shares ─▶ parameters ─▶ settled: the copies, then the image
//! ```

use std::collections::BTreeMap;

use aws_sdk_ec2::primitives::DateTime;
use aws_sdk_ec2::types::{ImageAttributeName, LaunchPermission, LaunchPermissionModifications, ResourceType};

use crate::call::call;
use crate::clients::Clients;
use crate::error::Error;
use crate::image::{ImageRegistration, Registered, tags_for};
use crate::journal::Journal;
use crate::parameter;
use crate::progress::{Progress, Watch};
use crate::spec::PublishSpec;
use crate::thing::{CopyAsk, What};

/// An image in one region.
pub(crate) struct Place {
    pub(crate) clients: Clients,
    pub(crate) image: Registered,
}

/// The steps after the image, on one publication.
pub(crate) struct Steps<'a> {
    pub(crate) clients: &'a Clients,
    pub(crate) spec: &'a PublishSpec,
    pub(crate) journal: &'a mut Journal,
    pub(crate) watch: Watch<'a>,
    /// What was done, in words: nothing, if all of it was there.
    pub(crate) changed: Vec<String>,
}

impl Steps<'_> {
    /// Does what is missing; the image and its copies, the image last.
    pub(crate) async fn run(&mut self, home: &Registered) -> Result<Vec<Place>, Error> {
        let mut places = Vec::new();
        for region in &self.spec.after.regions {
            let clients = self.clients.in_region(region);
            let image = self.copy(&clients, home).await?;
            places.push(Place { clients, image });
        }
        for place in &mut places {
            let registration = ImageRegistration::new(place.clients.ec2.clone());
            let id = &place.image.image_id;
            registration.wait_for_image(id, self.spec.waits.copy, self.spec, self.watch).await?;
            if place.image.snapshot_id.is_empty() {
                place.image = registration.find(self.spec).await?.unwrap_or_else(|| place.image.clone());
            }
        }
        places.push(Place { clients: self.clients.clone(), image: home.clone() });
        for place in &places {
            self.deprecate(place).await?;
            self.share(place).await?;
        }
        for place in &places {
            self.name(place).await?;
        }
        for place in &places {
            if !place.image.settled {
                ImageRegistration::new(place.clients.ec2.clone()).settle(&place.image).await?;
            }
        }
        Ok(places)
    }

    async fn copy(&mut self, there: &Clients, home: &Registered) -> Result<Registered, Error> {
        let registration = ImageRegistration::new(there.ec2.clone());
        let slot = format!("copy in {}", there.region);
        if let Some(found) = registration.find(self.spec).await? {
            if self.journal.thing(&slot).is_some_and(|thing| thing.id.is_none()) {
                self.journal.made(&slot, &found.image_id)?;
            }
            return Ok(found);
        }
        if self.journal.thing(&slot).is_none() {
            let ask = CopyAsk {
                region: there.region.clone(),
                source_image: home.image_id.clone(),
                source_region: self.clients.region.clone(),
                name: self.spec.image_name(),
                tags: self.spec.tags_of(self.journal.head()),
                kms_key: self.spec.kms_key_in(&self.clients.region, &there.region),
            };
            self.journal.intend(What::Copy(ask))?;
        }
        let Some(thing) = self.journal.thing(&slot).cloned() else { unreachable!("it was just intended") };
        let What::Copy(ask) = &thing.what else { unreachable!("the slot is a copy's") };
        let image_id = copy(there, ask, &thing.token).await?;
        self.journal.made(&slot, &image_id)?;
        (self.watch)(Progress::Done {
            what: format!("copying {} to {} as {image_id}", home.image_id, there.region),
        });
        self.changed.push(format!("copied to {}", there.region));
        Ok(Registered { image_id, snapshot_id: String::new(), settled: false, ..home.clone() })
    }

    async fn deprecate(&mut self, place: &Place) -> Result<(), Error> {
        let Some(after) = self.spec.after.deprecate_after else {
            return Ok(());
        };
        let id = &place.image.image_id;
        let asked = place.clients.ec2.describe_images().image_ids(id).include_disabled(true).send().await;
        let asked = asked.map_err(|error| call("ec2:DescribeImages", id, &error))?;
        if asked.images().first().is_some_and(|image| image.deprecation_time().is_some()) {
            return Ok(());
        }
        let at = jiff::Timestamp::now()
            .as_second()
            .saturating_add(i64::try_from(after.as_secs()).unwrap_or(i64::MAX));
        let ask =
            place.clients.ec2.enable_image_deprecation().image_id(id).deprecate_at(DateTime::from_secs(at));
        ask.send().await.map_err(|error| call("ec2:EnableImageDeprecation", id, &error))?;
        self.changed.push(format!("deprecation set in {}", place.clients.region));
        Ok(())
    }

    async fn share(&mut self, place: &Place) -> Result<(), Error> {
        if self.spec.after.accounts.is_empty() {
            return Ok(());
        }
        let (id, region) = (&place.image.image_id, &place.clients.region);
        let asked = place.clients.ec2.describe_image_attribute().image_id(id);
        let asked = asked.attribute(ImageAttributeName::LaunchPermission).send().await;
        let asked = asked.map_err(|error| call("ec2:DescribeImageAttribute", id, &error))?;
        let may: Vec<_> = asked.launch_permissions().iter().filter_map(LaunchPermission::user_id).collect();
        let wanted = self.spec.after.accounts.iter();
        let accounts: Vec<_> = wanted.filter(|account| !may.contains(&account.as_str())).cloned().collect();
        if accounts.is_empty() {
            return Ok(());
        }
        let (region, image_id) = (region.clone(), id.clone());
        self.changed.push(format!("shared with {} in {region}", accounts.join(", ")));
        self.journal.intend(What::Share { region, image_id, accounts: accounts.clone() })?;
        permit(&place.clients, id, &accounts, true).await
    }

    async fn name(&mut self, place: &Place) -> Result<(), Error> {
        let Some(name) = &self.spec.after.parameter else {
            return Ok(());
        };
        let (region, image_id) = (place.clients.region.clone(), place.image.image_id.clone());
        let now = parameter::get(&place.clients, name).await?;
        if now.as_ref().is_some_and(|now| now.value == image_id) {
            return Ok(());
        }
        let slot = format!("parameter {name} in {region}");
        // What an earlier process found there is what was there before; this one may see its own.
        if self.journal.thing(&slot).is_none() {
            let before = now.map(|now| now.value);
            let what = What::Parameter {
                region: region.clone(),
                name: name.clone(),
                image_id: image_id.clone(),
                before,
            };
            self.journal.intend(what)?;
        }
        parameter::put(&place.clients, name, &image_id, &self.spec.waits).await?;
        (self.watch)(Progress::Done { what: format!("{name} in {region} names {image_id}") });
        self.changed.push(format!("parameter {name} set in {region}"));
        Ok(())
    }
}

/// Copies an image; with the same token and arguments, once.
pub(crate) async fn copy(there: &Clients, ask: &CopyAsk, token: &str) -> Result<String, Error> {
    let asked = there
        .ec2
        .copy_image()
        .name(&ask.name)
        .source_image_id(&ask.source_image)
        .source_region(&ask.source_region)
        .client_token(token)
        .set_encrypted(ask.kms_key.as_ref().map(|_| true))
        .set_kms_key_id(ask.kms_key.clone().filter(|key| !key.is_empty()))
        .tag_specifications(tags_for(ResourceType::Image, &ask.tags))
        .tag_specifications(tags_for(ResourceType::Snapshot, &ask.tags))
        .send()
        .await;
    let resource = format!("{} to {}", ask.source_image, ask.region);
    let answer = asked.map_err(|error| call("ec2:CopyImage", &resource, &error))?;
    Ok(answer.image_id.unwrap_or_default())
}

/// Lets accounts launch an image, or no longer.
pub(crate) async fn permit(clients: &Clients, id: &str, accounts: &[String], may: bool) -> Result<(), Error> {
    let who = accounts.iter().map(|account| LaunchPermission::builder().user_id(account).build()).collect();
    let change = LaunchPermissionModifications::builder();
    let change = if may { change.set_add(Some(who)) } else { change.set_remove(Some(who)) };
    let asked = clients.ec2.modify_image_attribute().image_id(id).launch_permission(change.build());
    asked.send().await.map_err(|error| call("ec2:ModifyImageAttribute", id, &error))?;
    Ok(())
}

/// The copies, for the receipt: region, image and snapshot.
pub(crate) fn copies(places: &[Place]) -> BTreeMap<String, (String, String)> {
    let copies = places.iter().rev().skip(1);
    copies
        .map(|place| {
            let Registered { image_id, snapshot_id, .. } = &place.image;
            (place.clients.region.clone(), (image_id.clone(), snapshot_id.clone()))
        })
        .collect()
}
