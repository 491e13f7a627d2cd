//! The user-data contract between a launch template and an instance: what the bytes are, and what they ask for.
//!
//! ```text
//!            ┌──────────────────────── parse ────────────────────────┐
//!  bytes ──▶ limit ──▶ kind ──▶ gzip, MIME ──▶ script, #kiln, #cloud-config ──▶ UserData
//!    ▲                                                                  (or an error: part, place, way out)
//!    └── smallest form that fits ◀── secrets ◀── compose ◀── parts
//! ```
//!
//! Pure: nothing here reads a file or a socket, so the pipeline and the instance judge the same bytes alike. What
//! is not understood is an error, never passed over.
//!
#![doc = include_str!("../cloud-init.md")]

mod limits;
mod error;
mod kind;
mod gzip;
mod transfer;
mod mime;
mod part;
mod script;
mod node;
mod action;
mod kiln;
mod cloud_config;
mod outline;
mod secret;
mod compose;

pub use action::{Command, File, Owner};
pub use cloud_config::{CloudConfig, Left};
pub use compose::{Composed, Form, Refusal, Source, compose};
pub use error::{Error, Label, Place, Reason};
pub use kiln::{EnvValue, Every, Kiln, Run, Text};
pub use kind::Kind;
pub use limits::{LIMIT, NESTING, PARTS, UNPACKED};
pub use part::{Leaf, Part};
pub use script::{Note, Script};
pub use secret::{Finding, Rule, findings};

/// What an instance does with its user data; gzip and transfer encodings are unwrapped.
#[derive(Debug, Clone, PartialEq)]
pub enum UserData {
    /// Nothing: no bytes, or white space only.
    Empty,
    /// A `#!` script, run once per instance as root.
    Script(Script),
    /// A `#kiln` document.
    Kiln(Kiln),
    /// A `#cloud-config` document.
    CloudConfig(CloudConfig),
    /// A `#cloud-config` document that is cloud-init's to judge and to do: of [`parse_beside_cloud_init`] alone.
    Left(Left),
    /// The parts of a MIME message, in order; each may hold parts again.
    Multipart(Vec<Part>),
}

impl UserData {
    /// What is to be done, in order, each with the part that asks for it (none outside a multipart).
    pub fn leaves(&self) -> Vec<(Option<&Label>, Leaf<'_>)> {
        let mut leaves = Vec::new();
        self.collect(None, &mut leaves);
        leaves
    }

    fn collect<'a>(&'a self, label: Option<&'a Label>, leaves: &mut Vec<(Option<&'a Label>, Leaf<'a>)>) {
        match self {
            UserData::Empty => {}
            UserData::Script(script) => leaves.push((label, Leaf::Script(script))),
            UserData::Kiln(kiln) => leaves.push((label, Leaf::Kiln(kiln))),
            UserData::CloudConfig(config) => leaves.push((label, Leaf::CloudConfig(config))),
            UserData::Left(left) => leaves.push((label, Leaf::Left(left))),
            UserData::Multipart(parts) => {
                for part in parts {
                    part.content.collect(Some(&part.label), leaves);
                }
            }
        }
    }
}

/// Says what the bytes are and what they ask for.
///
/// Fails when they are more than [`LIMIT`], when a part is of a kind that is not read, is broken, or holds a key
/// that means nothing, and when unwrapping goes beyond [`UNPACKED`], [`PARTS`] or [`NESTING`].
pub fn parse(raw: &[u8]) -> Result<UserData, Error> {
    read(raw, false)
}

/// [`parse`] on a machine that has cloud-init: `#cloud-config` documents are left to it, whatever they ask for
/// ([`UserData::Left`]).
pub fn parse_beside_cloud_init(raw: &[u8]) -> Result<UserData, Error> {
    read(raw, true)
}

fn read(raw: &[u8], beside_cloud_init: bool) -> Result<UserData, Error> {
    if raw.len() > LIMIT {
        return Err(Error::new(None, LIMIT, Reason::TooLarge { size: raw.len() }));
    }
    let mut budget = limits::Budget { beside_cloud_init, ..limits::Budget::new() };
    part::Reader { budget: &mut budget, label: None, depth: 0, declared: None }.read(raw)
}

/// Reads the tables of a `#kiln` document where they stand under `key` of another TOML document, such as a manifest;
/// `besides` are that document's own keys there, which are passed over. None without the key.
///
/// Fails as [`parse`] does; line and column are those of `text`.
///
/// ```
/// let manifest = "[image]\nname = \"shop\"\n[userdata.env]\nLOG_LEVEL = \"info\"\n";
/// let section = kiln_userdata::section(manifest, "userdata", &[])?.expect("it is there");
/// assert_eq!(section.env[0].0, "LOG_LEVEL");
/// let slip = kiln_userdata::section("[userdata.envs]\n", "userdata", &[]).expect_err("no such table");
/// assert!(slip.to_string().starts_with("user data, line 1, column 11: unknown key 'envs'"));
/// # Ok::<(), kiln_userdata::Error>(())
/// ```
pub fn section(text: &str, key: &str, besides: &[&str]) -> Result<Option<Kiln>, Error> {
    kiln::section(text, key, besides).map_err(|fault| Error::in_text(None, text, fault.at, fault.reason))
}

#[cfg(test)]
mod tests;
