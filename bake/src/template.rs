//! The files that Kiln brings itself: the starter app, and everything that the app layer lays over a base root.
//!
//! The tree is the table: a file's path under `templates/image` is its destination. `.j2` is rendered and dropped, and
//! what comes to nothing is not written; a path with `@service@` comes once per service.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use include_dir::{Dir, DirEntry, include_dir};
use kiln_image::Os;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde::Serialize;

use crate::manifest::{Manifest, Service, Tls, Workers};

static APP: Dir<'_> = include_dir!("$OUT_DIR/templates/app");
static IMAGE: Dir<'_> = include_dir!("$OUT_DIR/templates/image");

const PER_SERVICE: &str = "@service@";

/// A file, ready to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// Relative to the root.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
    /// Its bytes.
    pub content: Vec<u8>,
}

/// What a template may name.
#[derive(Debug, Clone, Serialize)]
pub struct View {
    image: ImageView,
    os: OsView,
    services: Vec<ServiceView>,
}

#[derive(Debug, Clone, Serialize)]
struct ImageView {
    name: String,
    cloud_init: String,
    tls: Option<Tls>,
}

/// What the image's operating system calls things.
#[derive(Debug, Clone, Serialize)]
struct OsView {
    web_user: &'static str,
    nginx_modules: &'static str,
    brotli: bool,
}

#[derive(Debug, Clone, Serialize)]
struct ServiceView {
    name: String,
    path: String,
    /// `path` without its last slash, for what is written before one.
    prefix: String,
    user: String,
    has_backend: bool,
    has_frontend: bool,
    wsgi: String,
    gunicorn: Workers,
    /// Folders of the backend that nginx serves, by URL below `path`.
    statics: BTreeMap<String, PathBuf>,
    health: String,
    release: String,
}

/// What one template sees.
#[derive(Serialize)]
struct Scope<'a> {
    image: &'a ImageView,
    os: &'a OsView,
    services: &'a [ServiceView],
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a ServiceView>,
}

impl View {
    /// `releases` names the release of each service, in order.
    pub fn new(manifest: &Manifest, releases: &[String], os: &Os) -> Self {
        let services = manifest.services.iter().zip(releases);
        Self {
            image: ImageView {
                name: manifest.image.name.clone(),
                cloud_init: manifest.image.cloud_init.clone(),
                tls: manifest.image.tls.clone(),
            },
            os: OsView { web_user: os.web_user, nginx_modules: os.nginx_modules, brotli: os.brotli },
            services: services.map(|(service, release)| ServiceView::new(service, release)).collect(),
        }
    }
}

impl ServiceView {
    fn new(service: &Service, release: &str) -> Self {
        Self {
            name: service.name.clone(),
            path: service.path.clone(),
            prefix: service.path.trim_end_matches('/').to_owned(),
            user: user(service),
            has_backend: service.backend.is_some(),
            has_frontend: service.frontend.is_some(),
            wsgi: service.backend.as_ref().map_or(String::new(), |backend| backend.wsgi.clone()),
            statics: service.backend.as_ref().map_or_else(BTreeMap::new, |backend| backend.statics.clone()),
            gunicorn: service
                .backend
                .as_ref()
                .map_or_else(Workers::default, |backend| backend.workers.clone()),
            health: service.health.clone().unwrap_or_else(|| "/".to_owned()),
            release: release.to_owned(),
        }
    }
}

/// The user that a service runs as.
pub fn user(service: &Service) -> String {
    format!("app-{}", service.name)
}

/// Every file of the app layer, sorted by path.
///
/// # Errors
/// A template names something that [`View`] does not have: a fault of Kiln's own.
pub fn image(view: &View) -> anyhow::Result<Vec<Rendered>> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let mut syntax = SyntaxConfig::builder();
    syntax.keep_trailing_newline(true);
    environment.set_syntax(syntax.build().context("failed to set up the templates' syntax")?);
    // By its name alone, minijinja would escape an `.html.j2`; none of these files is filled from outside.
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    let mut rendered = Vec::new();
    for (path, content) in files(&IMAGE) {
        let name = path.to_str().with_context(|| format!("template {} has no UTF-8 name", path.display()))?;
        let scopes: Vec<Option<&ServiceView>> =
            if name.contains(PER_SERVICE) { view.services.iter().map(Some).collect() } else { vec![None] };
        for service in scopes {
            let target = service.map_or(name.to_owned(), |service| name.replace(PER_SERVICE, &service.name));
            let (target, content) = match target.strip_suffix(".j2") {
                Some(target) => (target.to_owned(), render(&environment, name, content, view, service)?),
                None => (target, content.to_vec()),
            };
            // A template's own way to say that this image has no such file.
            if !content.is_empty() {
                rendered.push(Rendered { mode: mode(&target), path: PathBuf::from(target), content });
            }
        }
    }
    rendered.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(rendered)
}

fn render(
    environment: &Environment<'_>,
    name: &str,
    content: &[u8],
    view: &View,
    service: Option<&ServiceView>,
) -> anyhow::Result<Vec<u8>> {
    let source = std::str::from_utf8(content).with_context(|| format!("template {name} is not UTF-8"))?;
    let scope =
        Value::from(Serde(Scope { image: &view.image, os: &view.os, services: &view.services, service }));
    let text = environment.render_named_str(name, source, scope);
    Ok(text.with_context(|| format!("failed to render template {name}"))?.into_bytes())
}

fn mode(path: &str) -> u32 {
    if path.starts_with("usr/lib/kiln/") || path.starts_with("usr/bin/") { 0o755 } else { 0o644 }
}

/// The starter app, its manifest naming image and service `name`.
pub fn starter(name: &str) -> Vec<Rendered> {
    let mut files: Vec<Rendered> = files(&APP)
        .into_iter()
        .map(|(path, content)| Rendered { path: path.to_owned(), mode: 0o644, content: content.to_vec() })
        .collect();
    for file in &mut files {
        if file.path == Path::new(crate::manifest::FILE) {
            let text = String::from_utf8_lossy(&file.content);
            let lines = text.lines().map(|line| named(line, name) + "\n");
            file.content = lines.collect::<String>().into_bytes();
        }
    }
    files
}

/// `name = "shop"` with another name; a comment after it keeps its column where it can.
fn named(line: &str, name: &str) -> String {
    let is_name = line.strip_prefix("name").is_some_and(|rest| rest.trim_start().starts_with('='));
    let value = line.find('"').and_then(|start| Some((start, start + 1 + line[start + 1..].find('"')?)));
    match value {
        Some((start, end)) if is_name => format!("{}\"{name}\"{}", &line[..start], &line[end + 1..]),
        _ => line.to_owned(),
    }
}

/// Every file of a tree that is part of this program, with its path from the tree's top.
pub(crate) fn files<'a>(dir: &Dir<'a>) -> Vec<(&'a Path, &'a [u8])> {
    let mut found = Vec::new();
    for entry in dir.entries() {
        match entry {
            DirEntry::Dir(dir) => found.extend(files(dir)),
            DirEntry::File(file) => found.push((file.path(), file.contents())),
        }
    }
    found
}

#[cfg(test)]
mod tests;
