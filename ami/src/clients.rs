//! Builds the SDK clients: one HTTP stack, explicit timeouts, one retry layer.

use std::time::Duration;

use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_sdk_ebs::config::retry::RetryConfig;
use aws_sdk_ebs::config::timeout::TimeoutConfig;
use aws_smithy_http_client::{Builder, tls};

use crate::credentials::{Chain, Renewal};
use crate::error::Error;

/// Attempts at one call. Nine waits of at most eight seconds: what throttles for longer than a minute is reported.
pub(crate) const ATTEMPTS: u32 = 10;

/// The clients that a publication needs.
#[derive(Debug, Clone)]
pub struct Clients {
    /// EBS direct APIs.
    pub ebs: aws_sdk_ebs::Client,
    /// EC2.
    pub ec2: aws_sdk_ec2::Client,
    /// SSM, for parameters that name images.
    pub ssm: aws_sdk_ssm::Client,
    /// The region that all talk to.
    pub region: String,
    config: SdkConfig,
    renewal: Renewal,
}

/// The SDK's default chain (environment, profile, container, instance role) with Kiln's HTTP stack, timeouts and
/// retries. `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_EBS` and `AWS_ENDPOINT_URL_EC2` are honoured by the SDK.
pub fn defaults(region: Option<&str>) -> ConfigLoader {
    let http = Builder::new()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
        .build_https();
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(4))
        // No default in the SDK: a stalled connection would hold a worker for ever.
        .read_timeout(Duration::from_secs(12))
        .operation_attempt_timeout(Duration::from_secs(20))
        .operation_timeout(Duration::from_mins(2))
        .build();
    let retries = RetryConfig::standard()
        .with_max_attempts(ATTEMPTS)
        .with_initial_backoff(Duration::from_millis(200))
        .with_max_backoff(Duration::from_secs(8));
    let region = region.map(|region| Region::new(region.to_owned()));
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .credentials_provider(Chain { http: http.clone(), region: region.clone() })
        .http_client(http)
        .timeout_config(timeouts)
        .retry_config(retries);
    match region {
        Some(region) => loader.region(region),
        None => loader,
    }
}

impl Clients {
    /// Clients for `region`, or for the region that the environment or profile names.
    ///
    /// # Errors
    /// [`Error::Spec`] if no region is set anywhere.
    pub async fn from_env(region: Option<&str>) -> Result<Self, Error> {
        Self::from_config(&defaults(region).load().await)
    }

    /// Clients over a loaded configuration, normally one of [`defaults`].
    ///
    /// # Errors
    /// [`Error::Spec`] if it has no region.
    pub fn from_config(config: &SdkConfig) -> Result<Self, Error> {
        let region = config
            .region()
            .ok_or_else(|| Error::Spec("no AWS region is set; name one with --region, as [aws] region in kiln.toml, or in AWS_REGION".to_owned()))?
            .to_string();
        let renewal = Renewal::new();
        let config = config.to_builder().identity_cache(renewal.clone()).build();
        Ok(Self::over(config, renewal, region))
    }

    fn over(config: SdkConfig, renewal: Renewal, region: String) -> Self {
        let ebs = aws_sdk_ebs::config::Builder::from(&config).retry_classifier(renewal.clone());
        let ec2 = aws_sdk_ec2::config::Builder::from(&config).retry_classifier(renewal.clone());
        let ssm = aws_sdk_ssm::config::Builder::from(&config).retry_classifier(renewal.clone());
        Self {
            ebs: aws_sdk_ebs::Client::from_conf(ebs.build()),
            ec2: aws_sdk_ec2::Client::from_conf(ec2.build()),
            ssm: aws_sdk_ssm::Client::from_conf(ssm.build()),
            region,
            config,
            renewal,
        }
    }

    /// For a client that few commands need.
    pub(crate) fn config(&self) -> &SdkConfig {
        &self.config
    }

    /// What is asked when AWS says that the credentials have expired.
    pub(crate) fn renewal(&self) -> &Renewal {
        &self.renewal
    }

    /// The same account in another region.
    #[must_use]
    pub fn in_region(&self, region: &str) -> Self {
        let config = self.config.to_builder().region(Region::new(region.to_owned())).build();
        Self::over(config, self.renewal.clone(), region.to_owned())
    }
}
