//! Clients as `kiln publish` builds them, pointed at the AWS stand-in.

use aws_sdk_ec2::config::{Credentials, SharedCredentialsProvider};
use kiln_ami::Clients;
use kiln_tests::emulator::Emulator;

pub(crate) async fn clients(emulator: &Emulator) -> Clients {
    let credentials = Credentials::for_tests();
    let config = kiln_ami::defaults(Some("us-east-1"))
        .endpoint_url(emulator.url())
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .load()
        .await;
    Clients::from_config(&config).expect("the region is set")
}
