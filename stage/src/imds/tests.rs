//! `IMDSv2` over real HTTP on loopback.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;

use super::*;
use crate::cloud::Launch;
use crate::lifecycle::Event;
use crate::server::serve;

const ID: &str = "i-0123456789abcdef0";
const TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";

#[tokio::test]
async fn a_token_needs_a_lifetime_within_the_limits_and_no_proxy() {
    let (address, _) = imds(None).await;
    let put = async |headers: &[(&str, &str)]| ask(address, "PUT", "/latest/api/token", headers).await.0;
    for (headers, expected) in [
        (&[(TTL_HEADER, "21600")][..], 200),
        (&[(TTL_HEADER, "1")], 200),
        (&[], 400),
        (&[(TTL_HEADER, "0")], 400),
        (&[(TTL_HEADER, "21601")], 400),
        (&[(TTL_HEADER, "soon")], 400),
        (&[(TTL_HEADER, "60"), ("x-forwarded-for", "10.0.0.1")], 403),
    ] {
        assert_eq!(put(headers).await, expected, "{headers:?}");
    }
    assert_eq!(ask(address, "PUT", "/2021-01-03/api/token", &[(TTL_HEADER, "60")]).await.0, 403);
}

#[tokio::test]
async fn nothing_is_told_without_a_good_token() {
    let (address, _) = imds(None).await;
    let path = "/latest/meta-data/instance-id";
    assert_eq!(ask(address, "GET", path, &[]).await.0, 401);
    assert_eq!(ask(address, "GET", path, &[(TOKEN_HEADER, "made up")]).await.0, 401);
    // On a machine that is paused the second may be over before the first use.
    let mut short = String::new();
    for _ in 0..20 {
        short = ask(address, "PUT", "/latest/api/token", &[(TTL_HEADER, "1")]).await.1;
        if ask(address, "GET", path, &[(TOKEN_HEADER, &short)]).await == (200, ID.to_owned()) {
            break;
        }
        short.clear();
    }
    assert!(!short.is_empty(), "a token of one second is good for its second");
    tokio::time::timeout(Duration::from_secs(30), async {
        while ask(address, "GET", path, &[(TOKEN_HEADER, &short)]).await.0 != 401 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("a token of one second expires");
}

#[tokio::test]
async fn an_instance_reads_its_own_data() {
    let (address, _) = imds(Some(b"#!/bin/sh\n".to_vec())).await;
    for (item, expected) in [
        ("meta-data/instance-id", ID),
        ("meta-data/placement/region", REGION),
        ("meta-data/placement/availability-zone", ZONE),
        ("meta-data/local-ipv4", "127.0.0.1"),
        ("meta-data/iam/security-credentials/", ROLE),
        ("user-data", "#!/bin/sh\n"),
    ] {
        assert_eq!(get(address, item).await, (200, expected.to_owned()), "{item}");
    }
    let profile = get(address, "meta-data/iam/info").await.1;
    assert_eq!(
        serde_json::from_str::<Value>(&profile).unwrap()["InstanceProfileArn"],
        "arn:aws:iam::123456789012:instance-profile/kiln-rehearsal"
    );
    let role = get(address, &format!("meta-data/iam/security-credentials/{ROLE}")).await.1;
    assert_eq!(serde_json::from_str::<Value>(&role).unwrap()["AccessKeyId"], ACCESS_KEY);
    let document = get(address, "dynamic/instance-identity/document").await.1;
    assert_eq!(serde_json::from_str::<Value>(&document).unwrap()["instanceId"], ID);
    for absent in ["meta-data/spot/instance-action", "meta-data/tags/instance/Name", "meta-data/nonsense"] {
        assert_eq!(get(address, absent).await.0, 404, "{absent}");
    }
}

#[tokio::test]
async fn who_walks_the_tree_finds_every_item_in_any_version() {
    let (address, _) = imds(None).await;
    let mut folders = vec!["meta-data/".to_owned()];
    let mut items = Vec::new();
    while let Some(folder) = folders.pop() {
        let (status, names) = get(address, &folder).await;
        assert_eq!(status, 200, "{folder}");
        for name in names.lines() {
            let list = if name.ends_with('/') { &mut folders } else { &mut items };
            list.push(format!("{folder}{name}"));
        }
    }
    for item in &items {
        assert_eq!(get(address, item).await.0, 200, "{item}");
    }
    let card = "meta-data/network/interfaces/macs/02:00:7f:00:00:01/mac";
    for item in ["meta-data/instance-id", "meta-data/placement/region", card] {
        assert_eq!(items.iter().filter(|found| *found == item).count(), 1, "{item} in {items:?}");
    }
    assert!(!items.iter().any(|item| item.contains("spot")), "what it does not have is not listed");
    let token = ask(address, "PUT", "/latest/api/token", &[(TTL_HEADER, "60")]).await.1;
    for (version, status) in [("2021-03-23", 200), ("2009-04-04", 200), ("new", 404)] {
        let path = format!("/{version}/meta-data/instance-id");
        assert_eq!(ask(address, "GET", &path, &[(TOKEN_HEADER, &token)]).await.0, status, "{version}");
    }
}

#[tokio::test]
async fn the_target_lifecycle_state_follows_the_lifecycle() {
    let (address, cloud) = imds(None).await;
    let path = "meta-data/autoscaling/target-lifecycle-state";
    assert_eq!(get(address, path).await.0, 404, "absent just after launch");
    cloud.apply(ID, &Event::ScaledIn).unwrap();
    assert_eq!(get(address, path).await, (200, "Terminated".to_owned()));
    let logged = cloud.record.all();
    let states: Vec<_> =
        logged.iter().filter(|r| r.action.starts_with("GET")).map(|r| r.state.as_deref()).collect();
    assert_eq!(states, [Some("Pending"), Some("Terminating")], "the log knows the state at each request");
}

async fn imds(user_data: Option<Vec<u8>>) -> (SocketAddr, Arc<Cloud>) {
    let (cloud, _) = Cloud::new(Vec::new(), Vec::new(), Duration::ZERO, Arc::new(|_| {}));
    let cloud = Arc::new(cloud);
    cloud.launch(ID, Ipv4Addr::LOCALHOST, Launch { user_data, ..Launch::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(serve(listener, Arc::new(Imds::new(Arc::clone(&cloud)))));
    (address, cloud)
}

async fn get(address: SocketAddr, item: &str) -> (u16, String) {
    let token = ask(address, "PUT", "/latest/api/token", &[(TTL_HEADER, "60")]).await.1;
    ask(address, "GET", &format!("/latest/{item}"), &[(TOKEN_HEADER, &token)]).await
}

async fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let mut request = Request::builder().method(method).uri(format!("http://{address}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response =
        client.request(request.body(Full::default()).expect("a request")).await.expect("an answer");
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("its body").to_bytes();
    (status, String::from_utf8(body.to_vec()).expect("text"))
}
