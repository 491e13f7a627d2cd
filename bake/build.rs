//! Copies `templates/` into the build folder without what tools leave there, so that the program embeds only sources.

use std::path::Path;
use std::{env, fs, io};

/// Left by npm, Vite, Python and pytest in a folder where somebody works on the starter.
const LEFTOVERS: [&str; 6] = ["node_modules", "dist", "__pycache__", ".venv", ".pytest_cache", ".kiln"];

fn main() -> io::Result<()> {
    let templates = Path::new("../templates");
    let out = env::var_os("OUT_DIR").map(std::path::PathBuf::from).unwrap_or_default().join("templates");
    if out.exists() {
        fs::remove_dir_all(&out)?;
    }
    for part in ["app", "hardening", "image"] {
        copy(&templates.join(part), &out.join(part))?;
    }
    Ok(())
}

/// Cargo is told of each folder that is copied: watching `templates/` whole would watch `node_modules`, too.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    emit(from);
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if LEFTOVERS.iter().any(|leftover| name == *leftover)
            || name.to_string_lossy().ends_with(".tsbuildinfo")
        {
            continue;
        }
        let (from, to) = (entry.path(), to.join(&name));
        if entry.file_type()?.is_dir() {
            copy(&from, &to)?;
        } else {
            emit(&from);
            fs::copy(&from, &to)?;
        }
    }
    Ok(())
}

fn emit(path: &Path) {
    println!("cargo::rerun-if-changed={}", path.display());
}
