//! Hostile bytes get an answer: no panic, no end in sight, no more memory than the limits say.

use flate2::{Compression, write::GzEncoder};
use kiln_userdata::{LIMIT, parse};
use proptest::prelude::*;
use std::io::Write;
use std::path::Path;

proptest! {
    #[test]
    fn any_bytes(raw in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let _ = parse(&raw);
    }

    #[test]
    fn any_document(
        mark in "(#kiln|#cloud-config|#!/bin/sh)\n",
        text in "([a-z_]{1,12}(: | = )|[\\[\\]{}&*!|>'\",#-]|\\[\\[(file|run)\\]\\]\n|- |\n {0,6}|\t|[a-z0-9é]{0,9}){0,60}",
    ) {
        let _ = parse(format!("{mark}{text}").as_bytes());
    }

    #[test]
    fn any_message(
        text in "(--b(--)?\r?\n|Content-Type: (multipart/mixed; boundary=b|text/plain|text/x-kiln)\n|Content-Transfer-Encoding: (base64|quoted-printable)\n|\n|=[0-9A-F]{2}|=\n|#!/bin/sh\n|[ -~]{0,30}){0,40}",
    ) {
        let _ = parse(format!("MIME-Version: 1.0\n{text}").as_bytes());
    }

    #[test]
    fn any_bytes_within_gzip(raw in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = parse(&gzip(&raw));
    }

    #[test]
    fn any_damage_to_a_known_case(case in 0_usize..1000, at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        let cases = cases();
        let mut raw = cases[case % cases.len()].clone();
        if !raw.is_empty() {
            let at = at.index(raw.len());
            raw[at] = byte;
        }
        let _ = parse(&raw);
    }
}

#[test]
fn any_case_cut_off_anywhere() {
    for raw in cases() {
        // Every cut of the short ones, a few hundred of the long ones.
        for end in (0..raw.len()).step_by(raw.len() / 400 + 1) {
            let _ = parse(&raw[..end]);
        }
    }
}

#[test]
fn patterns_that_make_parsers_slow_or_deep_end_soon() {
    let started = std::time::Instant::now();
    let size = 256 * 1024;
    let patterns = [
        "[", "{", "- ", "? ", "&a ", "*a ", "!", "'", "\"", "|\n", "a: ", "a:\n ", ": ", "%", "---\n", "#\n",
        "\t", "{a: [", "a = {", "[a.", "[[a]]\n", "a.", "\"\"\"", "a = [", "\\", "é", "<<: *a\n",
    ];
    for mark in ["#cloud-config\n", "#kiln\n", "#cloud-config\nruncmd: ", "#kiln\na = "] {
        for pattern in patterns {
            let text = format!("{mark}{}", pattern.repeat(size / pattern.len()));
            let packed = gzip(text.as_bytes());
            assert!(packed.len() <= LIMIT, "{pattern:?} is within the limit");
            let _ = parse(&packed);
        }
    }
    // Unoptimised on a busy machine; a pattern that takes quadratic time takes minutes.
    assert!(started.elapsed().as_secs() < 60, "took {:?}", started.elapsed());
}

#[test]
fn memory_stays_within_a_bound() {
    let before = peak_kib();
    let bomb = gzip(&vec![0; 64 << 20]);
    // 64 MiB pack to 64 KiB: three layers pack further, as bombs do.
    let layered = gzip(&gzip(&bomb));
    let members = [gzip(&vec![b'#'; 1 << 20]), gzip(&vec![b'#'; 1 << 20])].concat();
    let made = peak_kib();
    for raw in [&layered, &members, &bomb] {
        let error = parse(raw).expect_err("a bomb");
        assert!(matches!(error.reason().name(), "too-much-unpacked" | "too-large"), "{error}");
    }
    let part = "--b\n\n#!/bin/sh\n";
    let many = format!("Content-Type: multipart/mixed; boundary=b\n\n{}", part.repeat(1000));
    assert!(parse(&many.as_bytes()[..LIMIT.min(many.len())]).is_err());
    // 1 MiB unpacked, its copies and the trees of it.
    assert!(peak_kib() - made < 16 * 1024, "{before} KiB, then {made}, then {}", peak_kib());
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak is kept");
    line.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(bytes).expect("a Vec takes every byte");
    packer.finish().expect("a Vec takes every byte")
}

fn cases() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    std::fs::read_dir(folder)
        .expect("the cases are in the repository")
        .filter_map(|entry| std::fs::read(entry.expect("a readable folder").path().join("input")).ok())
        .collect()
}
