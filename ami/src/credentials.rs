//! The caller's credentials: the SDK's default chain, asked anew when what it gave has expired under the work.
//!
//! The SDK renews by itself what has an expiry. Keys in a file that some tool rewrites (saml2aws, a CI's OIDC step) have none:
//! it would read them once and go on with them until the end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_config::Region;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::identity::IdentityCache;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::identity::{
    IdentityFuture, ResolveCachedIdentity, SharedIdentityCache, SharedIdentityResolver,
};
use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
use aws_smithy_runtime_api::client::retries::classifiers::{
    ClassifyRetry, RetryAction, RetryClassifierPriority,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

/// Calls in flight are refused together; they take one renewal.
const TOGETHER: Duration = Duration::from_secs(1);

/// What AWS says of credentials whose time is over (EC2 API error codes, common errors of the others).
const EXPIRED: [&str; 3] = ["ExpiredToken", "ExpiredTokenException", "RequestExpired"];

/// Whether an error code says that credentials have expired.
pub(crate) fn expired(code: &str) -> bool {
    EXPIRED.contains(&code)
}

/// The SDK's default chain, built anew each time that it is asked: it reads a profile's file once in its life.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) http: SharedHttpClient,
    pub(crate) region: Option<Region>,
}

impl ProvideCredentials for Chain {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let config = ProviderConfig::default().with_http_client(self.http.clone());
            let chain = DefaultCredentialsChain::builder().configure(config);
            let chain = if self.region.is_some() { chain.region(self.region.clone()) } else { chain };
            chain.build().await.provide_credentials().await
        })
    }
}

/// The clients' cache of credentials, which can be emptied.
#[derive(Debug, Clone)]
pub(crate) struct Renewal(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kept: Mutex<Kept>,
    served: AtomicBool,
}

#[derive(Debug)]
struct Kept {
    cache: SharedIdentityCache,
    emptied: Option<Instant>,
}

impl Renewal {
    pub(crate) fn new() -> Self {
        let kept = Kept { cache: IdentityCache::lazy().build(), emptied: None };
        Self(Arc::new(Inner { kept: Mutex::new(kept), served: AtomicBool::new(false) }))
    }

    /// Forgets the credentials that AWS has refused as expired. True if another try is worth it: where no call was ever
    /// accepted, nothing has begun, and the caller is told at once.
    pub(crate) fn renew(&self) -> bool {
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.emptied.is_none_or(|at| at.elapsed() > TOGETHER) {
            *kept = Kept { cache: IdentityCache::lazy().build(), emptied: Some(Instant::now()) };
        }
        self.0.served.load(Ordering::Relaxed)
    }
}

impl ResolveCachedIdentity for Renewal {
    fn resolve_cached_identity<'a>(
        &'a self,
        resolver: SharedIdentityResolver,
        components: &'a RuntimeComponents,
        config: &'a ConfigBag,
    ) -> IdentityFuture<'a> {
        let cache = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner).cache.clone();
        IdentityFuture::new(async move { cache.resolve_cached_identity(resolver, components, config).await })
    }
}

impl ClassifyRetry for Renewal {
    /// Asked after each attempt, whatever became of it.
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        if let Some(Ok(_)) = context.output_or_error() {
            self.0.served.store(true, Ordering::Relaxed);
            return RetryAction::NoActionIndicated;
        }
        let Some(answer) = context.response() else {
            return RetryAction::NoActionIndicated;
        };
        // The error's type is the operation's own; its code is in a header of the JSON protocols, in the others' body.
        let named =
            answer.headers().get("x-amzn-errortype").map(|code| code.split(':').next().unwrap_or(code));
        let body = || String::from_utf8_lossy(answer.body().bytes().unwrap_or_default()).into_owned();
        let refused = match named {
            Some(code) => expired(code),
            None => {
                answer.status().is_client_error()
                    && EXPIRED.iter().any(|code| body().contains(&format!("<Code>{code}</Code>")))
            }
        };
        if refused && self.renew() { RetryAction::client_error() } else { RetryAction::NoActionIndicated }
    }

    fn name(&self) -> &'static str {
        "expired credentials"
    }

    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::run_after(RetryClassifierPriority::transient_error_classifier())
    }
}
