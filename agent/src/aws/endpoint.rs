//! Where a service is reached: `https://<service>.<region>.<the partition's domain>`, unless the environment or the
//! profile names another place.

use super::Service;
use aws_config::SdkConfig;
use aws_types::service_config::ServiceConfigKey;

/// The domains of AWS' partitions by the beginnings of their regions' names, for IPv4 alone and for both protocols;
/// from the `partitions.json` that all SDKs share.
const PARTITIONS: [(&str, &str, &str); 6] = [
    ("cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
    ("us-iso-", "c2s.ic.gov", "api.aws.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov", "api.aws.scloud"),
    ("eu-isoe-", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
    ("us-isof-", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
    ("eusc-", "amazonaws.eu", "api.amazonwebservices.eu"),
];

/// What the address depends on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wanted<'a> {
    /// The region's name.
    pub(super) region: &'a str,
    /// `AWS_USE_FIPS_ENDPOINT`.
    pub(super) fips: bool,
    /// `AWS_USE_DUALSTACK_ENDPOINT`.
    pub(super) dual_stack: bool,
}

impl Wanted<'_> {
    /// The service's documented address.
    pub(super) fn url(&self, service: &Service) -> String {
        let Self { region, fips, dual_stack } = *self;
        let (_, domain, both) = PARTITIONS
            .into_iter()
            .find(|(prefix, ..)| region.starts_with(prefix))
            .unwrap_or(("", "amazonaws.com", "api.aws"));
        // In GovCloud the plain addresses of these two are the FIPS ones, as in their endpoint rules.
        let plain = region.starts_with("us-gov-") && !dual_stack && matches!(service.name, "ssm" | "logs");
        let suffix = if fips && !plain { "-fips" } else { "" };
        match (service.name, dual_stack) {
            // S3 has had both protocols since before there were domains for them.
            ("s3", true) => format!("https://s3{suffix}.dualstack.{region}.{domain}"),
            (name, true) => format!("https://{name}{suffix}.{region}.{both}"),
            (name, false) => format!("https://{name}{suffix}.{region}.{domain}"),
        }
    }
}

/// Where `service` is reached, without a slash at the end: as `AWS_ENDPOINT_URL_<SERVICE>`, `AWS_ENDPOINT_URL` or the
/// profile says, or where it is documented to be.
pub(super) fn endpoint(config: &SdkConfig, service: &Service) -> String {
    given(config, service).unwrap_or_else(|| documented(config, service))
}

/// Where `bucket` is reached, and the beginning of its paths there: by its own host name; by a path where the endpoint is
/// given, or where the certificate does not cover the name (it covers no dots).
pub(super) fn bucket(config: &SdkConfig, service: &Service, bucket: &str) -> (String, String) {
    let folder = format!("/{bucket}");
    match given(config, service) {
        Some(url) => (url, folder),
        None if bucket.contains('.') => (documented(config, service), folder),
        None => (documented(config, service).replacen("://", &format!("://{bucket}."), 1), String::new()),
    }
}

fn documented(config: &SdkConfig, service: &Service) -> String {
    let region = config.region().map_or("", |region| region.as_ref());
    let fips = config.use_fips().unwrap_or(false);
    let dual_stack = config.use_dual_stack().unwrap_or(false);
    Wanted { region, fips, dual_stack }.url(service)
}

fn given(config: &SdkConfig, service: &Service) -> Option<String> {
    let key = ServiceConfigKey::builder()
        .service_id(service.id)
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build()
        .ok();
    let own = config.service_config().zip(key).and_then(|(settings, key)| settings.load_config(key));
    own.or_else(|| config.endpoint_url().map(str::to_owned))
        .filter(|url| !url.is_empty())
        .map(|url| url.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::{LOGS, SECRETS_MANAGER, SSM};
    use super::*;
    use aws_types::service_config::LoadServiceConfig;

    #[test]
    fn each_partition_has_its_domain() {
        let table = [
            (&SSM, "eu-central-1", "https://ssm.eu-central-1.amazonaws.com"),
            (&SECRETS_MANAGER, "mx-central-1", "https://secretsmanager.mx-central-1.amazonaws.com"),
            (&LOGS, "us-gov-west-1", "https://logs.us-gov-west-1.amazonaws.com"),
            (&SSM, "cn-north-1", "https://ssm.cn-north-1.amazonaws.com.cn"),
            (&LOGS, "us-iso-east-1", "https://logs.us-iso-east-1.c2s.ic.gov"),
            (&LOGS, "us-isob-east-1", "https://logs.us-isob-east-1.sc2s.sgov.gov"),
            (&LOGS, "eu-isoe-west-1", "https://logs.eu-isoe-west-1.cloud.adc-e.uk"),
            (&LOGS, "us-isof-south-1", "https://logs.us-isof-south-1.csp.hci.ic.gov"),
            (&SSM, "eusc-de-east-1", "https://ssm.eusc-de-east-1.amazonaws.eu"),
        ];
        for (service, region, url) in table {
            assert_eq!(Wanted { region, ..Wanted::default() }.url(service), url);
        }
    }

    #[test]
    fn fips_and_dual_stack_have_addresses_of_their_own() {
        let url = |service, region, fips, dual_stack| Wanted { region, fips, dual_stack }.url(service);
        assert_eq!(url(&SSM, "us-east-1", true, false), "https://ssm-fips.us-east-1.amazonaws.com");
        assert_eq!(url(&SSM, "us-gov-west-1", true, false), "https://ssm.us-gov-west-1.amazonaws.com");
        assert_eq!(url(&LOGS, "us-east-1", false, true), "https://logs.us-east-1.api.aws");
        assert_eq!(
            url(&SECRETS_MANAGER, "us-gov-west-1", true, true),
            "https://secretsmanager-fips.us-gov-west-1.api.aws"
        );
        assert_eq!(
            url(&LOGS, "cn-north-1", false, true),
            "https://logs.cn-north-1.api.amazonwebservices.com.cn"
        );
    }

    #[test]
    fn a_services_own_setting_wins_over_the_one_for_all() {
        #[derive(Debug)]
        struct Environment;
        impl LoadServiceConfig for Environment {
            fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
                assert_eq!((key.env(), key.profile()), ("AWS_ENDPOINT_URL", "endpoint_url"));
                (key.service_id() == "Secrets Manager").then(|| "http://127.0.0.1:1/secrets/".to_owned())
            }
        }
        let config = crate::fake::sdk("http://127.0.0.1:2").to_builder().service_config(Environment).build();
        assert_eq!(endpoint(&config, &SECRETS_MANAGER), "http://127.0.0.1:1/secrets");
        assert_eq!(endpoint(&config, &SSM), "http://127.0.0.1:2");
        let config = config.to_builder().endpoint_url("").build();
        assert_eq!(endpoint(&config, &LOGS), "https://logs.eu-central-1.amazonaws.com");
    }

    #[test]
    fn a_bucket_is_a_host_unless_the_endpoint_is_given_or_its_name_has_dots() {
        let s3 = Service { id: "S3", name: "s3", target: "" };
        let given = crate::fake::sdk("http://127.0.0.1:2");
        let pair = |url: &str, folder: &str| (url.to_owned(), folder.to_owned());
        assert_eq!(bucket(&given, &s3, "logs"), pair("http://127.0.0.1:2", "/logs"));
        let documented = given.to_builder().endpoint_url("").build();
        let host = "https://logs.s3.eu-central-1.amazonaws.com";
        assert_eq!(bucket(&documented, &s3, "logs"), pair(host, ""));
        let plain = "https://s3.eu-central-1.amazonaws.com";
        assert_eq!(bucket(&documented, &s3, "my.logs"), pair(plain, "/my.logs"));
        let both = documented.to_builder().use_dual_stack(true).build();
        let host = "https://logs.s3.dualstack.eu-central-1.amazonaws.com";
        assert_eq!(bucket(&both, &s3, "logs"), pair(host, ""));
    }
}
