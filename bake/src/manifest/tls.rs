//! `[image.tls]`: certificates of an ACME server's, for a machine without a load balancer in front. Pure.

use serde::Serialize;
use toml::Spanned;

use super::file::TlsTable;
use super::rules::Rules;

/// Let's Encrypt's directory (RFC 8555, 7.1.1).
const SERVER: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Names that Let's Encrypt takes in one certificate.
const DOMAINS_MAX: usize = 100;

/// `[image.tls]`, checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tls {
    /// Names that the certificate is for; at least one.
    pub domains: Vec<String>,
    /// Where the ACME server writes to.
    pub email: Option<String>,
    /// The ACME server's directory.
    pub server: String,
}

impl Tls {
    /// The Debian package that fetches and renews them.
    pub const PACKAGE: &str = "certbot";
    /// What nginx then listens on besides.
    pub const PORTS: [&str; 2] = ["443", "[::]:443"];
    /// The package's own timer, which renews.
    pub const TIMER: &str = "certbot.timer";
    /// What the timer starts.
    pub const SERVICE: &str = "certbot.service";
}

impl Rules<'_> {
    pub(super) fn tls(&mut self, table: TlsTable) -> Tls {
        let TlsTable { domains, email, server } = table;
        if domains.get_ref().is_empty() || domains.get_ref().len() > DOMAINS_MAX {
            let message = format!(
                "domains has {} names: a certificate is for 1 to {DOMAINS_MAX}",
                domains.get_ref().len()
            );
            self.complain(domains.span(), message);
        }
        let mut names: Vec<String> = Vec::new();
        for domain in domains.get_ref() {
            let name = domain.get_ref();
            if name.starts_with("*.") {
                let message = format!(
                    "domain '{name}' is a wildcard, which no ACME server proves by HTTP: name each host"
                );
                self.complain(domain.span(), message);
            } else if !is_domain(name) {
                let message = format!(
                    "domain '{name}' is not a host's name in DNS: write it as \"shop.example.org\" (a-z, 0-9, inner '-')"
                );
                self.complain(domain.span(), message);
            } else if names.contains(name) {
                self.complain(domain.span(), format!("domain '{name}' is named twice"));
            }
            names.push(name.clone());
        }
        if let Some(email) = email.as_ref().filter(|email| !is_email(email.get_ref())) {
            let message = format!("email '{}' is no address: \"ops@example.org\"", email.get_ref());
            self.complain(email.span(), message);
        }
        if let Some(server) = server.as_ref().filter(|server| !is_directory(server.get_ref())) {
            let message = format!(
                "server '{}' is not the URL of an ACME directory: write it as \"{SERVER}\"",
                server.get_ref()
            );
            self.complain(server.span(), message);
        }
        Tls {
            domains: names,
            email: email.map(Spanned::into_inner),
            server: server.map_or(SERVER.to_owned(), Spanned::into_inner),
        }
    }
}

/// RFC 1123 in lower case, with two labels at least; an address has a last label of digits.
fn is_domain(name: &str) -> bool {
    let plain = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-';
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253
        && name.contains('.')
        && name.split('.').all(label)
        && !last.chars().all(|char| char.is_ascii_digit())
}

/// What a unit file takes as it is, too.
fn is_email(email: &str) -> bool {
    let plain = |char: char| char.is_ascii_alphanumeric() || "-_.+".contains(char);
    email.split_once('@').is_some_and(|(user, host)| {
        !user.is_empty() && user.chars().all(plain) && is_domain(&host.to_lowercase())
    })
}

/// What a unit file takes as it is, too.
fn is_directory(url: &str) -> bool {
    let plain = |char: char| char.is_ascii_alphanumeric() || "-_.~:/[]".contains(char);
    url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty() && rest.chars().all(plain))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::manifest::Manifest;

    fn image(keys: &str) -> Result<Manifest, String> {
        let text = format!(
            "[image]\nname = \"shop\"\n{keys}\n[[service]]\nname = \"shop\"\npath = \"/\"\nbackend = \"back\"\nwsgi = \"shop:app\"\n"
        );
        Manifest::parse(&text, Path::new("/app"))
            .map(|(manifest, _)| manifest)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn it_is_off_by_default_and_brings_what_it_needs_when_it_is_on() {
        let off = image("").expect("it is valid");
        assert_eq!((off.image.tls, off.image.packages, off.expect.ports), (None, vec![], vec![]));
        let on =
            image("packages = [\"jq\"]\n[image.tls]\ndomains = [\"shop.example.org\"]").expect("it is valid");
        let tls = on.image.tls.expect("it is on");
        assert_eq!(
            (tls.domains, tls.email, &*tls.server),
            (vec!["shop.example.org".to_owned()], None, SERVER)
        );
        assert_eq!(on.image.packages, ["certbot", "jq"]);
        assert_eq!(on.expect.ports, Tls::PORTS);
    }

    #[test]
    fn what_no_acme_server_would_take_is_refused_with_its_place() {
        let long = format!("{}.org", "a".repeat(64));
        let table = [
            ("domains = []".to_owned(), "a certificate is for 1 to 100"),
            ("domains = [\"shop\"]".to_owned(), "not a host's name"),
            ("domains = [\"Shop.example.org\"]".to_owned(), "not a host's name"),
            ("domains = [\"203.0.113.7\"]".to_owned(), "not a host's name"),
            ("domains = [\"-a.org\"]".to_owned(), "not a host's name"),
            ("domains = [\"a.org; rm\"]".to_owned(), "not a host's name"),
            (format!("domains = [\"{long}\"]"), "not a host's name"),
            ("domains = [\"*.example.org\"]".to_owned(), "is a wildcard"),
            ("domains = [\"a.org\", \"b.org\", \"a.org\"]".to_owned(), "is named twice"),
            ("domains = [\"a.org\"]\nemail = \"ops\"".to_owned(), "is no address"),
            ("domains = [\"a.org\"]\nemail = \"o%h@a.org\"".to_owned(), "is no address"),
            (
                "domains = [\"a.org\"]\nserver = \"http://acme.test/\"".to_owned(),
                "not the URL of an ACME directory",
            ),
            (
                "domains = [\"a.org\"]\nserver = \"https://a b\"".to_owned(),
                "not the URL of an ACME directory",
            ),
            ("email = \"ops@a.org\"".to_owned(), "missing field `domains`"),
        ];
        for (keys, expected) in table {
            let told = image(&format!("[image.tls]\n{keys}")).expect_err(&keys);
            assert!(told.contains(expected) && told.contains("kiln.toml:"), "{keys}: {told}");
        }
    }
}
