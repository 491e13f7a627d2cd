//! The stage's network: a bridge with the addresses of IMDS and the AWS endpoint, and a cable for each instance.

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::missing;

pub(crate) const BRIDGE: &str = "kiln0";
/// Given, since a bridge otherwise takes the least address among its ports: one more instance on it, and the others
/// would send to an address that is gone for the half minute until they ask again.
const BRIDGE_MAC: &str = "02:00:0a:62:00:01";
pub(crate) const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 1);
pub(crate) const PREFIX: u8 = 24;
pub(crate) const IMDS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
pub(crate) const AWS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 250);

/// `ip` talks to the kernel only; longer than this and the machine is in trouble.
const BOUND: Duration = Duration::from_secs(10);

/// Sets up the bridge, in the namespace of this process.
pub(crate) async fn raise() -> Result<()> {
    ip("link set lo up").await?;
    ip(&format!("link add {BRIDGE} address {BRIDGE_MAC} type bridge forward_delay 0")).await?;
    ip(&format!("addr add {ROUTER}/{PREFIX} dev {BRIDGE}")).await?;
    ip(&format!("addr add {IMDS}/32 dev {BRIDGE}")).await?;
    ip(&format!("addr add {AWS}/32 dev {BRIDGE}")).await?;
    ip(&format!("link set {BRIDGE} up")).await
}

/// Takes the bridge down, so that the next play in this process finds none.
pub(crate) async fn strike() {
    // It may be gone already; the namespace takes it along in any case.
    let _ = ip(&format!("link del {BRIDGE}")).await;
}

/// Addresses that are given out, one after the other and then again from the first.
const ADDRESSES: u8 = 240;

/// The address of the nth instance (from 0).
pub(crate) fn address_of(n: usize) -> Ipv4Addr {
    let nth = u8::try_from(n % usize::from(ADDRESSES)).unwrap_or_default();
    Ipv4Addr::new(10, 98, 0, 10 + nth)
}

/// The MAC address of the instance with that address, made from it as EC2 does not but containers do.
pub(crate) fn mac_of(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

async fn ip(arguments: &str) -> Result<()> {
    let mut command = Command::new("ip");
    command.env("PATH", missing::path());
    command.args(arguments.split(' ')).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(BOUND, command.output())
        .await
        .with_context(|| format!("failed to run 'ip {arguments}' within {BOUND:?}"))?
        .with_context(|| format!("failed to run 'ip {arguments}'"))?;
    if !output.status.success() {
        bail!("failed to run 'ip {arguments}': {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
