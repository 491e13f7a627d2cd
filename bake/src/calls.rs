//! The AWS calls that a publication makes, in order: what `kiln plan` announces. Pure.

use serde::Serialize;

use crate::manifest::Manifest;

/// One kind of call, in the order of its first time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Call {
    /// The IAM action, such as `ebs:StartSnapshot`.
    pub action: &'static str,
    /// Where; `None` is the AWS environment's own region.
    pub region: Option<String>,
    /// What for.
    pub what: String,
}

/// The calls of the first publication of an image: one that is published already is only looked at.
pub fn calls(manifest: &Manifest) -> Vec<Call> {
    let (publish, gib) = (&manifest.publish, manifest.image.size_gib);
    let home = || manifest.region.clone();
    let mut calls = Vec::new();
    let mut add = |region: Option<String>, action, what: &str| {
        calls.push(Call { action, region, what: what.to_owned() });
    };
    add(home(), "ec2:DescribeImages", "whether the name is taken; until the image is available");
    add(
        home(),
        "ebs:StartSnapshot",
        &format!("a volume of {gib} GiB, over the last published image's if it is known"),
    );
    add(
        home(),
        "ebs:PutSnapshotBlock",
        "each block of 512 KiB that holds data, or differs from the parent's",
    );
    add(home(), "ebs:CompleteSnapshot", "with the number of blocks and their checksum");
    add(home(), "ec2:DescribeSnapshots", "until it is completed");
    add(home(), "ec2:RegisterImage", "the snapshot as an AMI");
    for region in &publish.regions {
        let there = || Some(region.clone());
        add(there(), "ec2:DescribeImages", "whether the name is taken; until the copy is available");
        add(there(), "ec2:CopyImage", "the image and its snapshot");
        add(there(), "ec2:DescribeSnapshots", "whose the copy's snapshot is");
    }
    for region in publish.regions.iter().cloned().map(Some).chain([home()]) {
        if publish.deprecate_after.is_some() {
            add(region.clone(), "ec2:EnableImageDeprecation", "when others are no longer offered it");
        }
        if !publish.accounts.is_empty() {
            add(region.clone(), "ec2:DescribeImageAttribute", "who may launch it");
            add(
                region.clone(),
                "ec2:ModifyImageAttribute",
                &format!("shared with {}", publish.accounts.join(", ")),
            );
        }
        if let Some(parameter) = &publish.parameter {
            add(region.clone(), "ssm:GetParameter", "what it says; until it says the image");
            add(region.clone(), "ssm:PutParameter", parameter);
        }
        add(region, "ec2:CreateTags", "published: nobody's to resume or remove");
    }
    calls
}
