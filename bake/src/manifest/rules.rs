//! The rules of a manifest that its text alone can break. Pure.

mod values;

pub(super) use values::identifier;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use kiln_image::suite::SUITES;
use toml::Spanned;

use super::file::{ManifestFile, ServiceTable};
use super::{
    Backend, Complaint, Complaints, Frontend, Image, Manager, Manifest, Places, Rehearse, Service, Tls,
};

/// Linux allows 32 characters for a user's name, and the service's user is `app-<name>`.
const SERVICE_NAME_MAX: usize = 28;

/// An AMI's name has at most 128 characters; Kiln adds the digest.
const IMAGE_NAME_MAX: usize = 63;

pub(super) struct Rules<'a> {
    text: &'a str,
    complaints: Complaints,
}

pub(super) fn check(file: ManifestFile, text: &str, dir: &Path) -> Result<(Manifest, Places), Complaints> {
    let mut rules = Rules { text, complaints: Complaints::default() };
    let ManifestFile { image: table, services: tables, aws, expect, publish, builder, rehearse, userdata } =
        file;
    let base_place = table.base.as_ref().map_or(0..0, Spanned::span);
    let mut image = Image {
        name: rules.name("image name", &table.name, IMAGE_NAME_MAX),
        base: table.base.map_or(SUITES[0].name.to_owned(), |base| rules.base(&base)),
        packages: rules.packages(&table.packages),
        size_gib: table.size.map_or(2, |size| rules.size(&size)),
        cloud_init: table
            .cloud_init
            .map_or(values::CLOUD_INIT[0].to_owned(), |choice| rules.cloud_init(&choice)),
        unhardened: rules.unhardened(&table.hardening),
        tls: table.tls.map(|table| rules.tls(table)),
    };
    if tables.is_empty() {
        rules.complain(
            table.name.span(),
            "image has no [[service]]: add one with name, path and backend or frontend",
        );
    }
    rules.distinct("name", tables.iter().map(|table| &table.get_ref().name));
    rules.distinct("path", tables.iter().map(|table| &table.get_ref().path));
    let mut places = Places { base: base_place, ..Places::default() };
    let services: Vec<Service> = tables
        .iter()
        .map(|table| {
            let table = table.get_ref();
            places.backend.push(table.backend.as_ref().map_or(0..0, Spanned::span));
            places.worker_class.push(table.worker_class.as_ref().map_or(0..0, Spanned::span));
            places.statics.push(table.statics.values().map(Spanned::span).collect());
            places.frontend.push(table.frontend.as_ref().map_or(0..0, Spanned::span));
            rules.service(table)
        })
        .collect();
    rules.statics_beside(&tables);
    if let (Some(ends), None) = (&rehearse.stream_ends, &rehearse.stream) {
        rules.complain(ends.span(), "'stream_ends' is given without 'stream': name the route that streams");
    }
    let rehearse = Rehearse {
        paths: rehearse.paths.iter().map(|path| rules.url_path("path", path)).collect(),
        stream: rehearse.stream.map(|stream| rules.url_path("stream", &stream)),
        stream_ends: rehearse.stream_ends.map(Spanned::into_inner),
    };
    let mut expect = rules.expect(expect);
    if image.tls.is_some() {
        image.packages.push(Tls::PACKAGE.to_owned());
        image.packages.sort();
        image.packages.dedup();
        expect.ports.extend(Tls::PORTS.map(str::to_owned));
    }
    let region = aws.region.map(Spanned::into_inner);
    let publish = rules.publish(publish, region.as_deref());
    let builder = builder.map(|table| rules.builder(table.into_inner()));
    let userdata = rules.userdata(userdata, &services, &mut places);
    rules.complaints.into_result()?;
    Ok((
        Manifest {
            dir: dir.to_owned(),
            image,
            services,
            region,
            expect,
            publish,
            builder,
            rehearse,
            userdata,
        },
        places,
    ))
}

impl Rules<'_> {
    pub(super) fn text(&self) -> &str {
        self.text
    }

    pub(super) fn complain(&mut self, span: std::ops::Range<usize>, message: impl Into<String>) {
        self.complaints.push(Complaint::at(self.text, span, message));
    }

    fn distinct<'t>(&mut self, key: &str, values: impl Iterator<Item = &'t Spanned<String>>) {
        let mut seen = HashSet::new();
        for value in values {
            if !seen.insert(value.get_ref().clone()) {
                let message =
                    format!("service {key} '{}' is used twice: each service needs its own", value.get_ref());
                self.complain(value.span(), message);
            }
        }
    }

    fn service(&mut self, table: &ServiceTable) -> Service {
        let name = self.name("service name", &table.name, SERVICE_NAME_MAX);
        self.path(&table.path);
        let ServiceTable { backend, wsgi, frontend, build, dist, health, .. } = table;
        self.both("backend", backend.as_ref(), "wsgi", wsgi.as_ref(), "wsgi = \"module:app\"");
        for (key, value) in [("build", build), ("dist", dist)] {
            if let (Some(value), None) = (value, frontend) {
                self.complain(
                    value.span(),
                    format!("'{key}' is given without 'frontend': name the frontend's folder"),
                );
            }
        }
        let spans = [
            ("worker_class", table.worker_class.as_ref().map(Spanned::span)),
            ("workers", table.workers.as_ref().map(Spanned::span)),
            ("threads", table.threads.as_ref().map(Spanned::span)),
            ("worker_connections", table.worker_connections.as_ref().map(Spanned::span)),
            ("static", table.statics.keys().next().map(Spanned::span)),
        ];
        for (key, span) in spans {
            if let (Some(span), None) = (span, backend) {
                let message = format!("'{key}' is given without 'backend': it is about the Python side");
                self.complain(span, message);
            }
        }
        if backend.is_none() && frontend.is_none() && wsgi.is_none() {
            let message =
                format!("service '{name}' has neither 'backend' nor 'frontend': give it one or both");
            self.complain(table.name.span(), message);
        }
        let health = health.as_ref().map(|health| self.url_path("health", health));
        let (workers, statics) = (self.workers(table), self.statics(table));
        let backend = backend.as_ref().zip(wsgi.as_ref()).map(|(dir, wsgi)| Backend {
            dir: self.inside("backend", dir),
            wsgi: self.wsgi(wsgi),
            workers,
            statics,
        });
        let frontend = frontend.as_ref().map(|dir| Frontend {
            dir: self.inside("frontend", dir),
            build: build.as_ref().map_or("npm run build", |build| build.get_ref()).to_owned(),
            dist: dist.as_ref().map_or_else(|| PathBuf::from("dist"), |dist| self.inside("dist", dist)),
            manager: Manager::default(),
        });
        Service { name, path: table.path.get_ref().clone(), backend, frontend, health }
    }

    fn both(
        &mut self,
        left_key: &str,
        left: Option<&Spanned<String>>,
        right_key: &str,
        right: Option<&Spanned<String>>,
        example: &str,
    ) {
        match (left, right) {
            (Some(left), None) => {
                self.complain(
                    left.span(),
                    format!("'{left_key}' is given without '{right_key}': add {example}"),
                );
            }
            (None, Some(right)) => self.complain(
                right.span(),
                format!("'{right_key}' is given without '{left_key}': name the folder that holds the module"),
            ),
            _ => {}
        }
    }
}
