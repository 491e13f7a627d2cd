//! `kiln plan --policy`: the least that `publish`, `resume`, `abort` and `gc` of a manifest have to be allowed. Pure.
//!
//! Not in it: reading a parent whose hashes nobody kept (`--parent`: `ebs:ListSnapshotBlocks`, `ebs:GetSnapshotBlock`), and
//! what a KMS key's own policy has to say.

use serde_json::{Value, json};

use crate::manifest::Manifest;

/// The policy document, as IAM takes it. Regions that the manifest does not name are `*`.
pub fn policy(manifest: &Manifest) -> Value {
    let (publish, name) = (&manifest.publish, &manifest.image.name);
    let home = manifest.region.as_deref().unwrap_or("*");
    let regions: Vec<&str> =
        std::iter::once(home).chain(publish.regions.iter().map(String::as_str)).collect();
    let of = |kind: &str| {
        regions.iter().map(|region| format!("arn:aws:ec2:{region}::{kind}/*")).collect::<Vec<_>>()
    };
    let both = [of("image"), of("snapshot")].concat();

    let mut create = vec!["ec2:RegisterImage"];
    if !publish.regions.is_empty() {
        create.push("ec2:CopyImage");
    }
    let mut change =
        vec!["ec2:DeleteSnapshot", "ec2:DeregisterImage", "ec2:DisableImage", "ec2:EnableImageDeprecation"];
    let mut look = vec![
        "autoscaling:DescribeLaunchConfigurations",
        "ec2:DescribeImageReferences",
        "ec2:DescribeImages",
        "ec2:DescribeSnapshots",
    ];
    if !publish.accounts.is_empty() {
        look.push("ec2:DescribeImageAttribute");
        change.push("ec2:ModifyImageAttribute");
    }
    let mut statements = vec![
        json!({"Sid": "Look", "Effect": "Allow", "Action": look, "Resource": "*"}),
        json!({
            "Sid": "Upload", "Effect": "Allow", "Resource": of("snapshot"),
            "Action": ["ebs:CompleteSnapshot", "ebs:PutSnapshotBlock", "ebs:StartSnapshot"],
        }),
        json!({"Sid": "Create", "Effect": "Allow", "Action": create, "Resource": both}),
        json!({"Sid": "Tag", "Effect": "Allow", "Action": ["ec2:CreateTags"], "Resource": both}),
        json!({
            "Sid": "Change", "Effect": "Allow", "Action": change, "Resource": both,
            // Of this app's images and snapshots alone.
            "Condition": {"StringEquals": {"aws:ResourceTag/kiln:image": name}},
        }),
    ];
    if let Some(parameter) = &publish.parameter {
        let parameter = parameter.trim_start_matches('/');
        let there: Vec<_> =
            regions.iter().map(|region| format!("arn:aws:ssm:{region}:*:parameter/{parameter}")).collect();
        statements.push(json!({
            "Sid": "Name", "Effect": "Allow", "Resource": there,
            "Action": ["ssm:DeleteParameter", "ssm:GetParameter", "ssm:GetParameterHistory", "ssm:PutParameter"],
        }));
    }
    json!({"Version": "2012-10-17", "Statement": statements})
}
