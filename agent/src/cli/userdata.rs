//! `kiln-agent userdata check`: what an instance would do, before one does it.

use super::{EX_CONFIG, complain, print};
use crate::config::Source;
use anyhow::Context;
use kiln_userdata::{Leaf, UserData};
use std::path::Path;
use std::process::ExitCode;

/// Prints the parts in their order, or what is wrong and where.
pub(super) fn check(file: &Path, source: &Source) -> anyhow::Result<ExitCode> {
    let raw = std::fs::read(file).with_context(|| format!("failed to read '{}'", file.display()))?;
    let judged = judge(&raw, &file.display().to_string(), source);
    match judged {
        Ok(data) => {
            print(&format!("{data}{} of {} bytes\n", raw.len(), kiln_userdata::LIMIT))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(fault) => Ok(complain(&fault, EX_CONFIG)),
    }
}

fn judge(raw: &[u8], name: &str, source: &Source) -> Result<UserData, String> {
    let data = kiln_userdata::parse(raw).map_err(|error| {
        let excerpt = error.excerpt().map_or(String::new(), |excerpt| format!("\n{excerpt}"));
        format!("{name}: {error}{excerpt}")
    })?;
    let mut documents = Vec::new();
    for (label, leaf) in data.leaves() {
        if let Leaf::Kiln(document) = leaf {
            let part = label.map(|label| format!(": {label}")).unwrap_or_default();
            documents.push((document.text.0.as_str(), format!("{name}{part}")));
        }
    }
    source.load_with(&documents).map_err(|error| error.to_string())?;
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_instance_would_refuse_is_shown_with_its_place() {
        let root = tempfile::tempdir().expect("a folder for the configuration");
        let config = root.path().join("agent.toml");
        std::fs::write(&config, "[drain]\nquiet = \"2m\"\n").expect("a fresh file");
        let source = Source::new(&config, true, root.path());
        let judge = |text: &str| judge(text.as_bytes(), "shop.toml", &source);
        let cases = [
            (
                "#kiln\n[env]\nA = []\n",
                "shop.toml: user data, line 3, column 5: invalid 'A'",
                "3 | A = []\n  |     ^",
            ),
            (
                "#cloud-config\nrumcmd: []\n",
                "shop.toml: user data, line 2, column 1: unknown key",
                "2 | rumcmd: []\n  | ^",
            ),
            (
                "#kiln\n[agent]\ndrain.mx = 1\n",
                "shop.toml:3:7: unknown field `mx`",
                "3 | drain.mx = 1\n  |       ^^",
            ),
            // Together with the configuration that is there.
            ("#kiln\n[agent]\ndrain.max = \"1m\"\n", "drain.quiet must be shorter than drain.max", ""),
        ];
        for (text, place, caret) in cases {
            let fault = judge(text).expect_err(text);
            assert!(fault.starts_with(place) && fault.contains(caret), "{fault}");
        }
        let shown = judge("#kiln\n[agent]\ndrain.max = \"3m\"\n").expect("it is valid").to_string();
        assert_eq!(shown, "a #kiln document\n     agent  drain\n");
    }
}
