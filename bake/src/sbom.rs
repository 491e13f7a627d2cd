//! `packages.spdx.json`: the Debian packages and Python wheels of an image, and the npm packages that its frontends were
//! built of, as SPDX 2.3.

mod copyright;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use kiln_image::ids::SOURCE_DATE_EPOCH;
use serde_json::json;

/// The image itself, which contains every package.
const IMAGE: &str = "SPDXRef-Image";

/// One installed package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Its name in its own world.
    pub name: String,
    /// Its version there.
    pub version: String,
    /// A package URL (`pkg:deb/debian/nginx-light@1.22.1-9?arch=amd64`).
    pub purl: String,
    /// An SPDX expression, where the package declares one.
    pub license: Option<String>,
    /// The expression's names that SPDX does not know: reference, and what the package calls it.
    pub named: Vec<(String, String)>,
}

/// What a root has installed, sorted.
///
/// # Errors
/// Its dpkg database cannot be read.
pub fn collect(root: &Path) -> anyhow::Result<Vec<Package>> {
    let status = root.join("var/lib/dpkg/status");
    let status =
        fs::read_to_string(&status).with_context(|| format!("failed to read {}", status.display()))?;
    let mut packages: Vec<_> = status.split("\n\n").filter_map(deb).collect();
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
pub(crate) fn deb(paragraph: &str) -> Option<Package> {
    if field(paragraph, "Status") != Some("install ok installed") {
        return None;
    }
    let (name, version) = (field(paragraph, "Package")?, field(paragraph, "Version")?);
    let arch = field(paragraph, "Architecture")?;
    let purl =
        format!("pkg:deb/debian/{name}@{}?arch={arch}", version.replace(':', "%3A").replace('+', "%2B"));
    Some(Package { name: name.to_owned(), version: version.to_owned(), purl, license: None, named: vec![] })
}

/// A package that a frontend's build may have put into its files.
pub(crate) fn npm(name: &str, version: &str, license: Option<String>) -> Package {
    let purl = format!("pkg:npm/{}@{}", name.replace('@', "%40"), version.replace('+', "%2B"));
    Package {
        name: name.to_owned(),
        version: version.to_owned(),
        purl,
        license: license.filter(|text| is_expression(text)),
        named: vec![],
    }
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
    let purl = format!("pkg:pypi/{}@{version}", name.to_lowercase().replace('_', "-"));
    // The older field holds all kinds of things.
    let declared = ["License-Expression", "License"].into_iter().filter_map(|name| field(metadata, name));
    let license = declared.into_iter().find(|text| is_expression(text)).map(str::to_owned);
    Some(Package { name: name.to_owned(), version: version.to_owned(), purl, license, named: vec![] })
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
        listed
    });
    let named: BTreeMap<_, _> =
        packages.iter().flat_map(|of| of.named.iter().map(move |(id, name)| (id, (of, name)))).collect();
    let named = named.into_iter().map(|(id, (package, name))| {
        let place = copyright_of(&package.name);
        json!({ "licenseId": id, "name": name, "extractedText": format!("What /{place} calls '{name}', with its text.") })
    });
    let whole = json!({
        "SPDXID": IMAGE,
        "name": image,
        "versionInfo": digest,
        "supplier": "NOASSERTION",
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "primaryPackagePurpose": "OPERATING-SYSTEM",
    });
    let relation = |from: &str, kind: &str, to: &str| json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to });
    let contained = (0..packages.len()).map(|index| relation(IMAGE, "CONTAINS", &id(index)));
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
        "packages": std::iter::once(whole).chain(listed).collect::<Vec<_>>(),
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
        let stanza =
            "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2:2.36+deb12\n";
        assert_eq!(
            deb(stanza).map(|found| found.purl),
            Some("pkg:deb/debian/libc6@2%3A2.36%2Bdeb12?arch=amd64".into())
        );
        assert_eq!(deb(&stanza.replace("install ok installed", "deinstall ok config-files")), None);
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
