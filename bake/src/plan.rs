//! What a bake would do, decided from the inputs and from what the caches hold. Pure, and printable.

use std::fmt;

use serde::Serialize;

use crate::inputs::Part;

/// The steps of a bake, in order.
pub const STEPS: [&str; 11] = [
    "tools",
    "base",
    "frontend",
    "venv",
    "overlay",
    "provision",
    "clean",
    "assert",
    "root.tar",
    "disk.raw",
    "receipt",
];

/// What the caches of this machine hold.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// SHA-256 of the base's archive, once it is built.
    pub base: Option<String>,
    /// Whether the disk tools are there.
    pub tools: bool,
    /// Per service with a frontend: its name, and whether the build is there.
    pub frontends: Vec<(String, bool)>,
    /// Per service with a backend: its name, and whether the venv is there.
    pub venvs: Vec<(String, bool)>,
    /// Whether the image itself is.
    pub image: bool,
}

/// `kiln plan`.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// The image's name.
    pub name: String,
    /// `None` until the base is built: it counts by content.
    pub digest: Option<String>,
    /// Whether an image of that digest is there.
    pub baked: bool,
    /// What is reused and what is built.
    pub layers: Vec<Layer>,
    /// The steps that will run.
    pub steps: Vec<&'static str>,
    /// The disk's size in GiB.
    pub disk_gib: u32,
    /// Debian packages over the base's own.
    pub packages: Vec<String>,
    /// Named hashes of the inputs.
    pub inputs: Vec<Part>,
}

/// A part with a cache of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// `base`, `frontend shop` …
    pub layer: String,
    /// Whether it is reused.
    pub cached: bool,
}

/// What is to be baked, as far as a plan is concerned.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The image's name.
    pub name: String,
    /// The base's name.
    pub base: String,
    /// The disk's size in GiB.
    pub disk_gib: u32,
    /// Debian packages over the base's own.
    pub packages: Vec<String>,
    /// The inputs.
    pub inputs: Vec<Part>,
    /// The digest over the base that is there.
    pub digest: Option<String>,
}

impl Plan {
    /// Decides.
    pub fn new(subject: Subject, held: &Held) -> Self {
        let layer = |layer: String, cached| Layer { layer, cached };
        let mut layers = vec![
            layer("disk tools".to_owned(), held.tools),
            layer(format!("base {}", subject.base), held.base.is_some()),
        ];
        layers.extend(
            held.frontends.iter().map(|(name, cached)| layer(format!("frontend of {name}"), *cached)),
        );
        layers.extend(held.venvs.iter().map(|(name, cached)| layer(format!("venv of {name}"), *cached)));
        layers.push(layer("image".to_owned(), held.image));
        Self {
            name: subject.name,
            digest: subject.digest,
            baked: held.image,
            layers,
            steps: if held.image { vec![] } else { STEPS.to_vec() },
            disk_gib: subject.disk_gib,
            packages: subject.packages,
            inputs: subject.inputs,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "image     {}, a disk of {} GiB", self.name, self.disk_gib)?;
        writeln!(f, "digest    {}", self.digest.as_deref().unwrap_or("known once the base layer is built"))?;
        writeln!(f, "packages  {}", self.packages.join(" "))?;
        writeln!(f, "layers")?;
        for Layer { layer, cached } in &self.layers {
            writeln!(f, "  {layer:<24} {}", if *cached { "cached" } else { "to build" })?;
        }
        writeln!(f, "inputs")?;
        for Part { part, sha256 } in &self.inputs {
            writeln!(f, "  {part:<24} {}", &sha256[..12])?;
        }
        if self.baked {
            write!(f, "steps     none: the image is there")
        } else {
            write!(f, "steps     {}", self.steps.join(" → "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(digest: Option<&str>) -> Subject {
        Subject {
            name: "shop".into(),
            base: "debian-12".into(),
            disk_gib: 2,
            packages: vec!["nginx-light".into(), "python3".into()],
            inputs: vec![Part { part: "agent".into(), sha256: "0123456789abcdef".into() }],
            digest: digest.map(Into::into),
        }
    }

    #[test]
    fn a_first_bake_builds_everything_and_knows_no_digest() {
        let held = Held {
            frontends: vec![("shop".into(), false)],
            venvs: vec![("shop".into(), false)],
            ..Held::default()
        };
        let expected = "\
image     shop, a disk of 2 GiB
digest    known once the base layer is built
packages  nginx-light python3
layers
  disk tools               to build
  base debian-12           to build
  frontend of shop         to build
  venv of shop             to build
  image                    to build
inputs
  agent                    0123456789ab
steps     tools → base → frontend → venv → overlay → provision → clean → assert → root.tar → disk.raw → receipt";
        assert_eq!(Plan::new(subject(None), &held).to_string(), expected);
    }

    #[test]
    fn an_image_that_is_there_leaves_nothing_to_do() {
        let held = Held { base: Some("b".into()), tools: true, image: true, ..Held::default() };
        let plan = Plan::new(subject(Some("d1")), &held);
        assert!(plan.steps.is_empty());
        assert!(plan.to_string().contains("digest    d1\n"), "{plan}");
        assert!(plan.to_string().ends_with("steps     none: the image is there"), "{plan}");
    }
}
