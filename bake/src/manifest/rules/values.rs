//! The rules of single values: names, sizes, paths.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use kiln_image::Suite;
use kiln_image::exported::is_path;
use kiln_image::suite::SUITES;
use toml::Spanned;

use super::super::file::{ExpectTable, SecretTable};
use super::super::{Expect, ExpectedSecret};
use super::Rules;
use crate::hardening;
use crate::secrets::RuleSet;

/// What can be done about cloud-init; the first is the default.
pub(super) const CLOUD_INIT: [&str; 2] = ["take-over", "wait"];

/// Smaller disks do not hold the base; larger ones grow on first boot and need not be uploaded.
const SIZES: std::ops::RangeInclusive<u32> = 1..=64;

/// First segments that belong to nginx: the agent's health, and every frontend's assets and API.
const RESERVED: [&str; 3] = ["healthz", "assets", "api"];

impl Rules<'_> {
    pub(super) fn name(&mut self, what: &str, name: &Spanned<String>, max: usize) -> String {
        let value = name.get_ref();
        let plain = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-';
        let good = value.starts_with(|char: char| char.is_ascii_lowercase())
            && !value.ends_with('-')
            && value.len() <= max
            && value.chars().all(plain);
        if !good {
            let wanted = format!("a lower-case letter, then up to {} of a-z, 0-9 and inner '-'", max - 1);
            self.complain(name.span(), format!("{what} '{value}' is not a name: use {wanted}"));
        }
        value.clone()
    }

    pub(super) fn base(&mut self, base: &Spanned<String>) -> String {
        if Suite::find(base.get_ref()).is_none() && !is_path(base.get_ref()) {
            let known = SUITES.each_ref().map(|suite| suite.name).join("', '");
            let message = format!(
                "base '{}' is not known: use '{known}' or the path of a root (a folder, as in './root', or an archive)",
                base.get_ref()
            );
            self.complain(base.span(), message);
        }
        base.get_ref().clone()
    }

    pub(super) fn cloud_init(&mut self, choice: &Spanned<String>) -> String {
        if !CLOUD_INIT.contains(&choice.get_ref().as_str()) {
            let known = CLOUD_INIT.join("', '");
            self.complain(choice.span(), format!("cloud_init '{}' is none of '{known}'", choice.get_ref()));
        }
        choice.get_ref().clone()
    }

    pub(super) fn unhardened(&mut self, table: &BTreeMap<String, Spanned<bool>>) -> Vec<String> {
        for (key, on) in table.iter().filter(|(key, _)| hardening::ITEMS.iter().all(|item| item.key != *key))
        {
            let known: Vec<_> = hardening::ITEMS.iter().map(|item| item.key).collect();
            self.complain(
                on.span(),
                format!("'{key}' is no item of hardening: it is one of {}", known.join(", ")),
            );
        }
        table.iter().filter(|(_, on)| !on.get_ref()).map(|(key, _)| key.clone()).collect()
    }

    pub(super) fn packages(&mut self, packages: &[Spanned<String>]) -> Vec<String> {
        for package in packages {
            // Debian Policy 5.6.1.
            let name = package.get_ref();
            let plain =
                |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || "+-.".contains(char);
            if name.len() < 2
                || !name.starts_with(|char: char| char.is_ascii_alphanumeric())
                || !name.chars().all(plain)
            {
                self.complain(
                    package.span(),
                    format!("package '{name}' is not the name of a Debian package"),
                );
            }
        }
        let mut names: Vec<String> = packages.iter().map(|package| package.get_ref().clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    pub(super) fn size(&mut self, size: &Spanned<String>) -> u32 {
        let gib = size.get_ref().strip_suffix("GiB").and_then(|number| number.trim_end().parse().ok());
        gib.filter(|gib| SIZES.contains(gib)).unwrap_or_else(|| {
            let (min, max) = (SIZES.start(), SIZES.end());
            let message =
                format!("size '{}' is not a whole number of GiB from {min} to {max}", size.get_ref());
            self.complain(size.span(), format!("{message}: write it as \"2GiB\""));
            *SIZES.start()
        })
    }

    pub(super) fn path(&mut self, path: &Spanned<String>) {
        let value = path.get_ref();
        if value == "/" {
            return;
        }
        let trimmed = value.trim_matches('/');
        let plain = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || "-_".contains(char);
        let segments = || trimmed.split('/');
        if trimmed.is_empty() || !segments().all(|segment| !segment.is_empty() && segment.chars().all(plain))
        {
            let message =
                format!("service path '{value}' is neither '/' nor like '/movies/' (a-z, 0-9, '-', '_')");
            self.complain(path.span(), message);
        } else if *value != format!("/{trimmed}/") {
            let message = format!("service path '{value}' must begin and end in '/': write '/{trimmed}/'");
            self.complain(path.span(), message);
        } else if let Some(segment) = segments().find(|segment| RESERVED.contains(segment)) {
            let message =
                format!("service path '{value}' uses '{segment}', which nginx serves itself: take another");
            self.complain(path.span(), message);
        }
    }

    pub(super) fn url_path(&mut self, key: &str, path: &Spanned<String>) -> String {
        let value = path.get_ref();
        let plain = value.chars().all(|char| char.is_ascii_graphic() && !"\"'\\{};#".contains(char));
        if !value.starts_with('/') || !plain {
            let message =
                format!("{key} '{value}' is not a URL path: begin it with '/', as in \"/api/health\"");
            self.complain(path.span(), message);
        }
        value.clone()
    }

    pub(super) fn expect(&mut self, table: ExpectTable) -> Expect {
        let ExpectTable { set_id, world_writable, ports, units, shells, secrets } = table;
        let paths = set_id.iter().chain(&world_writable).chain(secrets.iter().map(|secret| &secret.path));
        for path in paths.filter(|path| !path.get_ref().starts_with('/')) {
            let message = format!("'{}' is no absolute path: begin it with '/'", path.get_ref());
            self.complain(path.span(), message);
        }
        for unit in units.iter().filter(|unit| !unit.get_ref().contains('.')) {
            let message =
                format!("'{0}' is no unit: name its kind, too, as in '{0}.service'", unit.get_ref());
            self.complain(unit.span(), message);
        }
        for SecretTable { rule, .. } in &secrets {
            if RuleSet::shipped().is_ok_and(|rules| !rules.knows(rule.get_ref())) {
                let message =
                    format!("'{}' is no rule of the secrets scan: a finding names its rule", rule.get_ref());
                self.complain(rule.span(), message);
            }
        }
        let plain = |texts: Vec<Spanned<String>>| texts.into_iter().map(Spanned::into_inner).collect();
        Expect {
            set_id: plain(set_id),
            world_writable: plain(world_writable),
            ports: plain(ports),
            units: plain(units),
            shells: plain(shells),
            secrets: secrets
                .into_iter()
                .map(|SecretTable { rule, path }| ExpectedSecret {
                    rule: rule.into_inner(),
                    path: path.into_inner(),
                })
                .collect(),
        }
    }

    pub(super) fn wsgi(&mut self, wsgi: &Spanned<String>) -> String {
        let value = wsgi.get_ref();
        let good = value.split_once(':').is_some_and(|(module, callable)| {
            module.split('.').all(identifier)
                && callable.strip_suffix("()").unwrap_or(callable).split('.').all(identifier)
        });
        if !good {
            let message = format!(
                "wsgi '{value}' is not 'module:callable': write it as \"shop:app\" or \"shop:create_app()\""
            );
            self.complain(wsgi.span(), message);
        }
        value.clone()
    }

    pub(super) fn inside(&mut self, key: &str, path: &Spanned<String>) -> PathBuf {
        let value = Path::new(path.get_ref());
        let normal = value.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !normal || value.as_os_str().is_empty() {
            let message = format!("{key} '{}' must be a folder under the manifest's own", value.display());
            self.complain(path.span(), message);
        }
        value.components().filter(|part| matches!(part, Component::Normal(_))).collect()
    }
}

pub(in super::super) fn identifier(name: &str) -> bool {
    name.starts_with(|char: char| char.is_ascii_alphabetic() || char == '_')
        && name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
}
