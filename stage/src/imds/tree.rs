//! The metadata as a tree, as clients that read all of it walk it (cloud-init): versions of the API, listings of folders.

use crate::cloud::Member;
use crate::network::{PREFIX, ROUTER, mac_of};

/// What can be asked for besides the network card's own; an item that an instance does not have is not listed.
const ITEMS: [&str; 17] = [
    "dynamic/instance-identity/document",
    "meta-data/ami-id",
    "meta-data/autoscaling/target-lifecycle-state",
    "meta-data/events/recommendations/rebalance",
    "meta-data/hostname",
    "meta-data/iam/security-credentials/kiln-rehearsal",
    "meta-data/instance-id",
    "meta-data/instance-life-cycle",
    "meta-data/instance-type",
    "meta-data/local-hostname",
    "meta-data/local-ipv4",
    "meta-data/mac",
    "meta-data/placement/availability-zone",
    "meta-data/placement/region",
    "meta-data/services/domain",
    "meta-data/services/partition",
    "meta-data/spot/instance-action",
];
const CARDS: &str = "meta-data/network/interfaces/macs/";
const CARD: [&str; 5] = ["device-number", "local-ipv4s", "mac", "subnet-ipv4-cidr-block", "vpc-id"];

/// The item's path without the version before it: `latest`, or the date of one.
pub(super) fn versioned(path: &str) -> Option<&str> {
    let (version, item) = path.strip_prefix('/')?.split_once('/')?;
    let date = version.len() == 10 && version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    (version == "latest" || date).then_some(item)
}

/// An item of the only network card.
pub(super) fn card(member: &Member, item: &str) -> Option<String> {
    let (mac, item) = item.strip_prefix(CARDS)?.split_once('/')?;
    if mac != mac_of(member.address) {
        return None;
    }
    match item {
        "device-number" => Some("0".to_owned()),
        "local-ipv4s" => Some(member.address.to_string()),
        "mac" => Some(mac.to_owned()),
        "subnet-ipv4-cidr-block" => {
            let [a, b, c, _] = ROUTER.octets();
            Some(format!("{a}.{b}.{c}.0/{PREFIX}"))
        }
        // Without one, cloud-init takes the instance for one of EC2-Classic.
        "vpc-id" => Some("vpc-0123456789abcdef0".to_owned()),
        _ => None,
    }
}

/// The names in a folder, a line each, folders with a slash. `has` says whether the instance has an item.
pub(super) fn listing(member: &Member, folder: &str, has: impl Fn(&str) -> bool) -> Option<String> {
    let mac = mac_of(member.address);
    let cards = CARD.map(|item| format!("{CARDS}{mac}/{item}"));
    let folder = format!("{}/", folder.trim_end_matches('/'));
    let mut names: Vec<&str> = Vec::new();
    for item in ITEMS.into_iter().chain(cards.iter().map(String::as_str)).filter(|item| has(item)) {
        let Some(rest) = item.strip_prefix(folder.as_str()) else { continue };
        let name = rest.split_inclusive('/').next().unwrap_or(rest);
        if names.last() != Some(&name) {
            names.push(name);
        }
    }
    (!names.is_empty()).then(|| names.join("\n"))
}
