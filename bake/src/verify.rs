//! Asks the programs of a provisioned root what they make of their configuration, from inside it. Nothing is started.

use std::path::Path;

use anyhow::Context as _;

use crate::bench::Bench;
use crate::manifest::{Backend, Manifest, Service, Tls};
use crate::sandbox::Sandbox;
use crate::template;

/// Imports the module and finds the callable; a factory is not called, since it may want its run-time environment.
const IMPORT: &str = "
import importlib, sys
module, _, name = sys.argv[1].partition(':')
target = importlib.import_module(module)
for part in name.removesuffix('()').split('.'):
    target = getattr(target, part)
if not callable(target):
    sys.exit(f'{sys.argv[1]} is not callable')
";

/// Has gunicorn read its configuration and load the worker class that it names; runs none.
const LOAD_CLASS: &str = "
import runpy, sys
from gunicorn.config import Config
config = Config()
for key, value in runpy.run_path(sys.argv[1]).items():
    if key in config.settings:
        config.set(key, value)
config.worker_class
";

/// How exposed a unit may be at most, in tenths on systemd's scale of 0 (locked in) to 10: what a break-in through it could do.
/// The agent's is its contract. nginx's first process is root, to bind port 80, and keeps five capabilities.
/// What fetches certificates is root without a capability, and has the network.
const EXPOSURE: [(&str, &str); 5] = [
    ("kiln-agent.service", "20"),
    ("gunicorn@", "20"),
    ("nginx.service", "30"),
    ("kiln-placeholder.service", "20"),
    (Tls::SERVICE, "20"),
];

/// As an instance does it at its first boot, in a folder that goes with the sandbox: no key may get into an image.
const NGINX_BY_PLACEHOLDER: &str = "mkdir -p /var/lib/nginx /var/lib/kiln/tls
/usr/lib/kiln/placeholder-certificate
nginx -t -q";

/// Every check, side by side; the programs only read.
///
/// # Errors
/// The first that fails, in the order in which an instance would stumble, with what the program said.
pub fn all(bench: &Bench, root: &Path, manifest: &Manifest, units: &[String]) -> anyhow::Result<()> {
    let run = |command: &[&str]| Sandbox::root(root).run(bench, command);
    let own = || {
        run(&["kiln-agent", "check"]).context("kiln-agent does not accept its configuration")?;
        let nginx = if manifest.image.tls.is_some() {
            Sandbox::root(root).tmpfs("/var/lib").run(bench, &["sh", "-e", "-c", NGINX_BY_PLACEHOLDER])
        } else {
            run(&["nginx", "-t", "-q"])
        };
        nginx.context("nginx does not accept its configuration").map(drop)
    };
    let backends = manifest.services.iter().filter_map(|service| Some((service, service.backend.as_ref()?)));
    let loads: Vec<_> =
        backends.map(|(service, backend)| move || load(bench, root, service, backend)).collect();
    std::thread::scope(|scope| {
        let systemd = scope.spawn(|| systemd(bench, root, manifest, units));
        let own = scope.spawn(own);
        let loads: Vec<_> = loads.into_iter().map(|load| scope.spawn(load)).collect();
        let mut checks = [systemd, own].into_iter().chain(loads);
        let ended = |thread: std::thread::ScopedJoinHandle<'_, anyhow::Result<()>>| {
            thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a check ended without a word")))
        };
        checks.try_for_each(ended)
    })
}

/// What systemd makes of the units.
fn systemd(bench: &Bench, root: &Path, manifest: &Manifest, units: &[String]) -> anyhow::Result<()> {
    let run = |command: &[&str]| Sandbox::root(root).run(bench, command);
    let mut verify = vec!["systemd-analyze", "verify", "--man=no", "--recursive-errors=one"];
    verify.extend(units.iter().map(String::as_str));
    run(&verify).context("systemd does not accept the units")?;
    let timed = manifest.image.tls.as_ref().map(|_| Tls::SERVICE);
    for (start, bound) in EXPOSURE {
        let judged = units.iter().map(String::as_str).chain(timed);
        let judged = judged.filter(|unit| unit.starts_with(start) && unit.ends_with(".service"));
        let judged: Vec<_> = judged.collect();
        if judged.is_empty() {
            continue;
        }
        let threshold = format!("--threshold={bound}");
        let mut security = vec!["systemd-analyze", "security", "--offline=yes", "--no-pager", &threshold];
        security.extend(judged);
        run(&security).with_context(|| {
            format!(
                "a unit is more exposed than {bound} tenths on systemd's scale: tighten it, or its drop-in"
            )
        })?;
    }
    Ok(())
}

/// As the service's own user, from where gunicorn will start: what it cannot read here it cannot read there.
fn load(bench: &Bench, root: &Path, service: &Service, backend: &Backend) -> anyhow::Result<()> {
    let current = format!("/srv/{}/current", service.name);
    let user = template::user(service);
    let (as_user, as_group) = (format!("--reuid={user}"), format!("--regid={user}"));
    let python = format!("{current}/venv/bin/python");
    let sandbox = Sandbox::root(root).dir(Path::new(&format!("{current}/src")));
    let run = |script: &str, argument: &str| {
        let command = ["setpriv", &as_user, &as_group, "--clear-groups", &python, "-c", script, argument];
        sandbox.run(bench, &command)
    };
    run(LOAD_CLASS, &format!("/etc/gunicorn/{}.conf.py", service.name)).with_context(|| {
        format!(
            "gunicorn of service '{}' does not load worker_class '{}'",
            service.name, backend.workers.class
        )
    })?;
    run(IMPORT, &backend.wsgi).with_context(|| {
        format!("the wsgi app '{}' of service '{}' does not import", backend.wsgi, service.name)
    })?;
    Ok(())
}
