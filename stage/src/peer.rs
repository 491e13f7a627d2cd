//! The rest of the fleet: answers 200 to everything, so that users are served before and after the one instance.

use std::net::Ipv4Addr;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};

use crate::server::{Endpoint, reply};

/// Marks the answers that are not the instance's.
pub(crate) const SERVED_BY: &str = "x-kiln-served-by";

/// The endpoint behind the balancer's backup server.
pub(crate) struct Peer;

impl Endpoint for Peer {
    async fn answer(&self, _: Ipv4Addr, _: Request<Bytes>) -> Option<Response<Bytes>> {
        let mut response = reply(StatusCode::OK, "text/plain", "the rest of the fleet\n");
        response.headers_mut().insert(SERVED_BY, HeaderValue::from_static("peer"));
        Some(response)
    }
}
