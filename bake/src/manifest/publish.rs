//! `[publish]`: what becomes of an image in AWS. Its rules are pure; it is no part of the image.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use toml::Spanned;

use super::file::PublishTable;
use super::rules::Rules;

/// Good images that `kiln gc` keeps by default.
const KEEP: u32 = 3;
const DAY: Duration = Duration::from_hours(24);
/// EC2 takes ten years.
const DAYS_MOST: u32 = 3650;

/// `[publish]`, checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Publish {
    /// Regions that get a copy.
    pub regions: Vec<String>,
    /// Accounts that may launch the image.
    pub accounts: Vec<String>,
    /// From its publication, when EC2 stops offering it.
    pub deprecate_after: Option<Duration>,
    /// The SSM parameter that names it.
    pub parameter: Option<String>,
    /// The KMS key that encrypts it.
    pub kms_key: Option<String>,
    /// Tags beside Kiln's own.
    pub tags: BTreeMap<String, String>,
    /// Good images that are never retired.
    pub keep: u32,
}

impl Rules<'_> {
    pub(super) fn publish(&mut self, table: PublishTable, home: Option<&str>) -> Publish {
        for region in &table.regions {
            let name = region.get_ref();
            let good = name.split('-').count() >= 3 && name.ends_with(|char: char| char.is_ascii_digit());
            if !good
                || name
                    .chars()
                    .any(|char| !char.is_ascii_lowercase() && !char.is_ascii_digit() && char != '-')
            {
                self.complain(region.span(), format!("'{name}' is not a region: write it as \"eu-west-1\""));
            }
            if home == Some(name) {
                self.complain(
                    region.span(),
                    format!("'{name}' is where the image is made: list the copies' regions"),
                );
            }
        }
        for account in &table.accounts {
            let id = account.get_ref();
            if id.len() != 12 || !id.bytes().all(|byte| byte.is_ascii_digit()) {
                self.complain(account.span(), format!("'{id}' is not an account: give its twelve digits"));
            }
        }
        if let Some(name) = &table.parameter {
            let value = name.get_ref();
            let plain = value.chars().all(|char| char.is_ascii_alphanumeric() || "/._-".contains(char));
            let reserved =
                ["/aws", "/ssm", "aws", "ssm"].iter().any(|word| value.to_lowercase().starts_with(word));
            if !plain || reserved || value.is_empty() || (value.contains('/') && !value.starts_with('/')) {
                let message =
                    format!("parameter '{value}' is not one that SSM takes: write it as \"/shop/ami\"");
                self.complain(name.span(), message);
            }
        }
        if let Some(key) = &table.kms_key
            && !(key.get_ref().starts_with("arn:") && key.get_ref().contains(":key/"))
        {
            let message = format!(
                "kms_key '{}' is not a key's ARN, which EBS wants: \"arn:aws:kms:…:key/…\"",
                key.get_ref()
            );
            self.complain(key.span(), message);
        }
        if let Some(keep) = table.keep.as_ref().filter(|keep| *keep.get_ref() == 0) {
            self.complain(
                keep.span(),
                "keep 0 would retire the image that a rollback needs: keep 1 at least",
            );
        }
        let text = |value: Spanned<String>| value.into_inner();
        Publish {
            deprecate_after: table.deprecate_after.and_then(|after| self.days(&after)),
            regions: table.regions.into_iter().map(text).collect(),
            accounts: table.accounts.into_iter().map(text).collect(),
            parameter: table.parameter.map(text),
            kms_key: table.kms_key.map(text),
            tags: table.tags.into_iter().map(|(key, value)| (key, value.into_inner())).collect(),
            keep: table.keep.map_or(KEEP, Spanned::into_inner),
        }
    }

    fn days(&mut self, after: &Spanned<String>) -> Option<Duration> {
        let days = after.get_ref().strip_suffix('d').and_then(|days| days.parse::<u32>().ok());
        let days = days.filter(|days| (1..=DAYS_MOST).contains(days));
        if days.is_none() {
            let message = format!(
                "deprecate_after '{}' is not a number of days: write it as \"180d\"",
                after.get_ref()
            );
            self.complain(after.span(), message);
        }
        days.map(|days| DAY * days)
    }
}
