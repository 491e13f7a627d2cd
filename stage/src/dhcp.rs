//! DHCP as a VPC answers it: one fixed address per network card, the router, and nothing that leads out.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use dhcproto::Encodable;
use dhcproto::v4::{DhcpOption, Flags, HType, Message, MessageType, Opcode};
use tokio::net::UdpSocket;

use crate::network::{BRIDGE, PREFIX, ROUTER};

/// As long as a VPC's leases.
const LEASE_SECONDS: u32 = 3600;
/// What DHCP's options begin with (RFC 2131, section 3).
const MAGIC_COOKIE: [u8; 4] = [99, 130, 83, 99];

/// Serves until the future is dropped. `lease` says which address a MAC address has.
pub(crate) async fn serve(lease: impl Fn([u8; 6]) -> Option<Ipv4Addr>) -> Result<()> {
    let socket =
        UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 67)).await.context("failed to bind the DHCP server")?;
    socket.bind_device(Some(BRIDGE.as_bytes())).context("failed to bind the DHCP server to the bridge")?;
    socket.set_broadcast(true).context("failed to allow DHCP broadcasts")?;
    let mut packet = [0; 1500];
    loop {
        let Ok((length, _)) = socket.recv_from(&mut packet).await else {
            continue;
        };
        if let Some(answer) = answer(&packet[..length], &lease) {
            // A client that missed it asks again.
            let _ = socket.send_to(&answer, (Ipv4Addr::BROADCAST, 68)).await;
        }
    }
}

/// What a client's packet says, as far as it matters here.
#[derive(Debug)]
struct Asked {
    xid: u32,
    mac: [u8; 6],
    kind: u8,
}

/// Reads a client's packet (RFC 2131, section 2). By hand, since dhcproto's decoder panics on options of a wrong length.
fn read(packet: &[u8]) -> Option<Asked> {
    // op BOOTREQUEST, htype Ethernet, hlen 6.
    if !packet.starts_with(&[1, 1, 6]) || packet.get(236..240)? != MAGIC_COOKIE {
        return None;
    }
    let xid = u32::from_be_bytes(packet[4..8].try_into().ok()?);
    let mac = packet[28..34].try_into().ok()?;
    let mut options = &packet[240..];
    loop {
        match options {
            [0, rest @ ..] => options = rest,
            [53, 1, kind, ..] => {
                return Some(Asked { xid, mac, kind: *kind });
            }
            [1..=254, length, rest @ ..] => options = rest.get(usize::from(*length)..)?,
            _ => return None,
        }
    }
}

/// The answer to a packet; `None` for anything but a DISCOVER or REQUEST of a card that has a lease.
fn answer(packet: &[u8], lease: impl Fn([u8; 6]) -> Option<Ipv4Addr>) -> Option<Vec<u8>> {
    let asked = read(packet)?;
    let address = lease(asked.mac)?;
    let kind = match MessageType::from(asked.kind) {
        MessageType::Discover => MessageType::Offer,
        MessageType::Request => MessageType::Ack,
        _ => return None,
    };
    let mut reply = Message::default();
    reply
        .set_opcode(Opcode::BootReply)
        .set_htype(HType::Eth)
        .set_xid(asked.xid)
        .set_flags(Flags::default().set_broadcast())
        .set_yiaddr(address)
        .set_siaddr(ROUTER)
        .set_chaddr(&asked.mac);
    let options = reply.opts_mut();
    options.insert(DhcpOption::MessageType(kind));
    options.insert(DhcpOption::ServerIdentifier(ROUTER));
    options.insert(DhcpOption::AddressLeaseTime(LEASE_SECONDS));
    options.insert(DhcpOption::SubnetMask(Ipv4Addr::from(u32::MAX << (32 - PREFIX))));
    options.insert(DhcpOption::Router(vec![ROUTER]));
    options.insert(DhcpOption::InterfaceMtu(1500));
    reply.to_vec().ok()
}

#[cfg(test)]
mod tests {
    use dhcproto::v4::OptionCode;
    use dhcproto::{Decodable, Decoder};
    use proptest::prelude::*;

    use super::*;

    const MAC: [u8; 6] = [2, 0, 10, 98, 0, 10];
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 10);

    #[test]
    fn discover_is_offered_and_request_acknowledged() {
        for (asked, told) in
            [(MessageType::Discover, MessageType::Offer), (MessageType::Request, MessageType::Ack)]
        {
            let reply = answer(&packet(asked, MAC), lease).expect("an answer");
            let reply = Message::decode(&mut Decoder::new(&reply)).unwrap();
            assert_eq!(reply.yiaddr(), ADDRESS);
            assert_eq!(reply.xid(), 7);
            assert_eq!(reply.opts().get(OptionCode::MessageType), Some(&DhcpOption::MessageType(told)));
            assert_eq!(reply.opts().get(OptionCode::Router), Some(&DhcpOption::Router(vec![ROUTER])));
            let mask = DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0));
            assert_eq!(reply.opts().get(OptionCode::SubnetMask), Some(&mask));
        }
    }

    #[test]
    fn strangers_and_other_messages_get_no_answer() {
        assert_eq!(answer(&packet(MessageType::Discover, [9; 6]), lease), None);
        assert_eq!(answer(&packet(MessageType::Release, MAC), lease), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_packet_harms_the_server(noise in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = answer(&noise, lease);
            let mut packet = packet(MessageType::Discover, MAC);
            packet.truncate(240);
            packet.extend(noise);
            let _ = answer(&packet, lease);
        }

        #[test]
        fn no_damage_to_a_real_packet_harms_the_server(at in 0_usize..300, value: u8, cut in 0_usize..300) {
            let mut packet = packet(MessageType::Discover, MAC);
            let at = at % packet.len();
            packet[at] = value;
            packet.truncate(cut);
            let _ = answer(&packet, lease);
        }
    }

    fn lease(mac: [u8; 6]) -> Option<Ipv4Addr> {
        (mac == MAC).then_some(ADDRESS)
    }

    fn packet(kind: MessageType, mac: [u8; 6]) -> Vec<u8> {
        let mut message = Message::default();
        message.set_xid(7).set_chaddr(&mac);
        message.opts_mut().insert(DhcpOption::MessageType(kind));
        message.to_vec().unwrap()
    }
}
