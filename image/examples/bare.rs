//! A bootable disk of nothing but the base root: `bare CACHE OUT [TOUCHED]`, as root.
//!
//! Also the shortest account of how the parts of this crate go together.

use std::path::{Path, PathBuf};
use std::time::Instant;

use kiln_image::resolve::{self, Wanted};
use kiln_image::suite::SUITES;
use kiln_image::{Base, BaseSpec, Content, DiskSpec, Mirror, Overlay, Progress, Tools, Unit};
use kiln_image::{disk, ids, private_mounts, tree};

/// Messages with the time since the start.
struct Lines(Instant);

impl Progress for Lines {
    #[expect(clippy::print_stderr, reason = "an example's progress")]
    fn message(&self, text: &str) {
        eprintln!("{:7.2} s  {text}", self.0.elapsed().as_secs_f64());
    }
    fn position(&self, _position: u64, _total: Option<u64>, _unit: Unit) {}
}

#[expect(clippy::print_stdout, reason = "an example's result")]
fn main() -> anyhow::Result<()> {
    private_mounts()?;
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(cache), Some(out)) = (args.next(), args.next()) else {
        anyhow::bail!("usage: bare CACHE OUT [TEXT]");
    };
    let lines = Lines(Instant::now());
    let (mirror, apt) = (Mirror::default(), out.join("apt"));
    let tools = Tools::resolve(&mirror, &apt, &lines)?;
    let tools = Tools::ensure(&cache, &tools, &mirror, None, &lines)?;
    let suite = &SUITES[0];
    let wanted = Wanted { suite: suite.codename, packages: &suite.packages([]), whole: true };
    let debs = resolve::resolve(&wanted, &mirror, &apt, &lines)?;
    let base = Base::ensure(&cache, &BaseSpec::new(suite, debs), &lines)?;

    let scratch = out.join("overlay");
    let [upper, work, merged] = ["upper", "work", "merged"].map(|name| scratch.join(name));
    let overlay = Overlay::mount(&base.tree(), &upper, &work, &merged)?;
    if let Some(text) = args.next() {
        std::fs::create_dir_all(overlay.merged().join("etc/kiln"))?;
        std::fs::write(overlay.merged().join("etc/kiln/image.json"), text.as_os_str().as_encoded_bytes())?;
    }
    overlay.unmount()?;

    let root_tar = out.join("root.tar");
    let tree = tree::write_root_tar(&base.tar(), &upper, &root_tar, ids::SOURCE_DATE_EPOCH, None, &lines)?;
    let content = Content::Archive(&root_tar);
    let disk = disk::write(&tools, content, Path::new(&out.join("disk.raw")), &DiskSpec::gib(2), &lines)?;
    lines.message("done");
    println!("{}\n{}", serde_json::to_string_pretty(&tree)?, serde_json::to_string_pretty(&disk)?);
    Ok(())
}
