//! One object into S3: a PUT, signed with the body's digest.

use super::wire::{self, Request};
use super::{Aws, Error, Service};
use bytes::Bytes;

const S3: Service = Service { id: "S3", name: "s3", target: "" };

impl Aws {
    /// Writes an object; the key is of letters, digits and `/_.-`, so that it needs no encoding.
    pub async fn put_object(&self, bucket: &str, key: &str, body: Bytes) -> Result<(), Error> {
        let request = Request {
            method: "PUT",
            path: format!("/{key}"),
            bucket: Some(bucket.to_owned()),
            headers: vec![("content-type", "application/x-ndjson".to_owned())],
            body,
        };
        wire::send(self, &S3, "PutObject", request).await.map(|_| ())
    }

    /// The same call with nothing to write and a digest that is not nothing's: S3 stores no such object.
    pub async fn put_no_object(&self, bucket: &str, key: &str) -> Result<(), Error> {
        let request = Request {
            method: "PUT",
            path: format!("/{key}"),
            bucket: Some(bucket.to_owned()),
            // Sixteen zeros; nothing's begins with d4.
            headers: vec![("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==".to_owned())],
            body: Bytes::new(),
        };
        wire::send(self, &S3, "PutObject", request).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{self, Fake};
    use crate::imds::Imds;
    use std::sync::Arc;

    #[tokio::test]
    async fn an_object_is_put_with_its_digest_and_path_style_where_the_endpoint_is_given() {
        let fake = Fake::start(|_, number| {
            let refusal = "<Error><Code>NoSuchBucket</Code><Message>no such bucket</Message></Error>";
            if number == 0 { (200, String::new()) } else { (404, refusal.to_owned()) }
        })
        .await;
        let imds = Arc::new(Imds::new(&fake.url).expect("a valid address"));
        let aws = Aws::with_config(imds, fake::sdk(&fake.url));
        aws.put_object("records", "a/b.jsonl", Bytes::from_static(b"hello")).await.expect("it is taken");
        let asked = fake.asked().remove(0);
        assert_eq!((asked.method.as_str(), asked.path.as_str()), ("PUT", "/records/a/b.jsonl"));
        assert_eq!(asked.body, "hello");
        assert_eq!(
            asked.header("x-amz-content-sha256"),
            "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
        );
        let signature = asked.header("authorization");
        assert!(signature.contains("/eu-central-1/s3/aws4_request, "), "{signature}");
        assert!(signature.contains("x-amz-content-sha256"), "{signature}");
        let error = aws
            .put_object("records", "a", Bytes::new())
            .await
            .expect_err("the bucket is not there")
            .to_string();
        assert_eq!(error, "failed to call PutObject: NoSuchBucket: no such bucket");
    }
}
