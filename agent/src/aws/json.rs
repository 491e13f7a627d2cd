//! Calls of the services that speak AWS JSON 1.1: a POST of one document, answered by another.

use super::wire::{self, Request};
use super::{Aws, Error, Service};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

impl Aws {
    /// Calls `operation` of `service`, within the bounds and with the retries of every other call.
    ///
    /// Neither input nor output is ever shown: not in an error, not in the journal. An answer without a body reads
    /// as `{}`; [`serde::de::IgnoredAny`] takes one that is of no interest.
    pub async fn json<In, Out>(
        &self,
        service: &Service,
        operation: &'static str,
        input: &In,
    ) -> Result<Out, Error>
    where
        In: Serialize + ?Sized + Sync,
        Out: DeserializeOwned,
    {
        let body = serde_json::to_vec(input).map_err(|error| garbled(operation, "request", &error))?;
        read(operation, &self.post(service, operation, body.into()).await?)
    }

    /// Apart from [`Aws::json`], whose types would each make a copy of it.
    async fn post(&self, service: &Service, operation: &'static str, body: Bytes) -> Result<Bytes, Error> {
        let request = Request {
            method: "POST",
            path: "/".to_owned(),
            bucket: None,
            headers: vec![
                ("content-type", "application/x-amz-json-1.1".to_owned()),
                ("x-amz-target", format!("{}.{operation}", service.target)),
            ],
            body,
        };
        wire::send(self, service, operation, request).await
    }
}

fn read<Out: DeserializeOwned>(operation: &'static str, reply: &[u8]) -> Result<Out, Error> {
    let reply = if reply.is_empty() { b"{}" } else { reply };
    serde_json::from_slice(reply).map_err(|error| garbled(operation, "answer", &error))
}

/// Without the parser's own words, which quote what they stumble on.
fn garbled(call: &'static str, side: &str, error: &serde_json::Error) -> Error {
    let (kind, line, column) = (error.classify(), error.line(), error.column());
    Error::Garbled { call, reason: format!("its {side} is not as documented ({kind:?} at {line}:{column})") }
}

#[cfg(test)]
mod tests;
