//! What the table of cases does not show: the limit, the leaves, secrecy of messages.

use super::*;

#[test]
fn the_limit_is_ec2s() {
    let mut raw = b"#!/bin/sh\n".to_vec();
    raw.resize(LIMIT, b'#');
    assert!(parse(&raw).is_ok());
    raw.push(b'#');
    let error = parse(&raw).expect_err("one byte too many");
    assert_eq!(error.reason(), &Reason::TooLarge { size: LIMIT + 1 });
}

#[test]
fn one_script_is_found_however_it_is_wrapped() {
    let script = b"#!/bin/sh\necho hello\n".to_vec();
    let part = format!(
        "Content-Type: text/x-shellscript\nMIME-Version: 1.0\n\n{}",
        String::from_utf8_lossy(&script)
    );
    for raw in [script.clone(), gzip::pack(&script), part.into_bytes()] {
        let data = parse(&raw).expect("valid");
        let [(None, Leaf::Script(found))] = data.leaves()[..] else { panic!("one script: {data:?}") };
        assert_eq!(found.body(), script);
    }
    assert!(parse(b"\n").expect("valid").leaves().is_empty());
}

#[test]
fn beside_cloud_init_its_documents_are_its_own() {
    let raw = b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\n#cloud-config\npackages: [curl]\n\
                --b\n\n#!/bin/sh\n--b--\n";
    assert!(parse(raw).is_err(), "packages are not ours to install");
    let data = parse_beside_cloud_init(raw).expect("the rest is valid");
    let [(Some(_), Leaf::Left(left)), (Some(_), Leaf::Script(_))] = data.leaves()[..] else {
        panic!("one for each: {data:?}")
    };
    assert_eq!(left.bytes(), b"#cloud-config\npackages: [curl]");
    assert!(!format!("{data:?}{data}").contains("curl"));
    assert!(parse_beside_cloud_init(b"#kiln\n[evn]\n").is_err());
}

#[test]
fn neither_debug_output_nor_messages_hold_what_may_be_secret() {
    let texts: [&[u8]; 7] = [
        b"#!/bin/sh\nexport TOKEN=hunter2\n",
        b"#kiln\n[env]\nTOKEN = \"hunter2\"\n[[file]]\npath = \"/a\"\ncontent = \"hunter2\"\n",
        b"#kiln\n[env]\nTOKEN = [\"hunter2\"]\n",
        b"#kiln\n[env]\nTOKEN = \"hunter2\"\n[agent]\ndrain.max = \"1m\"\n",
        b"#kiln\n[env]\nTOKEN = \"hunter2\n",
        b"#cloud-config\nwrite_files:\n  - path: /a\n    content: hunter2\n    append: hunter2\n",
        b"#cloud-config\nruncmd: [[echo, hunter2]]\nhostname: 'hunter2\n",
    ];
    for raw in texts {
        let shown = match parse(raw) {
            Ok(data) => format!("{data:?}"),
            Err(error) => format!("{error} {error:?}"),
        };
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn commands_become_the_script_that_cloud_init_makes() {
    let raw = b"#cloud-config\nruncmd:\n  - cd /srv\n  - [echo, \"it's\"]\n";
    let UserData::CloudConfig(config) = parse(raw).expect("valid") else { panic!("a document") };
    let script = CloudConfig::shell_script(&config.commands).expect("two commands");
    assert_eq!(script, "#!/bin/sh\ncd /srv\n'echo' 'it'\\''s'\n");
    assert_eq!(CloudConfig::shell_script(&config.boot_commands), None);
}

#[test]
fn the_outline_names_what_would_be_done_and_no_value() {
    let raw = include_bytes!("../tests/cases/kiln/input");
    let outline = parse(raw).expect("valid").to_string();
    let expected = "a #kiln document
       env  LOG_LEVEL from a literal
       env  WORKERS from a literal
       env  DATABASE_URL from parameter /shop/prod/database-url
       env  API_KEY from key key of secret arn:aws:secretsmanager:eu-west-1:123456789012:secret:shop/api-AbCdEf
       env  SESSION_KEY from secret shop/session
      file  /etc/shop/feature.json 0640 root, 13 bytes written
      file  /etc/shop/logo.bin 0644 root, 6 bytes written
       run  migrate: /srv/shop/current/venv/bin/flask, once per instance, within 2m
       run  warm: a line of 39 bytes by /bin/sh, on each boot
     agent  drain, health
";
    assert_eq!(outline, expected);
}

#[test]
fn the_documentation_has_every_key_that_is_read_or_refused_with_advice() {
    let text = include_str!("../cloud-init.md");
    for key in cloud_config::keys() {
        assert!(text.contains(&format!("`{key}`")), "{key} is not in cloud-init.md");
    }
}
