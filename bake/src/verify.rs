//! Asks the programs of a provisioned root what they make of their configuration, from inside it. Nothing is started.

use std::path::Path;

use anyhow::Context as _;

use crate::bench::Bench;
use crate::manifest::{Backend, Manifest, Service};
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

/// Every check, in the order in which an instance would stumble.
///
/// # Errors
/// The first that fails, with what the program said.
pub fn all(bench: &Bench, root: &Path, manifest: &Manifest, units: &[String]) -> anyhow::Result<()> {
    let run = |command: &[&str]| Sandbox::root(root).run(bench, command);
    let mut verify = vec!["systemd-analyze", "verify", "--man=no", "--recursive-errors=one"];
    verify.extend(units.iter().map(String::as_str));
    run(&verify).context("systemd does not accept the units")?;
    run(&["kiln-agent", "check"]).context("kiln-agent does not accept its configuration")?;
    run(&["nginx", "-t", "-q"]).context("nginx does not accept its configuration")?;
    for service in &manifest.services {
        if let Some(backend) = &service.backend {
            import(bench, root, service, backend)?;
        }
    }
    Ok(())
}

/// As the service's own user, from where gunicorn will start: what it cannot read here it cannot read there.
fn import(bench: &Bench, root: &Path, service: &Service, backend: &Backend) -> anyhow::Result<()> {
    let current = format!("/srv/{}/current", service.name);
    let user = template::user(service);
    let (as_user, as_group) = (format!("--reuid={user}"), format!("--regid={user}"));
    let python = format!("{current}/venv/bin/python");
    let command = ["setpriv", &as_user, &as_group, "--clear-groups", &python, "-c", IMPORT, &backend.wsgi];
    let sandbox = Sandbox::root(root).dir(Path::new(&format!("{current}/src")));
    let result = sandbox.run(bench, &command);
    result.with_context(|| {
        format!("the wsgi app '{}' of service '{}' does not import", backend.wsgi, service.name)
    })?;
    Ok(())
}
