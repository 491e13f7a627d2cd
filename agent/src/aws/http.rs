//! The SDK's HTTP client: HTTP/1.1, TLS by rustls, the host's own root certificates, and never a proxy.
//!
//! The SDK's own client speaks HTTP/2 too, which none of these services needs of a caller that asks once a minute, and
//! its code would be a thirtieth of the agent's memory.

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector as Connector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, Error, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use std::time::Duration;

/// Bounds TCP's part of a connection, for a call whose service is not reachable at all.
const CONNECT_BOUND: Duration = Duration::from_secs(3);
/// A connection serves a drain's calls, which come by the second; one kept for the next minute's metrics would hold its
/// buffers in between.
const IDLE: Duration = Duration::from_secs(20);

/// The client.
#[derive(Debug, Clone)]
pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector>, SdkBody>,
    /// Bounds the wait for the answer's head, as far as who calls has a bound for it.
    bound: Option<Duration>,
}

impl Http {
    /// Trusts the host's root certificates.
    pub(super) fn new() -> Self {
        Self::trusting(roots())
    }

    fn trusting(roots: RootCertStore) -> Self {
        // Refused when this process has one already, which is the same.
        let _ = ring::default_provider().install_default();
        let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_BOUND));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Self { client, bound: None }
    }
}

/// Without any, each call over TLS fails, and says that the issuer is unknown.
fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "root certificates are not readable");
    }
    let (_, unusable) = roots.add_parsable_certificates(found.certs);
    if roots.is_empty() || unusable > 0 {
        tracing::warn!(roots = roots.len(), unusable, "root certificates are missing or not usable");
    }
    roots
}

impl HttpClient for Http {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let connect = settings.connect_timeout().unwrap_or(CONNECT_BOUND);
        let bound = settings.read_timeout().map(|read| connect.saturating_add(read));
        SharedHttpConnector::new(Self { client: self.client.clone(), bound })
    }
}

impl Connector for Http {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Self { client, bound } = self.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let answer = client.request(request);
            let answer = match bound {
                Some(bound) => tokio::time::timeout(bound, answer)
                    .await
                    .map_err(|late| ConnectorError::timeout(late.into()))?,
                None => answer.await,
            };
            let answer = answer.map_err(sorted)?.map(SdkBody::from_body_1_x);
            HttpResponse::try_from(answer).map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// What the SDK asks again after, and what it does not.
fn sorted(error: Error) -> ConnectorError {
    use std::error::Error as _;
    let cause = error.source().and_then(|cause| cause.downcast_ref::<hyper::Error>());
    match cause {
        Some(cause) if cause.is_user() => ConnectorError::user(error.into()),
        Some(cause) if cause.is_parse() => ConnectorError::other(error.into(), None),
        // No connection, or one that ended before the whole answer came.
        _ => ConnectorError::io(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn ask(address: &str, bound: Option<Duration>) -> Result<u16, ConnectorError> {
        let request = HttpRequest::get(format!("http://{address}/")).expect("a request");
        let http = Http { bound, ..Http::new() };
        http.call(request).await.map(|answer| answer.status().as_u16())
    }

    /// Answers one connection with so many bytes, and then closes it, or not.
    async fn service(said: &'static [u8], closes: bool) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it has one").to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = [0; 1024];
                let _ = stream.read(&mut asked).await;
                let _ = stream.write_all(said).await;
                if !closes {
                    std::future::pending::<()>().await;
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn an_answer_comes_with_its_status() {
        let address = service(b"HTTP/1.1 418 \r\ncontent-length: 0\r\n\r\n", true).await;
        assert_eq!(ask(&address, None).await.expect("an answer"), 418);
    }

    #[tokio::test]
    async fn a_service_that_is_away_may_be_asked_again_and_one_that_talks_nonsense_may_not() {
        for (said, again) in [(&b""[..], true), (b"HTTP/1.1 20", true), (b"\0\x16\x03 hello\r\n\r\n", false)]
        {
            let address = service(said, true).await;
            let error = ask(&address, None).await.expect_err("no answer");
            assert_eq!(error.is_io(), again, "{error:?}");
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it has one").to_string();
        drop(listener);
        assert!(ask(&address, None).await.expect_err("nobody listens").is_io());
    }

    #[tokio::test]
    async fn a_certificate_is_trusted_by_its_issuer_alone() {
        let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let (certificate, private) = (key.cert.der().clone(), key.signing_key.serialize_der());
        let mut known = RootCertStore::empty();
        known.add(certificate.clone()).expect("a root");
        let (trusting, wary) = (Http::trusting(known), Http::trusting(RootCertStore::empty()));

        let private = rustls::pki_types::PrivatePkcs8KeyDer::from(private).into();
        let tls = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], private)
            .expect("a server's certificate");
        let (acceptor, listener) = (
            tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(tls)),
            TcpListener::bind("localhost:0").await,
        );
        let listener = listener.expect("a port");
        let port = listener.local_addr().expect("it has one").port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut asked = [0; 1024];
                let _ = stream.read(&mut asked).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            }
        });
        let ask = |http: &Http| {
            http.call(HttpRequest::get(format!("https://localhost:{port}/")).expect("a request"))
        };
        let answer = ask(&trusting).await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 200);
        let error = ask(&wary).await.expect_err("nobody vouches for it");
        assert!(super::super::chain(&error).contains("UnknownIssuer"), "{error:?}");
    }

    #[tokio::test]
    async fn who_calls_may_bound_the_wait() {
        let address = service(b"HTTP/1.1 200 OK\r\n", false).await;
        let error = ask(&address, Some(Duration::from_millis(50))).await.expect_err("half an answer");
        assert!(error.is_timeout(), "{error:?}");
    }
}
