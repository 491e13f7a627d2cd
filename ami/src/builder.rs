//! An image that an instance makes of itself: it fetches what it becomes, reports to S3, and powers itself off.
//!
//! ```text
//! security group ─▶ bundle (S3) ─▶ instance ─▶ stopped, "done" ─▶ CreateImage ─▶ available
//!      gone last ◀─ gone ◀──────── terminated ◀────────────────────────────────────┘
//! ```
//!
//! The group comes first and goes last, with the tags that tell of all: while there is a bundle or an instance, there
//! is a group.

mod instance;
mod remove;
mod report;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_ec2::types::{AttributeValue, ResourceType};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::base::BaseImage;
use crate::bucket::Bucket;
use crate::call::{Kind, call};
use crate::clients::Clients;
use crate::error::Error;
use crate::group;
use crate::image::{ImageRegistration, Registered, tags_for};
use crate::journal::Journal;
use crate::progress::{Progress, Watch};
use crate::spec::PublishSpec;
use crate::thing::{GroupAsk, Thing, What};
use report::{Report, State};

pub(crate) use instance::{instances, terminate};
pub(crate) use remove::remove;

/// Where in [`Builder::script`] the instance's orders go: JSON.
pub const ORDERS: &str = "@ORDERS@";
/// What an instance may take besides its lifetime: to start, and to be stopped.
const AROUND: Duration = Duration::from_mins(15);

/// The instance that becomes an image.
#[derive(Debug, Clone)]
pub struct Builder {
    /// What it starts from.
    pub base: BaseImage,
    /// `t3.small` …
    pub instance_type: String,
    /// Where it is launched, with a way to its package mirrors and to S3.
    pub subnet: String,
    /// The instance profile, if what it fetches needs one: Kiln itself needs none.
    pub profile: Option<String>,
    /// Takes the bundle and the reports, in the region of the image.
    pub bucket: String,
    /// Its root volume, in GiB; no smaller than the base's.
    pub volume_gib: u32,
    /// After this it ends itself, whatever it is doing.
    pub lifetime: Duration,
    /// Its user data, with [`ORDERS`] in it once.
    pub script: String,
    /// Makes the archive that it fetches, once that is needed.
    pub pack: Pack,
}

/// Makes an archive: of the same inputs the same bytes. It may take its time, and says in words why it fails.
#[derive(Clone)]
pub struct Pack(pub Arc<PackFn>);

type PackFn = dyn Fn() -> Result<Vec<u8>, String> + Send + Sync;

impl std::fmt::Debug for Pack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pack")
    }
}

/// One builder at work, in the journal of its publication.
pub(crate) struct Building<'a> {
    pub(crate) clients: &'a Clients,
    pub(crate) spec: &'a PublishSpec,
    pub(crate) builder: &'a Builder,
    pub(crate) journal: &'a mut Journal,
    pub(crate) watch: Watch<'a>,
}

/// Where the objects of a publication are.
pub(crate) fn folder(publication: &str) -> String {
    format!("kiln/{publication}")
}

fn bundle_key(folder: &str) -> String {
    format!("{folder}/bundle.tar.gz")
}

fn report_key(folder: &str) -> String {
    format!("{folder}/report.json")
}

impl Building<'_> {
    /// From whatever an earlier process left, to an image of the stopped instance.
    pub(crate) async fn run(&mut self, registration: &ImageRegistration) -> Result<Registered, Error> {
        let group = self.group().await?;
        let asked_for = self.journal.thing("instance").cloned();
        let known = match &asked_for {
            Some(Thing { id: Some(id), .. }) => Some(id.clone()),
            Some(thing) => instances(self.clients, "client-token", &thing.token).await?.pop(),
            None => None,
        };
        let instance = if let Some(id) = known {
            id
        } else {
            let sha256 = self.stage().await?;
            let token = match asked_for {
                Some(thing) => thing.token,
                None => self.journal.intend(What::Instance)?,
            };
            self.launch(&group, &token, &sha256).await?
        };
        self.journal.made("instance", &instance)?;
        self.stopped(&instance).await?;
        self.image(&instance, registration).await
    }

    /// Has the image's instances answer `IMDSv2` alone, and takes down everything else.
    pub(crate) async fn dismantle(&mut self, image: &Registered) -> Result<(), Error> {
        if !image.settled {
            let id = &image.image_id;
            let only_v2 = AttributeValue::builder().value("v2.0").build();
            let asked = self.clients.ec2.modify_image_attribute().image_id(id).imds_support(only_v2);
            asked.send().await.map_err(|error| call("ec2:ModifyImageAttribute", id, &error))?;
        }
        for slot in ["instance", "bundle", "security group"] {
            if let Some(thing) = self.journal.thing(slot).cloned() {
                remove(self.clients, self.journal.head(), &thing, &self.spec.waits).await?;
                self.journal.removed(slot)?;
            }
        }
        Ok(())
    }

    async fn group(&mut self) -> Result<String, Error> {
        if self.journal.thing("security group").is_none() {
            let subnet = &self.builder.subnet;
            let asked = self.clients.ec2.describe_subnets().subnet_ids(subnet).send().await;
            let found = asked.map_err(|error| call("ec2:DescribeSubnets", subnet, &error))?;
            let vpc = found.subnets().first().and_then(|subnet| subnet.vpc_id()).unwrap_or_default();
            let head = self.journal.head();
            let name = format!("kiln-{}", head.publication);
            let ask = GroupAsk { vpc: vpc.to_owned(), name, tags: self.spec.tags_of(head) };
            self.journal.intend(What::Group(ask))?;
        }
        let Some(Thing { what: What::Group(ask), id, .. }) = self.journal.thing("security group").cloned()
        else {
            unreachable!("it was just intended")
        };
        if let Some(id) = id {
            return Ok(id);
        }
        let id = group::open(self.clients, &ask, &self.spec.waits).await?;
        self.journal.made("security group", &id)?;
        Ok(id)
    }

    fn bucket(&self) -> Bucket<'_> {
        Bucket { clients: self.clients, name: &self.builder.bucket }
    }

    /// The bundle, whose SHA-256 it answers, and the first report; those of an earlier process are written again.
    async fn stage(&mut self) -> Result<String, Error> {
        let pack = Arc::clone(&self.builder.pack.0);
        let packed = tokio::task::spawn_blocking(move || pack()).await.expect("packing does not panic");
        let bundle = Bytes::from(packed.map_err(Error::Bundle)?);
        let sha256 = hex(&Sha256::digest(&bundle));
        let folder = folder(&self.journal.head().publication);
        let bucket = self.builder.bucket.clone();
        if self.journal.thing("bundle").is_none() {
            self.journal.intend(What::Bundle { bucket, folder: folder.clone() })?;
        }
        let mib = bundle.len() >> 20;
        self.bucket().put(&bundle_key(&folder), bundle).await?;
        self.bucket().put(&report_key(&folder), Report::first().to_bytes()).await?;
        (self.watch)(Progress::Done {
            what: format!("bundle of {mib} MiB is in s3://{}", self.builder.bucket),
        });
        Ok(sha256)
    }

    async fn launch(&self, group: &str, token: &str, sha256: &str) -> Result<String, Error> {
        let (builder, head) = (self.builder, self.journal.head());
        let folder = folder(&head.publication);
        let valid = builder.lifetime + AROUND;
        let orders = serde_json::json!({
            "bundle": self.bucket().presigned("GET", &bundle_key(&folder), valid).await?,
            "sha256": sha256,
            "report": self.bucket().presigned("PUT", &report_key(&folder), valid).await?,
            "lifetime": builder.lifetime.as_secs(),
        });
        let user_data = builder.script.replacen(ORDERS, &orders.to_string(), 1);
        let launch = instance::Launch { spec: self.spec, builder, head, group, token, user_data };
        let id = launch.run(self.clients, &self.spec.waits).await?;
        (self.watch)(Progress::Done { what: format!("instance {id} starts from {}", builder.base.image_id) });
        Ok(id)
    }

    /// Waits until the instance has stopped itself, and judges what it has reported.
    async fn stopped(&self, id: &str) -> Result<(), Error> {
        let (began, waits) = (Instant::now(), &self.spec.waits);
        let bound = self.builder.lifetime + AROUND;
        let report = report_key(&folder(&self.journal.head().publication));
        let (mut pause, mut told) = (waits.poll, String::new());
        loop {
            let seen = instance::look(self.clients, id).await?;
            let found = Report::read(&self.bucket().get(&report).await?);
            match seen {
                // Stopped, and only then asked: nothing writes any more.
                Some(seen) if seen.state == "stopped" => {
                    return found.judge(id, &seen.reason, self.builder.lifetime);
                }
                Some(seen) if seen.is_gone() => {
                    let (state, reason) = (seen.state, seen.reason);
                    return Err(Error::Ended { what: "instance", id: id.to_owned(), state, reason });
                }
                None if began.elapsed() >= waits.visible => {
                    let (state, reason) = ("gone".to_owned(), "EC2 does not know it".to_owned());
                    return Err(Error::Ended { what: "instance", id: id.to_owned(), state, reason });
                }
                seen => {
                    let state = seen.map_or("not visible yet".to_owned(), |seen| seen.state);
                    if began.elapsed() >= bound {
                        return Err(Error::TimedOut {
                            what: "instance",
                            id: id.to_owned(),
                            state,
                            waited: bound,
                        });
                    }
                    let last = found.tail.last().filter(|_| found.state == State::Running);
                    let state = last.map_or(state.clone(), |last| format!("{state}: {last}"));
                    if state != told {
                        told.clone_from(&state);
                        let (id, percent) = (id.to_owned(), None);
                        (self.watch)(Progress::Waiting { what: "instance", id, state, percent });
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(waits.poll * 4);
        }
    }

    /// `CreateImage` takes no client token: a lost reply is made good by looking the name up.
    async fn image(&mut self, instance: &str, registration: &ImageRegistration) -> Result<Registered, Error> {
        let name = self.spec.image_name();
        if self.journal.thing("image").is_none() {
            self.journal.intend(What::Image { name: name.clone() })?;
        }
        let tags = self.spec.tags_of(self.journal.head());
        let asked = self
            .clients
            .ec2
            .create_image()
            .instance_id(instance)
            .name(&name)
            .description(&self.spec.description)
            .tag_specifications(tags_for(ResourceType::Image, &tags))
            .tag_specifications(tags_for(ResourceType::Snapshot, &tags))
            .send()
            .await;
        let image = match asked {
            Ok(made) => Registered {
                image_id: made.image_id.unwrap_or_default(),
                snapshot_id: String::new(),
                volume_gib: 0,
                publication: Some(self.journal.head().publication.clone()),
                settled: false,
            },
            Err(error) => {
                let failed = call("ec2:CreateImage", &name, &error);
                let maybe_done = matches!(failed.kind, Kind::Unreachable | Kind::Failed)
                    || failed.code.as_deref() == Some("InvalidAMIName.Duplicate");
                match if maybe_done { registration.find(self.spec).await? } else { None } {
                    Some(found) => found,
                    None => return Err(failed.into()),
                }
            }
        };
        if image.publication.as_ref() == Some(&self.journal.head().publication) {
            self.journal.made("image", &image.image_id)?;
        } else {
            self.journal.removed("image")?;
        }
        Ok(image)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
