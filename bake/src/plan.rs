//! What a bake would do, decided from the inputs and from what the caches hold. Pure, and printable.

use std::fmt;

use serde::Serialize;

use crate::calls::Call;
use crate::inputs::Part;
use crate::receipt::{Change, Receipt, short};

/// The steps of a bake, in order.
pub const STEPS: [&str; 11] = [
    "tools",
    "base",
    "frontend",
    "venv",
    "overlay",
    "provision",
    "clean",
    "root.tar",
    "assert",
    "disk.raw",
    "receipt",
];

/// The steps of a bake on an instance, in order; it runs those of `kiln provision` in its third.
const STEPS_ON_INSTANCE: [&str; 7] =
    ["frontend", "bundle", "instance", "stopped", "image", "terminated", "publish"];

/// What the caches of this machine hold.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// Whether the disk tools are there.
    pub tools: bool,
    /// Bytes of the base's archive, once it is built.
    pub base: Option<u64>,
    /// Per service with a frontend: its name, and the bytes of the build that is there.
    pub frontends: Vec<(String, Option<u64>)>,
    /// Per service with a backend: its name, and the bytes of the venv that is there.
    pub venvs: Vec<(String, Option<u64>)>,
    /// Bytes that the image's disk takes, if the image itself is there.
    pub image: Option<u64>,
    /// The app's latest image.
    pub before: Option<Receipt>,
}

/// `kiln plan`.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// The image's name.
    pub name: String,
    /// `None` until the base is built: it counts by content.
    pub digest: Option<String>,
    /// Whether the app has a `kiln.lock`.
    pub locked: bool,
    /// The AMI that a builder instance starts from: id and name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
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
    /// Items of hardening that are on.
    pub hardening: Vec<&'static str>,
    /// Named hashes of the inputs.
    pub inputs: Vec<Part>,
    /// The latest image of this app.
    pub before: Option<Before>,
    /// What publishing it calls.
    pub calls: Vec<Call>,
    /// What AWS has of it, if it was asked.
    pub aws: Option<There>,
}

/// What an account has of an image that is to be published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct There {
    /// The region that was asked.
    pub region: String,
    /// The AMI's name.
    pub name: String,
    /// The AMI that has it, made of the same digest.
    pub image_id: Option<String>,
}

/// A part with a cache of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// `base`, `frontend shop` …
    pub layer: String,
    /// Whether it is reused.
    pub cached: bool,
    /// Its size, once it is known.
    pub bytes: Option<u64>,
}

/// The latest image, which says what to expect.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Before {
    /// Its digest.
    pub digest: String,
    /// Wall time of its bake.
    pub seconds: f64,
    /// Blocks of 512 KiB with data.
    pub blocks_nonzero: u64,
    /// In how many it differs from the image before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// Names of the inputs that are others now.
    pub changed: Vec<String>,
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
    /// Items of hardening that are on.
    pub hardening: Vec<&'static str>,
    /// The inputs.
    pub inputs: Vec<Part>,
    /// The digest over the base that is there.
    pub digest: Option<String>,
    /// What publishing it calls.
    pub calls: Vec<Call>,
}

impl Plan {
    /// Decides.
    pub fn new(subject: Subject, held: &Held) -> Self {
        let layer = |layer: String, bytes: Option<u64>| Layer { layer, cached: bytes.is_some(), bytes };
        let mut layers = vec![
            Layer { layer: "disk tools".to_owned(), cached: held.tools, bytes: None },
            layer(format!("base {}", subject.base), held.base),
        ];
        layers
            .extend(held.frontends.iter().map(|(name, bytes)| layer(format!("frontend of {name}"), *bytes)));
        layers.extend(held.venvs.iter().map(|(name, bytes)| layer(format!("venv of {name}"), *bytes)));
        layers.push(layer("image".to_owned(), held.image));
        Self {
            name: subject.name,
            locked: subject.inputs.iter().any(|part| part.part == "lock"),
            digest: subject.digest,
            base: None,
            baked: held.image.is_some(),
            layers,
            steps: if held.image.is_some() { vec![] } else { STEPS.to_vec() },
            disk_gib: subject.disk_gib,
            packages: subject.packages,
            hardening: subject.hardening,
            before: held.before.as_ref().map(|before| Before::new(before, &subject.inputs)),
            inputs: subject.inputs,
            calls: subject.calls,
            aws: None,
        }
    }
}

impl Plan {
    /// Of a bake on an instance, whose base is an AMI.
    pub fn on_instance(subject: Subject, held: &Held) -> Self {
        let base = Some(subject.base.clone());
        let mut plan = Self::new(subject, held);
        // The rest is the instance's own.
        plan.layers.retain(|layer| layer.layer.contains(" of "));
        Self { base, locked: true, steps: STEPS_ON_INSTANCE.to_vec(), ..plan }
    }
}

impl Before {
    fn new(receipt: &Receipt, inputs: &[Part]) -> Self {
        let changed = inputs.iter().filter(|part| !receipt.inputs.contains(part));
        Self {
            digest: receipt.digest.clone(),
            seconds: receipt.seconds,
            blocks_nonzero: receipt.disk.report.blocks_nonzero,
            change: receipt.disk.change.clone(),
            changed: changed.map(|part| part.part.clone()).collect(),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "image     {}, a disk of {} GiB", self.name, self.disk_gib)?;
        writeln!(
            f,
            "digest    {}",
            self.digest.as_deref().unwrap_or(if self.locked {
                "known once the base layer is built"
            } else {
                "known once there is a kiln.lock: 'kiln update' or the first bake writes it"
            })
        )?;
        if let Some(base) = &self.base {
            writeln!(f, "base      {base}")?;
        }
        if !self.packages.is_empty() {
            writeln!(f, "packages  {}, over the base's own", self.packages.join(" "))?;
        }
        writeln!(f, "hardening {}", self.hardening.join(" "))?;
        writeln!(f, "layers")?;
        for Layer { layer, cached, bytes } in &self.layers {
            let size = bytes.map(|bytes| format!("{:>9.1} MiB", mib(bytes))).unwrap_or_default();
            let line = format!("  {layer:<24} {:<8}{size}", if *cached { "cached" } else { "to build" });
            writeln!(f, "{}", line.trim_end())?;
        }
        writeln!(f, "inputs")?;
        for Part { part, sha256 } in &self.inputs {
            let changed = self.before.as_ref().is_some_and(|before| before.changed.contains(part));
            let mark = if changed { "  changed" } else { "" };
            writeln!(f, "  {part:<24} {}{mark}", short(sha256))?;
        }
        if let Some(before) = &self.before {
            let Before { digest, seconds, blocks_nonzero, change, .. } = before;
            let digest = short(digest);
            write!(f, "latest    {digest}, baked in {seconds:.1} s, {blocks_nonzero} blocks hold data")?;
            if let Some(Change { since, blocks_changed }) = change {
                write!(f, ", {blocks_changed} changed since {}", short(since))?;
            }
            writeln!(f)?;
        }
        let steps = if self.baked { "none: the image is there".to_owned() } else { self.steps.join(" → ") };
        write!(f, "steps     {steps}")?;
        if let Some(There { region, name, image_id }) = &self.aws {
            match image_id {
                Some(image_id) => write!(f, "\npublish   nothing: {name} is {image_id} in {region}")?,
                None => write!(f, "\npublish   as {name}, which is free in {region}")?,
            }
        }
        if self.calls.is_empty() {
            return Ok(());
        }
        write!(f, "\ncalls     to publish it")?;
        for Call { action, region, what } in &self.calls {
            let region = region.as_deref().unwrap_or("(the environment's)");
            write!(f, "\n  {action:<28} {region:<20} {what}")?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "for display; exact up to 8 PiB")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests;
