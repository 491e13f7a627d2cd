//! The licences of a Debian package, from its machine-readable copyright file
//! (<https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/>). About one in six is prose, and says nothing here.

use std::collections::BTreeSet;

/// What a copyright file declares.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Declared {
    /// An SPDX expression: everything that any of its files is under.
    pub(super) expression: String,
    /// Names that SPDX does not know: its `LicenseRef-…` here, and what the file calls it.
    pub(super) named: Vec<(String, String)>,
}

/// Reads the copyright file of `package`; `None` for one that is no machine-readable one.
pub(super) fn read(package: &str, text: &str) -> Option<Declared> {
    text.lines().find(|line| !line.trim().is_empty()).filter(|line| line.starts_with("Format:"))?;
    let mut parts = BTreeSet::new();
    let mut named = BTreeSet::new();
    for line in text.lines() {
        let Some(synopsis) = line.strip_prefix("License:") else { continue };
        // An empty synopsis: the licence's text follows, and has no name.
        let synopsis = synopsis.trim();
        parts.insert(expression(package, if synopsis.is_empty() { "unnamed" } else { synopsis }, &mut named));
    }
    (!parts.is_empty())
        .then(|| Declared { expression: joined(parts, " AND "), named: named.into_iter().collect() })
}

fn joined(parts: impl IntoIterator<Item = String>, by: &str) -> String {
    let parts: Vec<_> = parts.into_iter().collect();
    let several = parts.len() > 1;
    let grouped = |part: String| if several && part.contains(' ') { format!("({part})") } else { part };
    parts.into_iter().map(grouped).collect::<Vec<_>>().join(by)
}

/// A synopsis: names, `or`, `and`, and a comma that makes the latter bind less: `GPL-2+ or Artistic, and Expat`.
fn expression(package: &str, synopsis: &str, named: &mut BTreeSet<(String, String)>) -> String {
    let mut split = |by: &str, operator: &str| {
        synopsis
            .contains(by)
            .then(|| joined(synopsis.split(by).map(|part| expression(package, part.trim(), named)), operator))
    };
    [(", and ", " AND "), (", or ", " OR "), (" or ", " OR "), (" and ", " AND ")]
        .into_iter()
        .find_map(|(by, operator)| split(by, operator))
        .unwrap_or_else(|| license(package, synopsis, named))
}

fn license(package: &str, name: &str, named: &mut BTreeSet<(String, String)>) -> String {
    let (of, exception) = match name.split_once(" with ") {
        Some((of, exception)) => (of, Some(exception.trim_end_matches(" exception"))),
        None => (name, None),
    };
    let known = spdx(of).and_then(|of| match exception {
        None => Some(of),
        Some(exception) => Some(format!("{of} WITH {}", spdx::exception_id(exception)?.name)),
    });
    known.unwrap_or_else(|| {
        // Prose where a name should be: its first words tell it from others.
        let name: String = name.split_whitespace().take(6).collect::<Vec<_>>().join(" ");
        let plain = |char: char| if char.is_ascii_alphanumeric() || char == '.' { char } else { '-' };
        let id = format!("LicenseRef-{package}-{name}").chars().map(plain).collect::<String>();
        named.insert((id.clone(), name));
        id
    })
}

/// SPDX's identifier for a name as Debian writes it.
fn spdx(name: &str) -> Option<String> {
    /// Debian's short names that are not SPDX's (the specification's section 7.1).
    const NAMES: [(&str, &str); 10] = [
        ("apache-2", "Apache-2.0"),
        ("artistic", "Artistic-1.0-Perl"),
        ("artistic-2", "Artistic-2.0"),
        ("cc0", "CC0-1.0"),
        ("expat", "MIT"),
        ("openldap-2.8", "OLDAP-2.8"),
        ("psf-2", "PSF-2.0"),
        ("mit/x11", "MIT"),
        ("bsd-4-clause-uc", "BSD-4-Clause-UC"),
        ("gfdl-niv-1.3+", "GFDL-1.3-no-invariants-or-later"),
    ];
    let lower = name.to_ascii_lowercase();
    if let Some((_, id)) = NAMES.iter().find(|(debian, _)| *debian == lower) {
        return Some((*id).to_owned());
    }
    if let Some(id) = gnu(&lower) {
        return Some(id);
    }
    let same = spdx::identifiers::LICENSES.iter().find(|license| license.name.eq_ignore_ascii_case(name));
    same.map(|license| license.name.to_owned())
}

/// `GPL-2+`, `LGPLv2.1`, `GFDL-1.3`: the version, and whether a later one will do.
fn gnu(lower: &str) -> Option<String> {
    let family = ["agpl", "lgpl", "gfdl", "gpl"].into_iter().find(|family| lower.starts_with(family))?;
    let rest = lower[family.len()..].trim_start_matches(['-', 'v']);
    let (version, later) = match rest.strip_suffix('+').or_else(|| rest.strip_suffix("-or-later")) {
        Some(version) => (version, "or-later"),
        None => (rest.strip_suffix("-only").unwrap_or(rest), "only"),
    };
    let version = if version.contains('.') { version.to_owned() } else { format!("{version}.0") };
    let id = format!("{}-{version}-{later}", family.to_ascii_uppercase());
    spdx::license_id(&id).map(|license| license.name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(licenses: &[&str]) -> Declared {
        let paragraphs =
            licenses.iter().map(|license| format!("\nFiles: *\nLicense: {license}\n Its text.\n"));
        let text = format!("Format: https://www.debian.org/doc/…\n{}", paragraphs.collect::<String>());
        read("jq", &text).expect("it is machine-readable")
    }

    #[test]
    fn names_become_those_of_spdx_and_what_it_does_not_know_is_told_by_a_reference() {
        for (debian, expected) in [
            ("Expat", "MIT"),
            ("GPL-2+", "GPL-2.0-or-later"),
            ("LGPLv2.1", "LGPL-2.1-only"),
            ("bsd-3-clause", "BSD-3-Clause"),
            ("GPL-2 with Linux-syscall-note exception", "GPL-2.0-only WITH Linux-syscall-note"),
            ("GPL-2+ or Artistic, and Expat", "(GPL-2.0-or-later OR Artistic-1.0-Perl) AND MIT"),
            ("BSLA", "LicenseRef-jq-BSLA"),
            ("GPL-2+ with Odd exception", "LicenseRef-jq-GPL-2--with-Odd-exception"),
            (
                "Permission to use, copy, modify, distribute",
                "LicenseRef-jq-Permission-to-use--copy--modify--distribute",
            ),
        ] {
            let found = of(&[debian]).expression;
            assert_eq!(found, expected, "{debian}");
            spdx::Expression::parse(&found).expect(debian);
        }
        let all = of(&["GPL-2+ or X11", "Expat", "Expat", "BSLA"]);
        assert_eq!(all.expression, "(GPL-2.0-or-later OR X11) AND LicenseRef-jq-BSLA AND MIT");
        assert_eq!(all.named, [("LicenseRef-jq-BSLA".to_owned(), "BSLA".to_owned())]);
        assert_eq!(read("jq", "This package was debianized by hand.\nLicense: MIT\n"), None);
    }
}
