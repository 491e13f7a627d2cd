//! What every step of a bake works with: the report, the interruption, and the host's cache.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use kiln_image::Mirror;

use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::report::Report;

/// The workbench of one command.
#[derive(Debug)]
pub struct Bench {
    /// Where progress goes.
    pub report: Report,
    /// What a signal reaches.
    pub interrupt: Interrupt,
    /// The host's cache: base roots, tools, wheels, built frontends. Everything in it can be deleted.
    pub cache: PathBuf,
    /// Where Debian packages come from.
    pub mirror: Mirror,
}

impl Bench {
    /// A sub-folder of the cache, made if it is not there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn cache_dir(&self, name: &str) -> anyhow::Result<PathBuf> {
        let dir = self.cache.join(name);
        std::fs::create_dir_all(&dir)
            .with_context(|| format!("failed to create the cache {}", dir.display()))?;
        Ok(dir)
    }

    /// Builds a cache entry beside its final name and renames it: an entry is whole or absent.
    ///
    /// # Errors
    /// Those of `build`, or of the file system.
    pub fn entry(
        &self,
        kind: &str,
        key: &str,
        build: impl FnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<PathBuf> {
        let parent = self.cache_dir(kind)?;
        let target = parent.join(key);
        let scratch = parent.join(format!(".{key}.{}", std::process::id()));
        let scratch = self.interrupt.scratch(&scratch).context("failed to make a folder in the cache")?;
        build(scratch.path())?;
        // Another bake may have been faster; its entry has the same content.
        if let Err(error) = std::fs::rename(scratch.path(), &target)
            && !target.exists()
        {
            return Err(error).with_context(|| format!("failed to move a new entry to {}", target.display()));
        }
        Ok(target)
    }
}

/// `$KILN_CACHE`, else `$XDG_CACHE_HOME/kiln`, else `~/.cache/kiln`.
///
/// # Errors
/// None of the variables is set.
pub fn cache_path(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> anyhow::Result<PathBuf> {
    let of = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let path = of("KILN_CACHE")
        .or_else(|| of("XDG_CACHE_HOME").map(|path| path.join("kiln")))
        .or_else(|| of("HOME").map(|path| path.join(".cache/kiln")))
        .ok_or_else(|| Failure::Usage("there is no place for the cache: set KILN_CACHE or HOME".into()))?;
    std::path::absolute(path).context("failed to resolve the cache's path")
}

/// `$KILN_DEBIAN_MIRROR` and `$KILN_SECURITY_MIRROR`, else Debian's own. What is built does not depend on them.
pub fn mirror(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Mirror {
    let of = |name: &str| {
        let value = variable(name).map(|value| value.to_string_lossy().trim_end_matches('/').to_owned());
        value.filter(|value| !value.is_empty())
    };
    let own = Mirror::default();
    Mirror {
        debian: of("KILN_DEBIAN_MIRROR").unwrap_or(own.debian),
        security: of("KILN_SECURITY_MIRROR").unwrap_or(own.security),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_where_the_environment_says() {
        let path = |pairs: &[(&str, &str)]| {
            cache_path(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
                .map(|path| path.display().to_string())
        };
        let all = [("KILN_CACHE", "/k"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(path(&all).expect("a path"), "/k");
        assert_eq!(path(&all[1..]).expect("a path"), "/x/kiln");
        assert_eq!(path(&all[2..]).expect("a path"), "/h/.cache/kiln");
        assert!(path(&[]).is_err());
    }
}
