//! `packages.spdx.json`: the Debian packages and Python wheels of an image, and the npm packages that its frontends were
//! built of, as SPDX 2.3.

mod copyright;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use kiln_image::Os;
use kiln_image::ids::SOURCE_DATE_EPOCH;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The image itself, which contains every package.
const IMAGE: &str = "SPDXRef-Image";
/// The operating system in it; Trivy knows one by how its identifier begins.
const SYSTEM: &str = "SPDXRef-OperatingSystem";

/// One installed package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// Its name in its own world.
    pub name: String,
    /// Its version there.
    pub version: String,
    /// A package URL (`pkg:deb/debian/nginx-light@1.22.1-9?arch=all&distro=debian-12&upstream=nginx`).
    pub purl: String,
    /// Where a distribution made it.
    pub made: Option<Made>,
    /// An SPDX expression, where the package declares one.
    pub license: Option<String>,
    /// The expression's names that SPDX does not know: reference, and what the package calls it.
    pub named: Vec<(String, String)>,
}

/// The distribution of a package, and the source package: its flaws are told by the latter's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Made {
    /// `ID` and `VERSION_ID` of the distribution's os-release.
    pub system: (String, String),
    /// The source package's name.
    pub source: String,
    /// Its version.
    pub version: String,
}

/// What a root has installed, sorted.
///
/// # Errors
/// It is of no known system; its dpkg database cannot be read.
pub fn collect(root: &Path) -> anyhow::Result<Vec<Package>> {
    let os = Os::of_root(root)?;
    let status = root.join("var/lib/dpkg/status");
    let status =
        fs::read_to_string(&status).with_context(|| format!("failed to read {}", status.display()))?;
    let mut packages: Vec<_> = status.split("\n\n").filter_map(|stanza| deb(stanza, os)).collect();
    for package in &mut packages {
        let text = fs::read(root.join(copyright_of(&package.name))).unwrap_or_default();
        if let Some(declared) = copyright::read(&package.name, &String::from_utf8_lossy(&text)) {
            (package.license, package.named) = (Some(declared.expression), declared.named);
        }
    }
    let venvs = walkdir::WalkDir::new(root.join("srv")).min_depth(3).max_depth(8);
    for entry in venvs.into_iter().flatten() {
        let in_dist_info =
            || entry.path().parent().is_some_and(|dir| dir.extension().is_some_and(|ext| ext == "dist-info"));
        if entry.file_name() == "METADATA" && in_dist_info() {
            packages.extend(fs::read_to_string(entry.path()).ok().and_then(|text| wheel(&text)));
        }
    }
    packages.sort();
    packages.dedup();
    Ok(packages)
}

fn copyright_of(package: &str) -> String {
    format!("usr/share/doc/{package}/copyright")
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .take_while(|line| !line.is_empty())
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// One stanza of dpkg's status, if the package is installed.
///
/// Its package URL has what scanners match by (Grype and Syft): the distribution, and the source package where that has another
/// name or version.
pub(crate) fn deb(paragraph: &str, os: &Os) -> Option<Package> {
    let (name, version) = installed(paragraph)?;
    let arch = field(paragraph, "Architecture")?;
    // `Source: bash (5.2.15-2)`; neither is said where it is the same.
    let source = field(paragraph, "Source").unwrap_or(name);
    let (source, of) =
        source.split_once(" (").map_or((source, version), |(source, of)| (source, of.trim_end_matches(')')));
    let (id, release) = os.release();
    let upstream = match (source == name, of == version) {
        (true, true) => String::new(),
        (false, true) => format!("&upstream={}", encoded(source)),
        (_, false) => format!("&upstream={}", encoded(&format!("{source}@{of}"))),
    };
    let purl = format!(
        "pkg:deb/{id}/{}@{}?arch={arch}&distro={id}-{release}{upstream}",
        encoded(name),
        encoded(version)
    );
    let made = Made {
        system: (id.to_owned(), release.to_owned()),
        source: source.to_owned(),
        version: of.to_owned(),
    };
    Some(Package { made: Some(made), ..bare(name, version, purl) })
}

/// Name and version of a stanza of dpkg's status, if the package is installed.
pub(crate) fn installed(paragraph: &str) -> Option<(&str, &str)> {
    (field(paragraph, "Status")? == "install ok installed")
        .then(|| Some((field(paragraph, "Package")?, field(paragraph, "Version")?)))?
}

/// A package of which nothing else is known.
fn bare(name: &str, version: &str, purl: String) -> Package {
    let (name, version) = (name.to_owned(), version.to_owned());
    Package { name, version, purl, made: None, license: None, named: vec![] }
}

/// As a package URL writes it: everything in percent but letters, digits, `.-_~` and a colon.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~:".contains(&byte);
    let one = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(one).collect()
}

/// A package that a frontend's build may have put into its files.
pub(crate) fn npm(name: &str, version: &str, license: Option<String>) -> Package {
    // `@types/node`: the scope is a namespace.
    let path = name.split('/').map(encoded).collect::<Vec<_>>().join("/");
    let purl = format!("pkg:npm/{path}@{}", encoded(version));
    Package { license: license.filter(|text| is_expression(text)), ..bare(name, version, purl) }
}

/// Whether a declared licence is an SPDX expression: packages also write `SEE LICENSE IN …`, or prose.
fn is_expression(text: &str) -> bool {
    spdx::Expression::parse(text).is_ok()
}

/// Why no licence is told.
fn untold(package: &Package) -> String {
    match package.purl.split(['/', ':']).nth(1) {
        Some("deb") => format!("/{} is prose", copyright_of(&package.name)),
        _ => "the package declares no SPDX expression".to_owned(),
    }
}

/// A wheel's `METADATA`.
pub(crate) fn wheel(metadata: &str) -> Option<Package> {
    let (name, version) = (field(metadata, "Name")?, field(metadata, "Version")?);
    let purl = format!("pkg:pypi/{}@{}", encoded(&name.to_lowercase().replace('_', "-")), encoded(version));
    // The older field holds all kinds of things.
    let declared = ["License-Expression", "License"].into_iter().filter_map(|name| field(metadata, name));
    let license = declared.into_iter().find(|text| is_expression(text)).map(str::to_owned);
    Some(Package { license, ..bare(name, version, purl) })
}

/// Writes the document; its time is the image's own, so that the same image has the same list.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, image: &str, digest: &str, packages: &[Package]) -> anyhow::Result<()> {
    let created = i64::try_from(SOURCE_DATE_EPOCH).ok().and_then(|at| jiff::Timestamp::from_second(at).ok());
    let id = |index: usize| format!("SPDXRef-Package-{index}");
    let listed = packages.iter().enumerate().map(|(index, package)| {
        let mut listed = json!({
            "SPDXID": id(index),
            "name": package.name,
            "versionInfo": package.version,
            "supplier": if package.purl.starts_with("pkg:deb/") { "Organization: Debian" } else { "NOASSERTION" },
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": false,
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": package.license.as_deref().unwrap_or("NOASSERTION"),
            "copyrightText": "NOASSERTION",
            "externalRefs": [{
                "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": package.purl,
            }],
        });
        if package.license.is_none() {
            listed["licenseComments"] = untold(package).into();
        }
        if let Some(made) = &package.made {
            // In Trivy's words, which reads it from them.
            listed["sourceInfo"] = format!("built package from: {} {}", made.source, made.version).into();
        }
        listed
    });
    let named: BTreeMap<_, _> =
        packages.iter().flat_map(|of| of.named.iter().map(move |(id, name)| (id, (of, name)))).collect();
    let named = named.into_iter().map(|(id, (package, name))| {
        let place = copyright_of(&package.name);
        json!({ "licenseId": id, "name": name, "extractedText": format!("What /{place} calls '{name}', with its text.") })
    });
    let part = |id: &str, name: &str, version: &str, purpose: &str| {
        json!({
            "SPDXID": id,
            "name": name,
            "versionInfo": version,
            "supplier": "NOASSERTION",
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": false,
            "primaryPackagePurpose": purpose,
        })
    };
    let system = packages.iter().find_map(|package| package.made.as_ref()).map(|made| &made.system);
    let mut parts = vec![part(IMAGE, image, digest, "OTHER")];
    parts.extend(system.map(|(id, release)| part(SYSTEM, id, release, "OPERATING-SYSTEM")));
    let relation = |from: &str, kind: &str, to: &str| json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to });
    let contained = system.map(|_| SYSTEM.to_owned()).into_iter().chain((0..packages.len()).map(id));
    let contained = contained.map(|id| relation(IMAGE, "CONTAINS", &id));
    let document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": image,
        "documentNamespace": format!("https://spdx.org/spdxdocs/kiln-{image}-{digest}"),
        "creationInfo": {
            "created": created.unwrap_or_default().to_string(),
            "creators": [format!("Tool: kiln-{}", env!("CARGO_PKG_VERSION"))],
        },
        "packages": parts.into_iter().chain(listed).collect::<Vec<_>>(),
        "hasExtractedLicensingInfos": named.collect::<Vec<_>>(),
        "relationships":
            std::iter::once(relation("SPDXRef-DOCUMENT", "DESCRIBES", IMAGE)).chain(contained).collect::<Vec<_>>(),
    });
    let text = serde_json::to_vec_pretty(&document).context("failed to write the software list")?;
    fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_both_worlds_get_their_package_url() {
        let os = Os::of_suite(&kiln_image::suite::SUITES[0]);
        let stanza = |name: &str, source: &str| {
            format!(
                "Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2:2.36+b1\n{source}"
            )
        };
        let tail = "@2:2.36%2Bb1?arch=amd64&distro=debian-12";
        for (name, source, purl) in [
            ("libc6", "Source: glibc\n", format!("libc6{tail}&upstream=glibc")),
            ("bash", "Source: bash (2.36)\n", format!("bash{tail}&upstream=bash%402.36")),
            ("libstdc++6", "", format!("libstdc%2B%2B6{tail}")),
        ] {
            let found = deb(&stanza(name, source), os).expect("it is installed");
            assert_eq!(found.purl, format!("pkg:deb/debian/{purl}"));
        }
        let removed = stanza("libc6", "").replace("install ok installed", "deinstall ok config-files");
        assert_eq!(deb(&removed, os), None);
        let metadata = "Metadata-Version: 2.1\nName: Flask\nVersion: 3.1.0\n\nName: not a field\n";
        assert_eq!(wheel(metadata).map(|found| found.purl), Some("pkg:pypi/flask@3.1.0".into()));
        assert_eq!(npm("@types/node", "20.1.0", None).purl, "pkg:npm/%40types/node@20.1.0");
    }

    #[test]
    fn a_licence_is_told_where_it_is_an_expression() {
        for (text, is) in [
            ("MIT", true),
            ("(MIT OR Apache-2.0)", true),
            ("GPL-2.0-only WITH Classpath-exception-2.0", true),
            ("Nobody-1.0", false),
            ("SEE LICENSE IN LICENSE.md", false),
            ("BSD License", false),
            ("MIT OR", false),
            ("", false),
        ] {
            assert_eq!(npm("a", "1", Some(text.into())).license.is_some(), is, "{text}");
        }
    }
}
