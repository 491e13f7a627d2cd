//! Rebuilds the crate when a file of the base layer is added or removed: `include_dir` alone sees only edits.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../templates/base");
}
