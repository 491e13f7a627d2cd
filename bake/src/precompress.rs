//! `.gz` and `.br` beside each text asset, so that nginx compresses nothing while it serves.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::SystemTime;

use anyhow::Context as _;

/// What browsers ask for compressed; images and fonts are so already.
const TEXT: [&str; 11] =
    ["html", "js", "mjs", "css", "svg", "json", "txt", "xml", "wasm", "map", "webmanifest"];

/// Below one packet there is nothing to win.
const FROM: usize = 1024;

/// Compresses every text file under `root`; a result that is not smaller is dropped.
///
/// # Errors
/// A file cannot be read or written.
pub fn folder(root: &Path) -> anyhow::Result<()> {
    for source in crate::sources::everything(root)? {
        let path = root.join(&source.path);
        if path.extension().is_none_or(|extension| !TEXT.contains(&extension.to_string_lossy().as_ref())) {
            continue;
        }
        let put = || -> std::io::Result<()> {
            let content = fs::read(&path)?;
            if content.len() < FROM {
                return Ok(());
            }
            // nginx's documentation asks for equal times of the file and its compressed copies.
            let time = fs::metadata(&path)?.modified()?;
            write_smaller(&path, "gz", &gzip(&content)?, content.len(), time)?;
            write_smaller(&path, "br", &brotli(&content)?, content.len(), time)
        };
        put().with_context(|| format!("failed to compress {}", path.display()))?;
    }
    Ok(())
}

fn write_smaller(
    path: &Path,
    suffix: &str,
    content: &[u8],
    than: usize,
    time: SystemTime,
) -> std::io::Result<()> {
    if content.len() >= than {
        return Ok(());
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{suffix}"));
    let mut file = File::create(name)?;
    file.write_all(content)?;
    file.set_modified(time)
}

/// No name and no time in the header: the same content gives the same bytes.
fn gzip(content: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(content)?;
    encoder.finish()
}

fn brotli(content: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut result = Vec::new();
    let mut encoder = brotli::CompressorWriter::new(&mut result, 1 << 16, 11, 22);
    encoder.write_all(content)?;
    encoder.flush()?;
    drop(encoder);
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_compressed_at_the_same_time_stamp_and_small_or_packed_files_are_not() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let put =
            |name: &str, content: &[u8]| fs::write(dir.path().join(name), content).expect("it is written");
        put("app.js", "let answer = 42;\n".repeat(200).as_bytes());
        put("tiny.js", b"1");
        put("photo.png", &[0; 4096]);
        folder(dir.path()).expect("it compresses");
        let time = |name: &str| fs::metadata(dir.path().join(name)).and_then(|file| file.modified()).ok();
        assert_eq!(time("app.js.gz"), time("app.js"));
        assert_eq!(time("app.js.br"), time("app.js"));
        assert!(time("tiny.js.gz").is_none() && time("photo.png.gz").is_none());
    }
}
