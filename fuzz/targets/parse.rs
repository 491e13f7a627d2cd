//! User data as an instance gets it: any bytes.

#![no_main]

use kiln_userdata::{Refusal, Source, compose, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|raw: &[u8]| {
    let data = match parse(raw) {
        Ok(data) => data,
        Err(error) => {
            let _ = (error.to_string(), error.excerpt());
            return;
        }
    };
    let _ = (data.to_string(), data.leaves().len());
    // What an instance takes, a pipeline composes, and what it composes is read as the same.
    let source = Source { filename: None, bytes: raw.to_vec() };
    match compose(&[source]) {
        Ok(composed) => assert_eq!(parse(&composed.bytes).as_ref(), Ok(&data)),
        Err(Refusal::Secret(_) | Refusal::Wrapped(_) | Refusal::TooLarge { .. }) => {}
        Err(refusal) => panic!("parse takes what compose refuses: {refusal}"),
    }
});
