//! What a benchmark's peers run of this repository runs: a peer that does not get through is left out of the figures.

use kiln_tests::programs::{repository, run};
use std::process::Command;

#[test]
fn a_frontend_is_compressed_beside_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("index.html");
    std::fs::write(&page, "<p>page</p>").expect("write a page");
    let compress = repository().join("tests/bench/peers/shell/compress.cjs");
    run(Command::new("node").arg(compress).arg(&page)).expect_code(0);
    for ending in ["html.gz", "html.br"] {
        let compressed = page.with_extension(ending).metadata().expect("it is there");
        assert!(compressed.len() > 0, "{ending}");
    }
}
