//! The AWS calls that a publication makes, in order: what `kiln plan` announces. Pure.

use kiln_ami::Base;
use serde::Serialize;

use crate::manifest::{Builder, Manifest};

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
    let gib = manifest.image.size_gib;
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
    calls.extend(after(manifest));
    calls
}

/// The calls of the first bake of an image on an instance.
pub fn calls_on_instance(manifest: &Manifest, builder: &Builder) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut add = |action, what: &str| {
        calls.push(Call { action, region: manifest.region.clone(), what: what.to_owned() });
    };
    if let Base::Parameter(name) = &builder.base {
        add("ssm:GetParameter", &format!("the base that {name} names"));
    }
    add("ec2:DescribeImages", "the base; whether the name is taken; until the image is available");
    add("ec2:DescribeSubnets", &format!("the VPC of {}", builder.subnet));
    add("ec2:CreateSecurityGroup", "one that lets nothing in");
    add("s3:PutObject", &format!("the bundle and a place for reports, in {}", builder.bucket));
    add("ec2:RunInstances", &format!("a {}", builder.instance_type));
    add("ec2:DescribeInstances", "until it has stopped; until it is terminated");
    add("s3:GetObject", "what it reports");
    add("ec2:CreateImage", "of the stopped instance");
    add("ec2:DescribeSnapshots", "whose the image's snapshot is");
    add("ec2:ModifyImageAttribute", "IMDSv2 alone");
    add("ec2:TerminateInstances", "with its volume");
    add("s3:DeleteObject", "the bundle and the reports");
    add("ec2:DeleteSecurityGroup", "the last of what the image does not need");
    calls.extend(after(manifest));
    calls
}

/// What is done with the image.
fn after(manifest: &Manifest) -> Vec<Call> {
    let publish = &manifest.publish;
    let home = || manifest.region.clone();
    let mut calls = Vec::new();
    let mut add = |region: Option<String>, action, what: &str| {
        calls.push(Call { action, region, what: what.to_owned() });
    };
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
