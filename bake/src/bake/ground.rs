//! What an image is put together from: the disk tools, the base, and what is built for each service.

use std::path::PathBuf;

use kiln_image::os::Manager;
use kiln_image::{Base, BaseSpec, Deb, Error, Tools};

use crate::manifest::Manifest;
use crate::release::Built;
use crate::report::Outcome;
use crate::{cache, lockfile, provision};

use super::Bake;

/// Per service, the folder of its built frontend.
pub(super) type Webs = Vec<Option<PathBuf>>;

impl Bake<'_> {
    /// What the image stands on; beside a base that takes a minute, the frontends, which do not need it.
    pub(super) fn ground(
        &self,
        spec: &BaseSpec,
        tools: &[Deb],
    ) -> anyhow::Result<(Tools, Base, Option<Webs>)> {
        let cache = self.bench.cache_dir("")?;
        let outcome = |cached: bool| if cached { Outcome::Cached } else { Outcome::Built };
        let (has_tools, has_base) =
            (Tools::cached(&cache, tools).is_some(), Base::cached(&cache, spec).is_some());
        let base = || {
            self.steps.run("base", |step| {
                let base = Base::ensure(&cache, spec, step).map_err(locked_otherwise)?;
                has_packages(&base, self.manifest)?;
                let detail =
                    format!("{} packages, {} MiB", base.meta().packages.len(), base.meta().tar_size >> 20);
                Ok((base, outcome(has_base), detail))
            })
        };
        let beside = || {
            let webs = if has_base { None } else { Some(self.frontends()?) };
            let tools = self.steps.run("tools", |step| {
                let tools = Tools::ensure(&cache, tools, &spec.mirror, spec.since.as_deref(), step);
                Ok((tools.map_err(locked_otherwise)?, outcome(has_tools), String::new()))
            })?;
            Ok((tools, webs))
        };
        let (base, (tools, webs)) = self.bench.interrupt.both(base, beside)?;
        [tools.dir(), base.dir()].into_iter().for_each(cache::touch);
        Ok((tools, base, webs))
    }

    fn frontends(&self) -> anyhow::Result<Webs> {
        let Self { bench, manifest, inputs, .. } = *self;
        self.steps.run("frontend", |step| provision::frontends(bench, manifest, inputs, step))
    }

    /// What was built for each service: in the cache, or made for this image.
    pub(super) fn parts(&self, base: &Base, webs: Option<Webs>) -> anyhow::Result<Vec<Built>> {
        let Self { bench, manifest, inputs, .. } = *self;
        let root = base.tree();
        let (webs, venvs) = bench.interrupt.both(
            || webs.map_or_else(|| self.frontends(), Ok),
            || self.steps.run("venv", |step| provision::venvs(bench, manifest, inputs, &root, step)),
        )?;
        let built = Built::each(webs, venvs);
        // A venv lies in its entry under the name of its lock.
        let venvs = built.iter().filter_map(|built| built.venv.as_deref()?.parent());
        built.iter().filter_map(|built| built.web.as_deref()).chain(venvs).for_each(cache::touch);
        Ok(built)
    }
}

/// Says what moves a lock whose packages cannot be had.
fn locked_otherwise(error: Error) -> anyhow::Error {
    let way_out = match &error {
        Error::Changed { .. } => Some(
            "what is locked is not what the mirror has; if that is to be trusted, 'kiln update' locks it",
        ),
        Error::Gone { .. } => Some("mirrors keep the latest version alone; 'kiln update' locks it"),
        _ => None,
    };
    match way_out {
        Some(way_out) => anyhow::Error::new(error)
            .context(format!("cannot have the packages of {}: {way_out}", lockfile::FILE)),
        None => error.into(),
    }
}

/// Refuses a root that another made without the packages that the manifest names; one of Kiln's own has them.
fn has_packages(base: &Base, manifest: &Manifest) -> anyhow::Result<()> {
    let image = &manifest.image;
    let lacking = image.packages.iter().filter(|name| !base.meta().packages.contains_key(*name));
    let lacking: Vec<_> = lacking.map(String::as_str).collect();
    anyhow::ensure!(
        lacking.is_empty(),
        "'{}' lacks packages that kiln.toml names: run '{}' in it and export it again",
        image.base,
        Manager::Apt.advice(&lacking)
    );
    Ok(())
}
