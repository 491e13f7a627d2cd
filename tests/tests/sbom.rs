//! `packages.spdx.json` is read by others: the SPDX project's validator, and a vulnerability scanner, which finds by it what
//! has a flaw.

use kiln_tests::programs::{repository, run};
use kiln_tests::starter::{Baked, baked};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a script in `tests/sbom` prints of an SPDX document. It sees no network: what it knows is here.
fn told(script: &str, arguments: &[&Path]) -> Value {
    let tests = repository().join("tests");
    let mut venv = Command::new(tests.join("host/venv"));
    let venv = run(venv.arg("sbom").arg(tests.join("sbom/requirements.txt"))).expect_code(0);
    let mut command = Command::new("unshare");
    command.arg("--net").arg(format!("{}/bin/python", venv.stdout.trim())).arg("-B");
    let ended = run(command.arg(tests.join("sbom").join(script)).args(arguments)).expect_code(0);
    serde_json::from_str(&ended.stdout).expect("it prints JSON")
}

fn document(baked: &Baked) -> PathBuf {
    baked.image.join("packages.spdx.json")
}

#[test]
fn the_validator_has_no_complaint_and_a_scanner_reads_every_package_with_its_licence() {
    let baked = baked();
    let read = told("read.py", &[&document(&baked)]);
    assert_eq!(read["complaints"].as_array().map(Vec::len), Some(0), "{:#}", read["complaints"]);
    let packages = read["packages"].as_object().expect("packages by name");
    // The image itself and its operating system are two of them.
    assert_eq!(Some(packages.len() as u64 - 2), baked.receipt["packages"].as_u64());
    assert_eq!(packages["debian"]["version"], "12");
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
    // Debian tells of flaws by source package.
    let openssl = &packages["libssl3"];
    let version = openssl["version"].as_str().unwrap_or_default();
    assert_eq!(openssl["source"], format!("built package from: openssl {version}"));
    assert_eq!(
        openssl["purl"],
        format!("pkg:deb/debian/libssl3@{version}?arch=amd64&distro=debian-12&upstream=openssl")
    );
}

#[test]
fn a_scanner_finds_exactly_what_has_a_flaw() {
    let baked = baked();
    let cves = repository().join("tests/sbom/cves.json");
    let found = |document: &Path| {
        let found = told("scan.py", &[&cves, document]);
        let found = found.as_array().expect("a list").iter().map(|flaw| (flaw[0].clone(), flaw[2].clone()));
        found.collect::<Vec<_>>()
    };
    // Of Debian 12's nginx: the scanner goes by upstream's version. Those of before and of others are not found.
    let nginx = (json!("CVE-2023-44487"), json!("nginx"));
    assert_eq!(found(&document(&baked)), std::slice::from_ref(&nginx));

    let text = std::fs::read_to_string(document(&baked)).expect("the list");
    let mut list: Value = serde_json::from_str(&text).expect("the list is JSON");
    let packages = list["packages"].as_array_mut().expect("packages");
    let flask =
        packages.iter_mut().find(|package| package["name"] == "Flask").expect("the starter has Flask");
    flask["versionInfo"] = json!("2.3.1");
    flask["externalRefs"][0]["referenceLocator"] = json!("pkg:pypi/flask@2.3.1");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let old = folder.path().join("old.spdx.json");
    std::fs::write(&old, list.to_string()).expect("write the list");
    let mut both = found(&old);
    both.sort_by_key(|(cve, _)| cve.to_string());
    assert_eq!(both, [(json!("CVE-2023-30861"), json!("flask")), nginx]);
}
