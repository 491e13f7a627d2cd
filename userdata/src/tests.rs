//! The kinds, the limit and hostile bytes.

use super::*;
use proptest::prelude::*;

#[test]
fn each_kind_is_told_by_its_first_bytes() {
    let unsupported = |kind, offset| Err(Error::Unsupported { kind, offset });
    let cases: &[(&[u8], Result<UserData, Error>)] = &[
        (b"", Ok(UserData::Empty)),
        (b" \n\t\r\n", Ok(UserData::Empty)),
        (b"\xef\xbb\xbf\n", Ok(UserData::Empty)),
        (b"\x1f\x8b\x08\x00", unsupported(Kind::Gzip, 0)),
        (b"#cloud-config\nruncmd: []\n", unsupported(Kind::CloudConfig, 0)),
        (b"\n#cloud-config\r\nruncmd: []\n", unsupported(Kind::CloudConfig, 1)),
        (b"#kiln\n[env]\n", unsupported(Kind::Kiln, 0)),
        (b"\xef\xbb\xbf#kiln", unsupported(Kind::Kiln, 3)),
        (b"Content-Type: multipart/mixed; boundary=x\n\n", unsupported(Kind::Mime, 0)),
        (b"MIME-Version: 1.0\n", unsupported(Kind::Mime, 0)),
        (b"#kilnery\n", Err(Error::Unknown { offset: 0, found: "'#'".into() })),
        (b" #!/bin/sh\n", Err(Error::Unknown { offset: 1, found: "'#'".into() })),
        (b"\0\0", Err(Error::Unknown { offset: 0, found: "0x00".into() })),
        (b"#!bash\n", Err(Error::NoInterpreter { offset: 0 })),
        (b"#!", Err(Error::NoInterpreter { offset: 0 })),
    ];
    for (raw, expected) in cases {
        assert_eq!(&parse(raw), expected, "{:?}", String::from_utf8_lossy(raw));
    }
}

#[test]
fn a_script_is_run_as_it_was_written() {
    let script = script(b"#!/bin/bash -e\necho hello\n");
    assert_eq!(script.interpreter(), "/bin/bash");
    assert_eq!(script.body(), b"#!/bin/bash -e\necho hello\n");
    assert!(script.notes().is_empty());
}

#[test]
fn a_script_saved_on_windows_runs_and_says_what_was_mended() {
    let script = script(b"\xef\xbb\xbf#!/bin/sh\r\necho 'a\rb'\r\n");
    assert_eq!(script.interpreter(), "/bin/sh");
    assert_eq!(script.body(), b"#!/bin/sh\necho 'a\rb'\n");
    assert_eq!(script.notes(), [Note::ByteOrderMark, Note::CarriageReturns]);
}

#[test]
fn the_limit_is_ec2s() {
    let mut raw = b"#!/bin/sh\n".to_vec();
    raw.resize(LIMIT, b'#');
    assert!(parse(&raw).is_ok());
    raw.push(b'#');
    assert_eq!(parse(&raw), Err(Error::TooLarge { size: LIMIT + 1 }));
}

#[test]
fn debug_output_holds_no_secret() {
    let script = script(b"#!/bin/sh\nexport TOKEN=hunter2\n");
    assert!(!format!("{script:?}").contains("hunter2"));
}

proptest! {
    #[test]
    fn any_bytes_get_an_answer(raw in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let _ = parse(&raw);
    }

    #[test]
    fn any_script_keeps_its_mark_and_interpreter(tail in proptest::collection::vec(any::<u8>(), 0..512)) {
        let mut raw = b"#!/bin/sh\n".to_vec();
        raw.extend(tail);
        let script = script(&raw);
        prop_assert_eq!(script.body(), &raw[..]);
    }
}

fn script(raw: &[u8]) -> Script {
    match parse(raw).expect("the sample is a script") {
        UserData::Script(script) => script,
        UserData::Empty => panic!("the sample is not empty"),
    }
}
