//! How long an instance takes to read its user data, in each form and at EC2's limit.
//!
//! `cargo bench --profile shipped -p kiln-userdata`: as the agent ships. Medians and least of 500, in microseconds.

use kiln_userdata::{LIMIT, Source, compose, parse};
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: usize = 500;

#[expect(clippy::print_stdout, reason = "the figures are the result")]
fn main() {
    for (name, raw) in documents() {
        let mut times: Vec<_> = (0..ROUNDS)
            .map(|_| {
                let started = Instant::now();
                black_box(parse(black_box(&raw)).expect("a valid document"));
                started.elapsed().as_nanos()
            })
            .collect();
        times.sort_unstable();
        let micros = |nanos: u128| format!("{}.{}", nanos / 1000, nanos % 1000 / 100);
        println!(
            "{name:<14} {:>6} bytes  {:>8} µs  {:>8} µs least",
            raw.len(),
            micros(times[ROUNDS / 2]),
            micros(times[0])
        );
    }
}

fn documents() -> Vec<(&'static str, Vec<u8>)> {
    let script = filled("#!/bin/sh\n", |n| format!("echo step {n} of a script\n"));
    let kiln = filled("#kiln\n[env]\nA = \"a\"\n[agent]\ndrain.max = \"90s\"\n", |n| {
        format!(
            "[[run]]\nname = \"step-{n}\"\ncommand = [\"/usr/bin/step\", \"{n}\"]\ntimeout = \"2m\"\n\
             [[file]]\npath = \"/etc/shop/{n}\"\ncontent = '{{\"n\": {n}}}'\n"
        )
    });
    let cloud_config = filled("#cloud-config\nwrite_files:\n", |n| {
        format!("  - path: /etc/shop/{n}\n    content: |\n      {{\"n\": {n}}}\n    permissions: '0640'\n")
    });
    let third = |raw: &[u8]| Source { filename: None, bytes: lines(raw, LIMIT / 3 - 300) };
    let parts = [third(&script), third(&kiln), third(&cloud_config)];
    let multipart = compose(&parts).expect("valid parts").bytes;
    // What fits only when it is packed: four times the limit.
    let long: Vec<u8> = script.iter().copied().chain(script[10..].repeat(3)).collect();
    let gzip = compose(&[Source { filename: None, bytes: long }]).expect("a valid script").bytes;
    vec![
        ("script", script),
        ("kiln", kiln),
        ("cloud-config", cloud_config),
        ("multipart", multipart),
        ("gzip", gzip),
    ]
}

/// A document of as many blocks as fit into the limit.
fn filled(head: &str, block: impl Fn(usize) -> String) -> Vec<u8> {
    let mut text = head.to_owned();
    for block in (0..).map(block) {
        if text.len() + block.len() > LIMIT {
            break;
        }
        text += &block;
    }
    text.into_bytes()
}

/// The beginning of a document, whole blocks of it: they are cut where a line begins one.
fn lines(raw: &[u8], size: usize) -> Vec<u8> {
    let text = String::from_utf8_lossy(&raw[..size]).into_owned();
    let end = ["\n[[run]]", "\n  - path", "\necho"].iter().filter_map(|block| text.rfind(block)).max();
    text.as_bytes()[..=end.unwrap_or(size - 1)].to_vec()
}
