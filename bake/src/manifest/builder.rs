//! `[builder]`: the instance that `kiln bake --on instance` bakes on. Its rules are pure; only its base is part of the image.

use std::time::Duration;

use kiln_ami::Base;
use serde::Serialize;
use toml::Spanned;

use super::file::{BaseKey, BuilderTable};
use super::rules::Rules;

const TYPE: &str = "t3.small";
/// Minutes that an instance may live: fewer are not enough to boot and to install packages.
const LIFETIMES: std::ops::RangeInclusive<u64> = 10..=720;
const LIFETIME: Duration = Duration::from_hours(1);

/// `[builder]`, checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Builder {
    /// The AMI that it starts from.
    pub base: Base,
    /// Its type.
    pub instance_type: String,
    /// Where it is launched: with a way to S3 and to the mirrors of its packages.
    pub subnet: String,
    /// Takes what it fetches and what it reports, in the image's region.
    pub bucket: String,
    /// Its instance profile.
    pub profile: Option<String>,
    /// After this it ends itself.
    pub lifetime: Duration,
}

impl Rules<'_> {
    pub(super) fn builder(&mut self, table: BuilderTable) -> Builder {
        let base_span = table.base.span();
        let base = match table.base.into_inner() {
            BaseKey::Id(id) => {
                if !id.starts_with("ami-") {
                    self.complain(
                        base_span,
                        format!("base '{id}' is not an AMI's id: write it as \"ami-…\""),
                    );
                }
                Base::Id(id)
            }
            BaseKey::Newest(base) => Base::Newest { name: base.name, owner: base.owner },
            BaseKey::Parameter(base) => Base::Parameter(base.parameter),
        };
        if !table.subnet.get_ref().starts_with("subnet-") {
            let message = format!("subnet '{}' is not a subnet's id: \"subnet-…\"", table.subnet.get_ref());
            self.complain(table.subnet.span(), message);
        }
        let bucket = table.bucket.get_ref();
        let plain = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || "-.".contains(char);
        if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(plain) {
            let message =
                format!("bucket '{bucket}' is not a bucket's name: 3 to 63 of a-z, 0-9, '-' and '.'");
            self.complain(table.bucket.span(), message);
        }
        if let Some(kind) = table.instance_type.as_ref().filter(|kind| !kind.get_ref().contains('.')) {
            let message =
                format!("type '{}' is not an instance type: write it as \"t3.small\"", kind.get_ref());
            self.complain(kind.span(), message);
        }
        Builder {
            base,
            instance_type: table.instance_type.map_or(TYPE.to_owned(), Spanned::into_inner),
            subnet: table.subnet.into_inner(),
            bucket: table.bucket.into_inner(),
            profile: table.profile.map(Spanned::into_inner),
            lifetime: table.lifetime.map_or(LIFETIME, |lifetime| self.minutes(&lifetime)),
        }
    }

    fn minutes(&mut self, lifetime: &Spanned<String>) -> Duration {
        let minutes = lifetime.get_ref().strip_suffix('m').and_then(|minutes| minutes.parse::<u64>().ok());
        let minutes = minutes.filter(|minutes| LIFETIMES.contains(minutes));
        if minutes.is_none() {
            let (min, max, found) = (LIFETIMES.start(), LIFETIMES.end(), lifetime.get_ref());
            let message = format!("lifetime '{found}' is not {min} to {max} minutes: write it as \"60m\"");
            self.complain(lifetime.span(), message);
        }
        minutes.map_or(LIFETIME, |minutes| Duration::from_secs(minutes * 60))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::manifest::Manifest;

    const APP: &str =
        "[image]\nname = \"shop\"\n[[service]]\nname = \"shop\"\npath = \"/\"\nfrontend = \"web\"\n";

    fn builder(keys: &str) -> Result<Builder, String> {
        let text = format!("{APP}[builder]\n{keys}");
        let (manifest, _) = Manifest::parse(&text, Path::new("/app")).map_err(|error| error.to_string())?;
        Ok(manifest.builder.expect("there is one"))
    }

    #[test]
    fn a_base_is_named_in_three_ways() {
        let rest = "subnet = \"subnet-1\"\nbucket = \"shop-bakes\"\n";
        let table = [
            ("\"ami-1\"", Base::Id("ami-1".into())),
            (
                "{ name = \"debian-12-*\", owner = \"136693071363\" }",
                Base::Newest { name: "debian-12-*".into(), owner: "136693071363".into() },
            ),
            ("{ parameter = \"/aws/x\" }", Base::Parameter("/aws/x".into())),
        ];
        for (text, base) in table {
            let built = builder(&format!("base = {text}\n{rest}")).expect("it is valid");
            assert_eq!((built.base, built.lifetime.as_secs()), (base, 3600), "{text}");
        }
    }

    #[test]
    fn what_ec2_would_refuse_is_refused_with_its_place() {
        let good = [("base", "\"ami-1\""), ("subnet", "\"subnet-1\""), ("bucket", "\"shop-bakes\"")];
        let table = [
            ("base", "\"debian\"", "not an AMI's id"),
            ("base", "{ name = \"debian\" }", "base is an id as in"),
            ("subnet", "\"vpc-1\"", "not a subnet's id"),
            ("bucket", "\"My_Bucket\"", "not a bucket's name"),
            ("type", "\"large\"", "not an instance type"),
            ("lifetime", "\"5m\"", "10 to 720 minutes"),
            ("lifetime", "\"1h\"", "10 to 720 minutes"),
        ];
        for (key, value, expected) in table {
            let keys = good.iter().filter(|(name, _)| *name != key).copied().chain([(key, value)]);
            let text = keys.map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>().join("\n");
            let told = builder(&text).expect_err(key);
            assert!(told.contains(expected) && told.contains("kiln.toml:"), "{key} = {value}: {told}");
        }
    }
}
