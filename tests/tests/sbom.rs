//! `packages.spdx.json` is read by others: the SPDX project's validator, and the reader of a vulnerability scanner.

use kiln_tests::programs::{repository, run};
use kiln_tests::starter::baked;
use serde_json::Value;
use std::process::Command;

#[test]
fn the_validator_has_no_complaint_and_a_scanner_reads_every_package_with_its_licence() {
    let baked = baked();
    let tests = repository().join("tests");
    let mut venv = Command::new(tests.join("host/venv"));
    let venv = run(venv.arg("sbom").arg(tests.join("sbom/requirements.txt"))).expect_code(0);
    let mut read = Command::new(format!("{}/bin/python", venv.stdout.trim()));
    read.arg("-B").arg(tests.join("sbom/read.py")).arg(baked.image.join("packages.spdx.json"));
    let read = run(&mut read).expect_code(0);
    let read: Value = serde_json::from_str(&read.stdout).expect("it prints JSON");
    assert_eq!(read["complaints"].as_array().map(Vec::len), Some(0), "{:#}", read["complaints"]);
    let packages = read["packages"].as_object().expect("packages by name");
    // The image itself is one of them.
    assert_eq!(Some(packages.len() as u64 - 1), baked.receipt["packages"].as_u64());
    for (name, purl, license) in [
        ("openssh-server", "pkg:deb/debian/openssh-server@", "BSD-2-Clause AND"),
        ("kmod", "pkg:deb/debian/kmod@", "GPL-2.0-or-later"),
        ("gunicorn", "pkg:pypi/gunicorn@", "MIT"),
        ("react", "pkg:npm/react@", "MIT"),
    ] {
        let package = &packages[name];
        let told = |key: &str| package[key].as_str().unwrap_or_default();
        assert!(told("purl").starts_with(purl) && told("license").contains(license), "{name}: {package}");
    }
    let debs: Vec<&Value> = packages
        .values()
        .filter(|package| package["purl"].as_str().is_some_and(|purl| purl.starts_with("pkg:deb/")))
        .collect();
    let licensed = debs.iter().filter(|deb| deb["license"].as_str() != Some("NOASSERTION")).count();
    assert!(licensed * 10 > debs.len() * 8, "{licensed} of {} Debian packages say their licence", debs.len());
}
