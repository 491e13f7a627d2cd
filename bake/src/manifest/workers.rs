//! gunicorn's workers of a service, by gunicorn's own names: `worker_class`, `workers`, `threads`, `worker_connections`. Pure.

use std::ops::RangeInclusive;

use serde::Serialize;
use toml::Spanned;

use super::file::ServiceTable;
use super::rules::{Rules, identifier};

/// Where the manifest names no class.
const CLASS: &str = "gthread";
/// Of more, most wait for a core.
const WORKERS: RangeInclusive<u32> = 1..=256;
/// Of a worker. Python runs one of them at a time.
const THREADS: RangeInclusive<u32> = 1..=1024;
/// Of a worker; `LimitNOFILE=` in `gunicorn@<service>.service.d` leaves each some files more.
const CONNECTIONS: RangeInclusive<u32> = 1..=10_000;

/// A class that gunicorn has a short name for.
struct Known {
    name: &'static str,
    /// On `PyPI`: what it cannot be loaded without.
    package: Option<&'static str>,
    /// Heeds `threads`.
    threads: bool,
    /// Heeds `worker_connections`.
    connections: bool,
}

const KNOWN: [Known; 5] = [
    Known { name: CLASS, package: None, threads: true, connections: true },
    Known { name: "sync", package: None, threads: false, connections: false },
    Known { name: "gevent", package: Some("gevent"), threads: false, connections: true },
    // gunicorn has dropped it: the bake proves what the locked one has.
    Known { name: "eventlet", package: Some("eventlet"), threads: false, connections: true },
    Known { name: "tornado", package: Some("tornado"), threads: false, connections: false },
];

/// What the manifest says of them; the default is what gunicorn's configuration says by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Workers {
    /// A short name of gunicorn's, or the dotted path of a class.
    pub class: String,
    /// 1 to 256 processes; `None`: counted where they start.
    pub workers: Option<u32>,
    /// 1 to 1024 in each.
    pub threads: Option<u32>,
    /// 1 to 10,000 in each.
    pub connections: Option<u32>,
}

impl Default for Workers {
    fn default() -> Self {
        Self { class: CLASS.to_owned(), workers: None, threads: None, connections: None }
    }
}

impl Workers {
    /// The package that the class is loaded from, where it is not gunicorn's own.
    pub fn package(&self) -> Option<&'static str> {
        KNOWN.iter().find(|known| known.name == self.class)?.package
    }

    /// Whether the manifest says nothing of them.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Rules<'_> {
    pub(super) fn workers(&mut self, table: &ServiceTable) -> Workers {
        let ServiceTable { worker_class, workers, threads, worker_connections, .. } = table;
        let class = worker_class.as_ref().map_or(CLASS, |class| class.get_ref());
        let known = KNOWN.iter().find(|known| known.name == class);
        if let (Some(class), None) = (worker_class, known) {
            let dotted = class.get_ref().contains('.') && class.get_ref().split('.').all(identifier);
            if !dotted {
                let names = KNOWN.iter().map(|known| known.name).collect::<Vec<_>>().join("', '");
                let message = format!(
                    "worker_class '{}' is none of '{names}': a class of the app's own is named by its dotted path, as in \"shop.workers.Patient\"",
                    class.get_ref()
                );
                self.complain(class.span(), message);
            }
        }
        if let Some(known) = known {
            self.heeded("threads", threads.as_ref(), known, |known| known.threads);
            self.heeded("worker_connections", worker_connections.as_ref(), known, |known| known.connections);
        }
        let found = Workers {
            class: class.to_owned(),
            workers: self.number("workers", workers.as_ref(), &WORKERS),
            threads: self.number("threads", threads.as_ref(), &THREADS),
            connections: self.number("worker_connections", worker_connections.as_ref(), &CONNECTIONS),
        };
        if let (Some(connections), Some(threads), true) = (worker_connections, found.threads, class == CLASS)
            && *connections.get_ref() <= threads
        {
            let message = format!(
                "worker_connections {} of a worker with {threads} threads leaves no connection to wait for one: take more, or fewer threads",
                connections.get_ref()
            );
            self.complain(connections.span(), message);
        }
        found
    }

    fn heeded(&mut self, key: &str, value: Option<&Spanned<u32>>, known: &Known, heeds: fn(&Known) -> bool) {
        if let Some(value) = value.filter(|_| !heeds(known)) {
            let with: Vec<_> = KNOWN.iter().filter(|other| heeds(other)).map(|other| other.name).collect();
            let message = format!(
                "'{key}' means nothing to worker_class '{}': leave it out, or take {}",
                known.name,
                with.join(" or ")
            );
            self.complain(value.span(), message);
        }
    }

    fn number(
        &mut self,
        key: &str,
        value: Option<&Spanned<u32>>,
        range: &RangeInclusive<u32>,
    ) -> Option<u32> {
        let value = value?;
        if !range.contains(value.get_ref()) {
            let (min, max, found) = (range.start(), range.end(), value.get_ref());
            self.complain(value.span(), format!("{key} {found} is not {min} to {max}"));
        }
        Some(*value.get_ref())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::manifest::Manifest;

    fn workers(keys: &str) -> Result<Workers, String> {
        let text = format!(
            "[image]\nname = \"shop\"\n[[service]]\nname = \"shop\"\npath = \"/\"\nbackend = \"back\"\nwsgi = \"shop:app\"\n{keys}"
        );
        let (manifest, _) = Manifest::parse(&text, Path::new("/app")).map_err(|error| error.to_string())?;
        Ok(manifest.services[0].backend.clone().expect("there is one").workers)
    }

    #[test]
    fn every_class_takes_the_keys_that_it_heeds() {
        let of = |class: &str, workers, threads, connections| Workers {
            class: class.to_owned(),
            workers,
            threads,
            connections,
        };
        let table = [
            ("", Workers::default()),
            ("threads = 32\nworkers = 3", of("gthread", Some(3), Some(32), None)),
            ("threads = 4\nworker_connections = 5", of("gthread", None, Some(4), Some(5))),
            ("worker_class = \"sync\"\nworkers = 8", of("sync", Some(8), None, None)),
            ("worker_class = \"gevent\"\nworker_connections = 500", of("gevent", None, None, Some(500))),
            ("worker_class = \"eventlet\"\nworker_connections = 1", of("eventlet", None, None, Some(1))),
            ("worker_class = \"tornado\"", of("tornado", None, None, None)),
            // Nobody knows what a class of the app's own heeds.
            (
                "worker_class = \"shop.w.Own\"\nthreads = 2\nworker_connections = 2",
                of("shop.w.Own", None, Some(2), Some(2)),
            ),
        ];
        for (keys, expected) in table {
            assert_eq!(workers(keys), Ok(expected), "{keys}");
        }
        assert_eq!(of("gevent", None, None, None).package(), Some("gevent"));
        assert_eq!(of("shop.w.Own", None, None, None).package(), None);
    }

    #[test]
    fn what_gunicorn_would_pass_over_or_choke_on_is_refused_with_its_place() {
        let table = [
            ("worker_class = \"gevnt\"", "none of 'gthread', 'sync', 'gevent', 'eventlet', 'tornado'"),
            ("worker_class = \"shop..Own\"", "named by its dotted path"),
            (
                "worker_class = \"sync\"\nthreads = 4",
                "means nothing to worker_class 'sync': leave it out, or take gthread",
            ),
            ("worker_class = \"gevent\"\nthreads = 4", "'threads' means nothing to worker_class 'gevent'"),
            ("worker_class = \"sync\"\nworker_connections = 9", "or take gthread or gevent or eventlet"),
            ("worker_class = \"tornado\"\nworker_connections = 9", "worker_class 'tornado'"),
            ("threads = 8\nworker_connections = 8", "leaves no connection"),
            ("workers = 0", "workers 0 is not 1 to 256"),
            ("threads = 2000", "threads 2000 is not 1 to 1024"),
            ("worker_class = \"gevent\"\nworker_connections = 20000", "is not 1 to 10000"),
            ("workers = -1", "kiln.toml:8:11: "),
            ("workers = \"many\"", "kiln.toml:8:11: "),
        ];
        for (keys, expected) in table {
            let told = workers(keys).expect_err(keys);
            assert!(told.contains(expected) && told.contains("kiln.toml:"), "{keys}: {told}");
        }
    }

    #[test]
    fn workers_want_a_backend() {
        let text = "[image]\nname = \"shop\"\n[[service]]\nname = \"shop\"\npath = \"/\"\nfrontend = \"web\"\nworkers = 2\n";
        let told = Manifest::parse(text, Path::new("/app")).expect_err("no backend").to_string();
        assert!(told.contains("'workers' is given without 'backend'"), "{told}");
    }
}
