//! The metadata service: does it answer, what does it say of the instance, and what does it keep to itself.

use super::{Finding, Known};
use crate::imds::Imds;
use aws_smithy_types::{DateTime, date_time::Format};
use serde::Deserialize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bounds the first question: a service that is up answers the first of its attempts, in milliseconds.
const FIRST: Duration = Duration::from_secs(4);

/// What the service says.
#[derive(Debug, Clone)]
pub(super) struct Metadata {
    pub(super) instance_id: Known<String>,
    pub(super) region: Known<String>,
    /// By the environment, which wins.
    pub(super) chosen_region: Option<String>,
    /// The private address.
    pub(super) address: Option<String>,
    /// The group's name by the instance's tags, where they are shown.
    pub(super) group_tag: Option<String>,
    pub(super) has_tags: bool,
    pub(super) role: Known<Option<Role>>,
    /// Seconds that the machine's clock is ahead of the service's.
    pub(super) ahead: Known<i64>,
}

/// The instance profile: `arn:aws:iam::123456789012:instance-profile/name`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Role {
    #[serde(rename = "InstanceProfileArn")]
    pub(super) arn: String,
}

impl Role {
    /// The partition and the account.
    pub(super) fn account(&self) -> Option<(&str, &str)> {
        let mut parts = self.arn.split(':');
        Some((parts.nth(1)?, parts.nth(2)?))
    }
}

pub(super) async fn gather(imds: &Imds) -> Metadata {
    let instance_id = imds.get_patiently("instance-id", FIRST).await.map_err(|error| error.to_string());
    let mut metadata = Metadata {
        region: instance_id.as_ref().map_or_else(|why| Err(why.clone()), |_| Ok(String::new())),
        role: Err("the metadata service does not answer".to_owned()),
        ahead: Err("the metadata service does not answer".to_owned()),
        instance_id,
        chosen_region: crate::aws::region_of_environment(),
        address: None,
        group_tag: None,
        has_tags: false,
    };
    // Where the first question had no answer, five more would only take their bounds.
    if metadata.instance_id.is_err() {
        return metadata;
    }
    let item = async |name: &str| imds.get(name).await;
    let (region, address, tag, tags, role, date) = tokio::join!(
        item("placement/region"),
        item("local-ipv4"),
        item("tags/instance/aws:autoscaling:groupName"),
        item("tags/instance"),
        item("iam/info"),
        imds.date(),
    );
    metadata.region = match region {
        Ok(Some(region)) if !region.is_empty() => Ok(region),
        Ok(_) => Err("the metadata service names no region".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    metadata.address = address.ok().flatten();
    metadata.group_tag = tag.ok().flatten();
    metadata.has_tags = matches!(tags, Ok(Some(_)));
    metadata.role = match role {
        Ok(Some(text)) => serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| format!("'iam/info' is not what it should be: {error}")),
        Ok(None) => Ok(None),
        Err(error) => Err(error.to_string()),
    };
    metadata.ahead = match date {
        Ok(Some(date)) => ahead(&date, SystemTime::now()),
        Ok(None) => Err("the metadata service dates no answer".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    metadata
}

/// How far `now` is ahead of an HTTP date, in seconds.
fn ahead(date: &str, now: SystemTime) -> Known<i64> {
    let theirs = DateTime::from_str(date, Format::HttpDate)
        .map_err(|_| "the metadata service's date cannot be read".to_owned())?;
    let ours = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Ok(i64::try_from(ours).unwrap_or(i64::MAX).saturating_sub(theirs.secs()))
}

pub(super) fn judge(metadata: &Metadata) -> Vec<Finding> {
    let id = match &metadata.instance_id {
        Ok(id) => id,
        Err(why) => {
            return vec![
                Finding::fail(
                    "imds.v2",
                    format!("no answer: {why}"),
                    "enable IMDSv2 in the launch template's MetadataOptions (HttpEndpoint=enabled, HttpTokens=required); \
                     a token that never arrives while the address answers is a hop limit: HttpPutResponseHopLimit=2 \
                     behind a container's bridge; the agent asks without a proxy, and the IPv6 endpoint only where \
                     AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE=IPv6 stands in /etc/kiln/agent.env",
                ),
                Finding::skipped("imds.region", "the metadata service does not answer"),
                Finding::skipped("imds.tags", "the metadata service does not answer"),
                Finding::skipped("imds.role", "the metadata service does not answer"),
            ];
        }
    };
    let region = match (&metadata.chosen_region, &metadata.region) {
        (Some(chosen), Ok(own)) if chosen != own => Finding::warn(
            "imds.region",
            format!("AWS_REGION is {chosen}, the instance is in {own}"),
            "unset AWS_REGION: the group and its target groups are in the instance's region",
        ),
        (_, Ok(own)) => Finding::ok("imds.region", own),
        (Some(chosen), Err(_)) => Finding::ok("imds.region", format!("{chosen}, by AWS_REGION")),
        (None, Err(why)) => Finding::fail("imds.region", why, "set AWS_REGION in /etc/kiln/agent.env"),
    };
    let tags = if metadata.has_tags {
        Finding::ok("imds.tags", "shown")
    } else {
        Finding::ok(
            "imds.tags",
            "not shown: the group is found by one call a life; InstanceMetadataTags=enabled saves it",
        )
    };
    let role = match &metadata.role {
        Ok(Some(role)) => Finding::ok("imds.role", &role.arn),
        Ok(None) => Finding::fail(
            "imds.role",
            "the instance has no instance profile",
            "name one in the launch template: without it no hook is completed and no target deregistered",
        ),
        Err(why) => Finding::skipped("imds.role", why),
    };
    vec![Finding::ok("imds.v2", format!("{id}, by a token")), region, tags, role]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Result;
    use crate::fake::{Fake, metadata as answer};

    #[tokio::test]
    async fn what_the_service_says_is_gathered_in_one_pass() {
        let items = [
            ("meta-data/instance-id", "i-0abc"),
            ("meta-data/placement/region", "eu-central-1"),
            ("meta-data/local-ipv4", "10.0.0.7"),
            ("meta-data/tags/instance", "aws:autoscaling:groupName"),
            ("meta-data/tags/instance/aws:autoscaling:groupName", "web"),
            (
                "meta-data/iam/info",
                r#"{"InstanceProfileArn":"arn:aws:iam::123456789012:instance-profile/web"}"#,
            ),
        ];
        let fake = Fake::start(move |asked, _| answer(asked, &items)).await;
        let metadata = gather(&Imds::new(&fake.url).expect("an address")).await;
        assert_eq!(metadata.instance_id.as_deref(), Ok("i-0abc"));
        assert_eq!(metadata.group_tag.as_deref(), Some("web"));
        assert!(metadata.ahead.as_ref().is_ok_and(|seconds| seconds.abs() <= 1), "the fake's clock is ours");
        let role = metadata.role.clone().expect("it answers").expect("there is one");
        assert_eq!(role.account(), Some(("aws", "123456789012")));
        assert!(judge(&metadata).iter().all(|finding| finding.result == Result::Ok));
    }

    #[tokio::test]
    async fn a_service_that_forbids_is_a_failure_with_a_way_out() {
        let fake = Fake::start(|_, _| (403, "")).await;
        tokio::time::pause();
        let metadata = gather(&Imds::new(&fake.url).expect("an address")).await;
        let findings = judge(&metadata);
        assert_eq!((findings[0].check, findings[0].result), ("imds.v2", Result::Fail));
        assert!(findings[0].remedy.as_ref().is_some_and(|remedy| remedy.contains("HttpPutResponseHopLimit")));
    }

    #[tokio::test]
    async fn hostile_answers_are_findings_too() {
        let items = [
            ("meta-data/instance-id", "i-0abc"),
            ("meta-data/iam/info", "<html>"),
            ("meta-data/placement/region", ""),
        ];
        let fake = Fake::start(move |asked, _| answer(asked, &items)).await;
        let metadata = gather(&Imds::new(&fake.url).expect("an address")).await;
        assert!(metadata.role.is_err());
        for date in ["", "yesterday", "Sun, 99 Nov 2026 09:00:00 GMT"] {
            assert!(ahead(date, SystemTime::now()).is_err(), "{date}");
        }
        let noon = UNIX_EPOCH + Duration::from_secs(1_000_000_030);
        assert_eq!(ahead("Sun, 09 Sep 2001 01:46:40 GMT", noon), Ok(30));
        assert_eq!(Role { arn: "garbage".to_owned() }.account(), None);
    }
}
