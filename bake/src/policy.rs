//! `kiln plan --policy`: the least that `publish`, `resume`, `abort` and `gc` of a manifest have to be allowed, or with
//! `--on instance` `bake --on instance` in the place of `publish`. Pure.
//!
//! Not in it: reading a parent whose hashes nobody kept (`--parent`: `ebs:ListSnapshotBlocks`, `ebs:GetSnapshotBlock`), and
//! what a KMS key's own policy has to say.

use serde_json::{Value, json};

use crate::builder;
use crate::cli::On;
use crate::failure::Failure;
use crate::manifest::{Builder, Manifest};

/// The policy document, as IAM takes it, for images that are baked `on` what. Regions that the manifest does not name are
/// `*`.
///
/// # Errors
/// There is no `[builder]` to bake on.
pub fn policy(manifest: &Manifest, on: On) -> Result<Value, Failure> {
    let (publish, name) = (&manifest.publish, &manifest.image.name);
    let builder = if on == On::Instance { Some(builder::table(manifest)?) } else { None };
    let home = manifest.region.as_deref().unwrap_or("*");
    let regions: Vec<&str> =
        std::iter::once(home).chain(publish.regions.iter().map(String::as_str)).collect();
    let of = |kind: &str| {
        regions.iter().map(|region| format!("arn:aws:ec2:{region}::{kind}/*")).collect::<Vec<_>>()
    };
    let both = [of("image"), of("snapshot")].concat();

    let mut create = vec![if builder.is_some() { "ec2:CreateImage" } else { "ec2:RegisterImage" }];
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
    }
    if !publish.accounts.is_empty() || builder.is_some() {
        change.push("ec2:ModifyImageAttribute");
    }
    let mut statements = vec![
        json!({"Sid": "Create", "Effect": "Allow", "Action": create, "Resource": both}),
        json!({"Sid": "Tag", "Effect": "Allow", "Action": ["ec2:CreateTags"], "Resource": both}),
        json!({
            "Sid": "Change", "Effect": "Allow", "Action": change, "Resource": both,
            // Of this app's images and snapshots alone.
            "Condition": {"StringEquals": {"aws:ResourceTag/kiln:image": name}},
        }),
    ];
    match builder {
        None => statements.push(json!({
            "Sid": "Upload", "Effect": "Allow", "Resource": of("snapshot"),
            "Action": ["ebs:CompleteSnapshot", "ebs:PutSnapshotBlock", "ebs:StartSnapshot"],
        })),
        Some(builder) => {
            look.extend(["ec2:DescribeInstances", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets"]);
            statements.extend(on_instance(builder, home, name));
        }
    }
    statements.insert(0, json!({"Sid": "Look", "Effect": "Allow", "Action": look, "Resource": "*"}));
    if let Some(parameter) = &publish.parameter {
        let parameter = parameter.trim_start_matches('/');
        let there: Vec<_> =
            regions.iter().map(|region| format!("arn:aws:ssm:{region}:*:parameter/{parameter}")).collect();
        statements.push(json!({
            "Sid": "Name", "Effect": "Allow", "Resource": there,
            "Action": ["ssm:DeleteParameter", "ssm:GetParameter", "ssm:GetParameterHistory", "ssm:PutParameter"],
        }));
    }
    Ok(json!({"Version": "2012-10-17", "Statement": statements}))
}

/// What a builder instance needs besides: all of it tagged when it is made, and nothing else touched.
fn on_instance(builder: &Builder, home: &str, name: &str) -> Vec<Value> {
    let of = |kinds: &[&str]| -> Vec<String> {
        kinds.iter().map(|kind| format!("arn:aws:ec2:{home}:*:{kind}/*")).collect()
    };
    let ours = json!({"StringEquals": {"aws:ResourceTag/kiln:image": name}});
    // CreateImage and RunInstances are judged by each resource that they touch.
    let base = [
        of(&["instance", "network-interface", "security-group", "subnet", "volume"]),
        vec![format!("arn:aws:ec2:{home}::image/*")],
    ]
    .concat();
    let mut statements = vec![
        json!({"Sid": "Launch", "Effect": "Allow", "Action": ["ec2:RunInstances"], "Resource": base}),
        json!({
            "Sid": "Imaged", "Effect": "Allow", "Action": ["ec2:CreateImage"], "Resource": of(&["instance"]),
            "Condition": ours,
        }),
        json!({
            "Sid": "Group", "Effect": "Allow", "Action": ["ec2:CreateSecurityGroup"],
            "Resource": of(&["security-group", "vpc"]),
        }),
        json!({
            "Sid": "TagBuilder", "Effect": "Allow", "Action": ["ec2:CreateTags"],
            "Resource": of(&["instance", "security-group", "volume"]),
            "Condition": {"StringEquals": {"ec2:CreateAction": ["CreateSecurityGroup", "RunInstances"]}},
        }),
        json!({
            "Sid": "TakeDown", "Effect": "Allow", "Action": ["ec2:DeleteSecurityGroup", "ec2:TerminateInstances"],
            "Resource": of(&["instance", "security-group"]), "Condition": ours,
        }),
        json!({
            "Sid": "Bundle", "Effect": "Allow", "Action": ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"],
            "Resource": format!("arn:aws:s3:::{}/kiln/*", builder.bucket),
        }),
    ];
    if let kiln_ami::Base::Parameter(parameter) = &builder.base {
        let parameter = parameter.trim_start_matches('/');
        statements.push(json!({
            "Sid": "Base", "Effect": "Allow", "Action": ["ssm:GetParameter"],
            "Resource": format!("arn:aws:ssm:{home}:*:parameter/{parameter}"),
        }));
    }
    if let Some(profile) = &builder.profile {
        // The role behind the instance profile, which goes by the same name where the console made it.
        statements.push(json!({
            "Sid": "Pass", "Effect": "Allow", "Action": ["iam:PassRole"],
            "Resource": format!("arn:aws:iam::*:role/{profile}"),
        }));
    }
    statements
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const APP: &str =
        "[image]\nname = \"shop\"\n[[service]]\nname = \"shop\"\npath = \"/\"\nfrontend = \"web\"\n";

    fn sids(builder: &str, on: On) -> Result<Vec<String>, Failure> {
        let (manifest, _) = Manifest::parse(&format!("{APP}{builder}"), Path::new("/app"))?;
        let policy = policy(&manifest, on)?;
        let statements = policy["Statement"].as_array().cloned().unwrap_or_default();
        Ok(statements.iter().map(|one| one["Sid"].as_str().unwrap_or_default().to_owned()).collect())
    }

    #[test]
    fn a_role_is_passed_and_a_base_is_read_only_where_the_manifest_names_one() {
        let rest = "subnet = \"subnet-1\"\nbucket = \"shop-bakes\"\n";
        let plain = sids(&format!("[builder]\nbase = \"ami-1\"\n{rest}"), On::Instance).expect("a policy");
        assert!(!plain.iter().any(|sid| ["Pass", "Base", "Upload"].contains(&sid.as_str())), "{plain:?}");
        let both = format!("[builder]\nbase = {{ parameter = \"/aws/x\" }}\nprofile = \"shop\"\n{rest}");
        let named = sids(&both, On::Instance).expect("a policy");
        assert!(["Pass", "Base"].iter().all(|sid| named.contains(&(*sid).to_owned())), "{named:?}");
        assert!(sids(&both, On::Here).expect("a policy").contains(&"Upload".to_owned()));
        let refused = sids("", On::Instance).expect_err("there is no builder");
        assert!(refused.to_string().contains("has no [builder]"), "{refused}");
    }
}
