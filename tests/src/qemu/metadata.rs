//! The instance metadata service, version 2, with what an instance outside of any group sees.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::http::head;

/// The one token that is given out.
const TOKEN: &str = "story-token";
/// Protects the responder's threads from a guest that stalls.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers by path below `/latest/`; what is not there is a 404, as in EC2.
#[derive(Debug, Clone)]
pub struct Metadata {
    answers: BTreeMap<String, String>,
}

impl Default for Metadata {
    fn default() -> Self {
        let document = r#"{"accountId":"000000000000","architecture":"x86_64","availabilityZone":"eu-central-1a",
"imageId":"ami-0123456789abcdef0","instanceId":"i-0123456789abcdef0","instanceType":"t3.small",
"pendingTime":"2025-01-01T00:00:00Z","privateIp":"169.254.10.10","region":"eu-central-1","version":"2017-09-30"}"#;
        let answers = [
            ("dynamic/instance-identity/document", document),
            ("meta-data/ami-id", "ami-0123456789abcdef0"),
            ("meta-data/instance-id", "i-0123456789abcdef0"),
            ("meta-data/instance-life-cycle", "on-demand"),
            ("meta-data/instance-type", "t3.small"),
            ("meta-data/local-ipv4", "169.254.10.10"),
            ("meta-data/placement/availability-zone", "eu-central-1a"),
            ("meta-data/placement/region", "eu-central-1"),
            ("meta-data/services/domain", "amazonaws.com"),
        ];
        Self { answers: answers.map(|(path, text)| (path.to_owned(), text.to_owned())).into() }
    }
}

impl Metadata {
    /// The same with one more answer, e.g. `user-data`.
    #[must_use]
    pub fn with(mut self, path: &str, text: &str) -> Self {
        self.answers.insert(path.to_owned(), text.to_owned());
        self
    }

    /// Answers on a loopback port for as long as the test runs.
    pub fn serve(&self) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
        let address = listener.local_addr().expect("its number");
        let metadata = Arc::new(self.clone());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let metadata = Arc::clone(&metadata);
                // A guest that hangs up in the middle is the guest's affair.
                thread::spawn(move || drop(metadata.converse(&stream)));
            }
        });
        address
    }

    fn converse(&self, mut stream: &TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut reader = BufReader::new(stream);
        // One connection may ask many times.
        loop {
            let Ok((first, headers)) = head(&mut reader) else {
                return Ok(());
            };
            let (status, body) = self.answer(&first, &headers);
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
                 X-aws-ec2-metadata-token-ttl-seconds: 21600\r\n\r\n{body}"
            )?;
        }
    }

    fn answer(&self, first: &str, headers: &[String]) -> (&'static str, &str) {
        let mut words = first.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let header = |name: &str| {
            headers
                .iter()
                .filter_map(|line| line.split_once(':'))
                .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then(|| value.trim()))
        };
        if method == "PUT" && path == "/latest/api/token" {
            let asked = header("x-aws-ec2-metadata-token-ttl-seconds").is_some();
            return if asked { ("200 OK", TOKEN) } else { ("400 Bad Request", "") };
        }
        if header("x-aws-ec2-metadata-token") != Some(TOKEN) {
            return ("401 Unauthorized", "");
        }
        match path.strip_prefix("/latest/").and_then(|path| self.answers.get(path.trim_end_matches('/'))) {
            Some(text) => ("200 OK", text),
            None => ("404 Not Found", ""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_token_opens_the_metadata() {
        let metadata = Metadata::default().with("user-data", "#!/bin/sh\n");
        let with = ["X-aws-ec2-metadata-token: story-token".to_owned()];
        let ttl = ["X-aws-ec2-metadata-token-ttl-seconds: 60".to_owned()];
        let table: [(&str, &[String], &str); 5] = [
            ("GET /latest/meta-data/instance-id HTTP/1.1", &[], "401 Unauthorized"),
            ("PUT /latest/api/token HTTP/1.1", &[], "400 Bad Request"),
            ("PUT /latest/api/token HTTP/1.1", &ttl, "200 OK"),
            ("GET /latest/user-data HTTP/1.1", &with, "200 OK"),
            ("GET /latest/meta-data/spot/instance-action HTTP/1.1", &with, "404 Not Found"),
        ];
        for (first, headers, status) in table {
            assert_eq!(metadata.answer(first, headers).0, status, "{first}");
        }
    }
}
