//! A registry that did not answer, told from a command that failed otherwise. Pure.

/// What npm, pnpm, Yarn, uv and Python say when a registry cannot be reached, or answers with an error of its own.
const SAID: [&str; 16] = [
    "EAI_AGAIN",
    "ENOTFOUND",
    "ECONNREFUSED",
    "ECONNRESET",
    "ETIMEDOUT",
    "ENETUNREACH",
    "EHOSTUNREACH",
    "ERR_SOCKET_TIMEOUT",
    "code E50",
    "status server error (50",
    "client error (Connect)",
    "Temporary failure in name resolution",
    "Name or service not known",
    "Connection refused",
    "Network is unreachable",
    "timed out",
];

/// The registry that a command which uses the network failed for, by the last lines that it printed: `https://pypi.org`.
pub fn registry(tail: &[String]) -> Option<String> {
    let silent = tail.iter().any(|line| SAID.iter().any(|said| line.contains(said)));
    let named = || tail.iter().find_map(|line| address(line));
    silent.then(|| named().unwrap_or_else(|| "a registry".to_owned()))
}

/// Scheme, host and port of the first address in a line, without the name and password that may be in it.
fn address(line: &str) -> Option<String> {
    let at = line.find("https://").or_else(|| line.find("http://"))?;
    let (scheme, rest) = line[at..].split_once("://")?;
    let host = rest.split(['/', ' ', ')', '\'', '"', ',']).next()?;
    let host = host.rsplit('@').next().filter(|host| !host.is_empty())?;
    Some(format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_that_did_not_answer_is_told_from_a_package_that_it_lacks() {
        for (tail, told) in [
            (
                "npm error code EAI_AGAIN\nnpm error request to https://registry.npmjs.org/xmlchars failed, reason: getaddrinfo",
                Some("https://registry.npmjs.org"),
            ),
            (
                "error: Request failed after 3 retries in 5.9s\n  cause: Failed to fetch: https://me:word@pypi.example:8443/simple/click/\n  cause: client error (Connect)",
                Some("https://pypi.example:8443"),
            ),
            (
                "the index http://127.0.0.1:9/simple does not answer: <urlopen error [Errno 111] Connection refused>",
                Some("http://127.0.0.1:9"),
            ),
            ("Error: connect ECONNREFUSED 127.0.0.1:9", Some("a registry")),
            ("npm error code E404\nnpm error 404 Not Found - GET https://registry.npmjs.org/nosuch", None),
            ("Because there is no version of flask==9 and you require flask==9", None),
        ] {
            let tail: Vec<_> = tail.lines().map(str::to_owned).collect();
            assert_eq!(registry(&tail).as_deref(), told, "{tail:?}");
        }
    }
}
