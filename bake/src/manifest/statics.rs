//! `static`: folders of a backend that nginx serves by itself, by URL below the service's path. Their rules are pure; those about
//! the files are in `sources`.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use toml::Spanned;

use super::file::ServiceTable;
use super::rules::Rules;

/// First segments that nginx gives to somebody else where there is a frontend.
const FRONTEND: [&str; 2] = ["api", "assets"];

impl Rules<'_> {
    pub(super) fn statics(&mut self, table: &ServiceTable) -> BTreeMap<String, PathBuf> {
        let health = table.health.as_ref().map_or("", |health| health.get_ref());
        let mut found = BTreeMap::new();
        for (url, folder) in &table.statics {
            let value = url.get_ref();
            let first = value.trim_start_matches('/').split('/').next().unwrap_or_default();
            if !is_folder_of_urls(value) {
                let message = format!(
                    "static '{value}' is no folder below the service's path: write it as \"/static/\" (letters, digits, '-', '_')"
                );
                self.complain(url.span(), message);
            } else if table.frontend.is_some() && FRONTEND.contains(&first) {
                let message =
                    format!("static '{value}' is in '/{first}/', which is the frontend's: take another");
                self.complain(url.span(), message);
            } else if health.starts_with(value.as_str()) {
                let message =
                    format!("static '{value}' takes the service's own health '{health}': take another");
                self.complain(url.span(), message);
            }
            found.insert(value.clone(), self.folder_of_backend(folder));
        }
        found
    }

    /// No static folder may answer for another service, nor the other way round: the longer path wins in nginx.
    pub(super) fn statics_beside(&mut self, tables: &[Spanned<ServiceTable>]) {
        for own in tables.iter().map(Spanned::get_ref) {
            let path = own.path.get_ref();
            for url in own.statics.keys() {
                let whole = format!("{}{}", path.trim_end_matches('/'), url.get_ref());
                let taken = |other: &&ServiceTable| {
                    let other = other.path.get_ref();
                    other != path
                        && (other.starts_with(&whole) || other.len() > path.len() && whole.starts_with(other))
                };
                if let Some(other) = tables.iter().map(Spanned::get_ref).find(taken) {
                    let message = format!(
                        "static '{whole}' and service '{}' at '{}' are in each other's way: take another",
                        other.name.get_ref(),
                        other.path.get_ref()
                    );
                    self.complain(url.span(), message);
                }
            }
        }
    }

    fn folder_of_backend(&mut self, folder: &Spanned<String>) -> PathBuf {
        let value = Path::new(folder.get_ref());
        let normal = value.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        let place: PathBuf = value.components().filter(|part| matches!(part, Component::Normal(_))).collect();
        let plain = |char: char| char.is_ascii_alphanumeric() || "-_./".contains(char);
        if !normal || place.as_os_str().is_empty() || !folder.get_ref().chars().all(plain) {
            let message = format!(
                "static folder '{}' must be one below the backend's (letters, digits, '-', '_', '.'), as in \"shop/static\"",
                value.display()
            );
            self.complain(folder.span(), message);
        }
        place
    }
}

fn is_folder_of_urls(url: &str) -> bool {
    let plain = |char: char| char.is_ascii_alphanumeric() || "-_".contains(char);
    let inner = url.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')).unwrap_or_default();
    inner.split('/').all(|segment| !segment.is_empty() && segment.chars().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;

    fn of(keys: &str, others: &str) -> Result<Vec<String>, String> {
        let text = format!(
            "[image]\nname = \"shop\"\n[[service]]\nname = \"shop\"\npath = \"/\"\n{keys}\n[[service]]\nname = \"movies\"\npath = \"/movies/\"\nbackend = \"m\"\nwsgi = \"m:app\"\n{others}"
        );
        let (manifest, _) = Manifest::parse(&text, Path::new("/app")).map_err(|error| error.to_string())?;
        let backends = manifest.services.iter().filter_map(|service| service.backend.as_ref());
        let all = backends.flat_map(|backend| &backend.statics);
        Ok(all.map(|(url, folder)| format!("{url} {}", folder.display())).collect())
    }

    const BACKEND: &str = "backend = \"back\"\nwsgi = \"shop:app\"\nhealth = \"/up/health\"\n";

    #[test]
    fn folders_are_served_with_and_without_a_frontend() {
        let table = [
            ("static = { \"/static/\" = \"shop/static\" }", "", vec!["/static/ shop/static"]),
            (
                "frontend = \"web\"\nstatic = { \"/static/\" = \"./a/\", \"/static/admin/\" = \"b\" }",
                "static = { \"/static/\" = \"c\" }",
                vec!["/static/ a", "/static/admin/ b", "/static/ c"],
            ),
            // A backend alone has all of its URLs to itself.
            ("static = { \"/assets/\" = \"a\", \"/api/\" = \"b\" }", "", vec!["/api/ b", "/assets/ a"]),
        ];
        for (keys, others, expected) in table {
            let found = of(&format!("{BACKEND}{keys}"), others).expect(keys);
            assert_eq!(found, expected, "{keys}");
        }
    }

    #[test]
    fn what_another_answers_or_what_is_no_folder_of_the_backend_is_refused_with_its_place() {
        let table = [
            ("static = { \"/\" = \"a\" }", "no folder below the service's path"),
            ("static = { \"/static\" = \"a\" }", "no folder below the service's path"),
            ("static = { \"/a//b/\" = \"a\" }", "no folder below the service's path"),
            ("static = { \"/a;b/\" = \"a\" }", "no folder below the service's path"),
            ("static = { \"/../\" = \"a\" }", "no folder below the service's path"),
            (
                "frontend = \"web\"\nstatic = { \"/api/static/\" = \"a\" }",
                "is in '/api/', which is the frontend's",
            ),
            ("frontend = \"web\"\nstatic = { \"/assets/\" = \"a\" }", "is in '/assets/'"),
            ("static = { \"/up/\" = \"a\" }", "takes the service's own health '/up/health'"),
            ("static = { \"/movies/\" = \"a\" }", "service 'movies' at '/movies/'"),
            ("static = { \"/movies/static/\" = \"a\" }", "in each other's way"),
            ("static = { \"/static/\" = \"../a\" }", "must be one below the backend's"),
            ("static = { \"/static/\" = \"/a\" }", "must be one below the backend's"),
            ("static = { \"/static/\" = \".\" }", "must be one below the backend's"),
            ("static = { \"/static/\" = \"a;b\" }", "must be one below the backend's"),
        ];
        for (keys, expected) in table {
            let told = of(&format!("{BACKEND}{keys}"), "").expect_err(keys);
            assert!(told.contains(expected) && told.contains("kiln.toml:"), "{keys}: {told}");
        }
        let told = of("frontend = \"web\"\nstatic = { \"/static/\" = \"a\" }", "").expect_err("no backend");
        assert!(told.contains("'static' is given without 'backend'"), "{told}");
    }
}
