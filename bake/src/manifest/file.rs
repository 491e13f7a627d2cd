//! The text of `kiln.toml` as serde sees it; nothing is checked but types and key names.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::{Complaint, Complaints};

type Text = Spanned<String>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ManifestFile {
    pub(super) image: ImageTable,
    #[serde(default, rename = "service")]
    pub(super) services: Vec<Spanned<ServiceTable>>,
    #[serde(default)]
    pub(super) aws: AwsTable,
    #[serde(default)]
    pub(super) expect: ExpectTable,
    #[serde(default)]
    pub(super) publish: PublishTable,
    pub(super) builder: Option<Spanned<BuilderTable>>,
    #[serde(default)]
    pub(super) rehearse: RehearseTable,
    pub(super) userdata: Option<Spanned<UserDataTable>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ImageTable {
    pub(super) name: Text,
    pub(super) base: Option<Text>,
    #[serde(default)]
    pub(super) packages: Vec<Text>,
    pub(super) size: Option<Text>,
    pub(super) cloud_init: Option<Text>,
    #[serde(default)]
    pub(super) hardening: BTreeMap<String, Spanned<bool>>,
    pub(super) tls: Option<TlsTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsTable {
    pub(super) domains: Spanned<Vec<Text>>,
    pub(super) email: Option<Text>,
    pub(super) server: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceTable {
    pub(super) name: Text,
    pub(super) path: Text,
    pub(super) backend: Option<Text>,
    pub(super) wsgi: Option<Text>,
    pub(super) worker_class: Option<Text>,
    pub(super) workers: Option<Spanned<u32>>,
    pub(super) threads: Option<Spanned<u32>>,
    pub(super) worker_connections: Option<Spanned<u32>>,
    #[serde(default, rename = "static")]
    pub(super) statics: BTreeMap<Text, Text>,
    pub(super) frontend: Option<Text>,
    pub(super) build: Option<Text>,
    pub(super) dist: Option<Text>,
    pub(super) health: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AwsTable {
    pub(super) region: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ExpectTable {
    pub(super) set_id: Vec<Text>,
    pub(super) world_writable: Vec<Text>,
    pub(super) ports: Vec<Text>,
    pub(super) units: Vec<Text>,
    pub(super) shells: Vec<Text>,
    pub(super) secrets: Vec<SecretTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretTable {
    pub(super) rule: Text,
    pub(super) path: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PublishTable {
    #[serde(default)]
    pub(super) regions: Vec<Text>,
    #[serde(default)]
    pub(super) accounts: Vec<Text>,
    pub(super) deprecate_after: Option<Text>,
    pub(super) parameter: Option<Text>,
    pub(super) kms_key: Option<Text>,
    #[serde(default)]
    pub(super) tags: BTreeMap<String, Text>,
    pub(super) keep: Option<Spanned<u32>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BuilderTable {
    pub(super) base: Spanned<BaseKey>,
    #[serde(rename = "type")]
    pub(super) instance_type: Option<Text>,
    pub(super) subnet: Text,
    pub(super) bucket: Text,
    pub(super) profile: Option<Text>,
    pub(super) lifetime: Option<Text>,
}

/// An AMI's id, or where to look for one.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "base is an id as in \"ami-…\", { name = \"debian-12-amd64-*\", owner = \"136693071363\" } or { parameter = \"/aws/service/debian/release/12/latest/amd64\" }"
)]
pub(super) enum BaseKey {
    Id(String),
    Newest(NewestBase),
    Parameter(ParameterBase),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewestBase {
    pub(super) name: String,
    pub(super) owner: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ParameterBase {
    pub(super) parameter: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RehearseTable {
    #[serde(default)]
    pub(super) paths: Vec<Text>,
    pub(super) stream: Option<Text>,
    pub(super) stream_ends: Option<Text>,
}

/// `parts`, and the tables of a `#kiln` document, which `kiln_userdata` judges.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserDataTable {
    #[serde(default)]
    pub(super) parts: Vec<Text>,
    pub(super) env: Option<toml::Value>,
    pub(super) service: Option<toml::Value>,
    pub(super) file: Option<toml::Value>,
    pub(super) run: Option<toml::Value>,
    pub(super) agent: Option<toml::Value>,
}

pub(super) fn parse(text: &str) -> Result<ManifestFile, Complaints> {
    toml::from_str(text).map_err(|error| {
        let mut complaints = Complaints::default();
        let message = error.message().lines().collect::<Vec<_>>().join("; ");
        complaints.push(Complaint::at(text, error.span().unwrap_or(0..0), message));
        complaints
    })
}
