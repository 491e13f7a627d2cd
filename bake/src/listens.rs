//! What configuration listens on: nginx's, sshd's and a socket unit's, as written. Sockets in the file system are no ports.

/// The addresses of nginx's `listen` directives (`80`, `[::]:80`, `127.0.0.1:8080`).
pub fn nginx(text: &str) -> Vec<String> {
    let listen = |directive: Vec<String>| match &directive[..] {
        [name, address, ..] if name == "listen" && !address.starts_with("unix:") => Some(address.clone()),
        _ => None,
    };
    directives(text).into_iter().filter_map(listen).collect()
}

/// The ports and addresses that sshd's `Port` and `ListenAddress` name; keywords are of any case there.
pub fn sshd(text: &str) -> Vec<String> {
    let value = |line: &str| {
        let (keyword, value) = line.trim().split_once([' ', '\t', '='])?;
        let named = ["port", "listenaddress"].contains(&keyword.to_ascii_lowercase().as_str());
        let value = value.trim_start_matches([' ', '\t', '=']).split_whitespace().next()?;
        named.then(|| value.trim_matches('"').to_owned())
    };
    text.lines().filter_map(value).collect()
}

/// The addresses of a `.socket` unit.
pub fn socket(text: &str) -> Vec<String> {
    let value = |line: &str| {
        let (key, value) = line.trim().split_once('=')?;
        let named = ["ListenStream", "ListenDatagram"].contains(&key.trim_end());
        let value = value.trim();
        // What begins with a specifier is a folder, too.
        (named && !value.is_empty() && !value.starts_with(['/', '@', '%'])).then(|| value.to_owned())
    };
    text.lines().filter_map(value).collect()
}

/// The words of each directive, in blocks or not: they end with `;`, `{` or `}`, words may be quoted, and `#` where a word would
/// begin is a comment.
fn directives(text: &str) -> Vec<Vec<String>> {
    let (mut all, mut words, mut word) = (Vec::new(), Vec::new(), None::<String>);
    let mut rest = text.chars();
    while let Some(next) = rest.next() {
        match next {
            '#' if word.is_none() => {
                let _comment = rest.by_ref().find(|after| *after == '\n');
            }
            '"' | '\'' if word.is_none() => {
                let mut quoted = String::new();
                while let Some(inside) = rest.next().filter(|inside| *inside != next) {
                    quoted.push(if inside == '\\' { rest.next().unwrap_or(inside) } else { inside });
                }
                word = Some(quoted);
            }
            ';' | '{' | '}' => {
                words.extend(word.take());
                all.push(std::mem::take(&mut words));
            }
            '\\' => word.get_or_insert_default().extend([Some(next), rest.next()].into_iter().flatten()),
            blank if blank.is_whitespace() => words.extend(word.take()),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nginx_listens_wherever_a_directive_stands() {
        for (text, addresses) in [
            ("http {\n    listen 80 default_server;\n    listen [::]:80;\n}\n", vec!["80", "[::]:80"]),
            ("server { listen 8081; return 204; }", vec!["8081"]),
            ("server {listen\n\t'127.0.0.1:9'\n;}", vec!["127.0.0.1:9"]),
            ("# listen 1;\nserver_name a#b; listen 2; # listen 3;\nlisten unix:/run/x.sock;", vec!["2"]),
            ("log_format x 'listen 4; \\' listen 5;'; proxy_set_header listen 6;", vec![]),
            ("return 200 listen\\;\\ listen\\ 9;", vec![]),
            ("listen;listen", vec![]),
            ("listen 7; quoted \"without an end; listen 8;", vec!["7"]),
        ] {
            assert_eq!(nginx(text), addresses, "{text}");
        }
    }

    #[test]
    fn sshd_listens_by_keywords_of_any_case() {
        let text = "# Port 1\nPort 22\nport = 2222\nListenAddress\t10.0.0.1:23\nGatewayPorts no\nPort\n";
        assert_eq!(sshd(text), ["22", "2222", "10.0.0.1:23"]);
    }

    #[test]
    fn a_socket_in_the_file_system_is_no_port() {
        let text = "[Socket]\nListenStream=\nListenStream=/run/x\nListenStream=%t/x\nListenStream = 80\nListenDatagram=[::1]:53\n";
        assert_eq!(socket(text), ["80", "[::1]:53"]);
    }
}
