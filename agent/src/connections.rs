//! Work in flight, counted at the machine itself.
//!
//! The kernel lists the TCP connections on the target ports (netlink `sock_diag`). A load balancer keeps idle ones
//! open for minutes, and those are no work: nginx counts them as `Waiting` (a connection between two requests, or
//! before its first). So
//!
//! ```text
//!  work = max(connections − Waiting,  min(connections, Reading + Writing − 1))
//! ```
//!
//! The first term sees connections that nginx does not hold; the second keeps idle connections of nginx's *other*
//! ports from hiding work (it counts requests on any port; the 1 is the question itself). A streaming response, a long
//! poll and a websocket are `Writing` to their last byte. Without nginx's answer every connection counts; and where the
//! targets are served past nginx, its answer says nothing about them: then `drain.stub_status` is to be "".
//!
//! A listener on `[::]` has its IPv4 connections in the kernel's IPv6 list, under mapped addresses: both families are
//! asked, and none is counted twice. `TIME_WAIT` and `FIN_WAIT2` carry nothing of ours any more.

use crate::fetch::{Url, fetch};
use hyper::Method;
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use std::io;
use std::time::Duration;

/// Bounds the question to nginx, so that a hanging one delays no drain.
const STUB_BOUND: Duration = Duration::from_secs(1);

/// nginx's `stub_status`, as far as it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stub {
    /// Reading a request's head.
    pub reading: usize,
    /// From the head to the response's last byte; the question itself is one.
    pub writing: usize,
    /// Between requests.
    pub waiting: usize,
}

impl Stub {
    /// Reads the last line, `Reading: 6 Writing: 179 Waiting: 106`.
    pub fn parse(text: &str) -> Option<Self> {
        let line = text.lines().find(|line| line.trim_start().starts_with("Reading:"))?;
        let mut words = line.split_whitespace();
        let mut field = |name: &str| {
            words.next().filter(|word| *word == name)?;
            words.next()?.parse().ok()
        };
        Some(Self { reading: field("Reading:")?, writing: field("Writing:")?, waiting: field("Waiting:")? })
    }
}

/// How many connections have work in flight.
pub fn work(connections: usize, stub: Option<Stub>) -> usize {
    let Some(stub) = stub else { return connections };
    let busy = (stub.reading.saturating_add(stub.writing)).saturating_sub(1);
    connections.saturating_sub(stub.waiting).max(busy.min(connections))
}

/// Counts work on `ports` now. Idle connections are told apart where nginx answers at `stub_status`.
pub async fn count(ports: &[u16], stub_status: Option<&Url>) -> io::Result<usize> {
    let stub = match stub_status {
        Some(url) => ask_nginx(url).await,
        None => None,
    };
    // One message to the kernel and its answer, without a wait: no thread is needed for it.
    Ok(work(established(ports)?, stub))
}

async fn ask_nginx(url: &Url) -> Option<Stub> {
    let reply = fetch(Method::GET, url, &[], STUB_BOUND).await.ok()?;
    Stub::parse(std::str::from_utf8(&reply.body).ok()?)
}

/// TCP connections whose local port is one of `ports` and which may still carry bytes.
pub fn established(ports: &[u16]) -> io::Result<usize> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.set_non_blocking(true)?;
    let mut found = 0;
    for port in ports {
        found += dump(&socket, AF_INET, SocketId { source_port: *port, ..SocketId::new_v4() })?;
        found += dump(&socket, AF_INET6, SocketId { source_port: *port, ..SocketId::new_v6() })?;
    }
    Ok(found)
}

fn dump(socket: &Socket, family: u8, socket_id: SocketId) -> io::Result<usize> {
    let port = socket_id.source_port;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let request = InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        // Closed by one side only: the other's bytes may still be on their way.
        states: StateFlags::ESTABLISHED
            | StateFlags::CLOSE_WAIT
            | StateFlags::FIN_WAIT1
            | StateFlags::CLOSING
            | StateFlags::LAST_ACK,
        socket_id,
    };
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut found = 0;
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        match read(&datagram, port)? {
            (more, true) => return Ok(found + more),
            (more, false) => found += more,
        }
    }
}

/// Connections in one datagram of the answer, and whether it was the last.
fn read(datagram: &[u8], port: u16) -> io::Result<(usize, bool)> {
    let garbled = || io::Error::new(io::ErrorKind::InvalidData, "kernel's sock_diag answer is garbled");
    let mut found = 0;
    let mut rest = datagram;
    while !rest.is_empty() {
        let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(|_| garbled())?;
        let length = usize::try_from(message.header.length).map_err(|_| garbled())?;
        match message.payload {
            NetlinkPayload::Done(_) => return Ok((found, true)),
            NetlinkPayload::Error(error) => return Err(error.to_io()),
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response))
                if response.header.socket_id.source_port == port =>
            {
                found += 1;
            }
            _ => {}
        }
        // Messages are padded to four bytes.
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok((found, false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{TcpListener, TcpStream};

    const PAGE: &str = "Active connections: 291 \nserver accepts handled requests\n 16630948 16630948 31070465 \n\
                        Reading: 6 Writing: 179 Waiting: 106 \n";

    #[test]
    fn the_status_page_is_read() {
        assert_eq!(Stub::parse(PAGE), Some(Stub { reading: 6, writing: 179, waiting: 106 }));
        for page in ["", "Reading: x", "Reading: 1 Waiting: 2 Writing: 3", "<html>404</html>"] {
            assert_eq!(Stub::parse(page), None, "{page}");
        }
    }

    #[test]
    fn idle_keep_alives_are_no_work_and_a_stream_is() {
        let stub = |writing, waiting| Some(Stub { reading: 0, writing, waiting });
        let cases = [
            ("nothing open", 0, stub(1, 0), 0),
            ("a load balancer's idle connections", 8, stub(1, 8), 0),
            ("one of them streams", 8, stub(2, 7), 1),
            ("idle connections on another port hide nothing", 1, stub(2, 50), 1),
            ("busy on another port only", 0, stub(5, 0), 0),
            ("a connection that nginx does not hold", 1, stub(1, 0), 1),
            ("a long poll: its response has not begun", 1, stub(2, 0), 1),
            ("a websocket, idle as it may be, among idle keep-alives", 6, stub(2, 5), 1),
            ("a tunnel's websocket and a second listener's keep-alives", 2, stub(3, 40), 2),
            ("accepted by the kernel, not yet by nginx", 2, stub(1, 1), 1),
            ("streams of one HTTP/2 connection are one connection", 1, stub(9, 0), 1),
            ("nginx does not answer", 3, None, 3),
        ];
        for (case, connections, stub, expected) in cases {
            assert_eq!(work(connections, stub), expected, "{case}");
        }
    }

    #[test]
    fn the_kernel_counts_connections_by_local_port() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let port = listener.local_addr().expect("it is bound").port();
        assert_eq!(established(&[port]).expect("the kernel answers"), 0);
        let client = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        let (server, _) = listener.accept().expect("it was connected to");
        assert_eq!(established(&[port]).expect("the kernel answers"), 1);
        drop((client, server));
        let other = listener.local_addr().expect("it is bound").port().wrapping_add(1).max(1);
        assert_eq!(established(&[other]).expect("the kernel answers"), 0);
    }

    #[test]
    fn a_listener_for_both_families_counts_each_connection_once_and_none_that_has_ended() {
        // IPv4 comes to it under mapped addresses, in the list of the other family.
        let Ok(listener) = TcpListener::bind("[::]:0") else {
            let reason = std::fs::read_to_string("/proc/net/if_inet6");
            assert!(reason.map_or(true, |list| list.is_empty()), "IPv6 is there, and cannot be listened on");
            return;
        };
        let port = listener.local_addr().expect("it is bound").port();
        let mut pairs = Vec::new();
        for address in ["127.0.0.1", "::1"] {
            let Ok(client) = TcpStream::connect((address, port)) else { continue };
            pairs.push((client, listener.accept().expect("it was connected to").0));
            assert_eq!(established(&[port]).expect("the kernel answers"), pairs.len(), "{address}");
        }
        assert!(!pairs.is_empty(), "neither family connects");
        // Closed by the server first: its side goes to TIME_WAIT, which carries nothing any more.
        for (client, server) in pairs {
            drop(server);
            drop(client);
        }
        let until = std::time::Instant::now() + Duration::from_secs(20);
        while established(&[port]).expect("the kernel answers") > 0 {
            assert!(std::time::Instant::now() < until, "ended connections are counted");
            std::thread::yield_now();
        }
    }

    proptest! {
        #[test]
        fn any_page_and_any_datagram_get_an_answer(
            page in "\\PC{0,200}",
            datagram in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = Stub::parse(&page);
            let _ = read(&datagram, 80);
        }
    }
}
