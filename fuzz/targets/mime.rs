//! MIME messages: the boundary and the first part's beginning are given, so that most of the bytes reach the parts.

#![no_main]

use kiln_userdata::parse;
use libfuzzer_sys::fuzz_target;

const HEAD: &[u8] = b"Content-Type: multipart/mixed; boundary=\"b\"\nMIME-Version: 1.0\n\n--b\n";

fuzz_target!(|raw: &[u8]| {
    for tail in [&b""[..], b"\n--b--\n"] {
        match parse(&[HEAD, raw, tail].concat()) {
            Ok(data) => assert!(data.to_string().lines().count() >= data.leaves().len()),
            Err(error) => assert!(!error.to_string().contains('\n')),
        }
    }
});
