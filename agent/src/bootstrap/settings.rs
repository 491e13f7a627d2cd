//! The `[agent]` tables of user data: judged together with the configuration, and left for the agent in `/run`.

use super::Failure;
use crate::config::{Config, Source, USER_DATA};
use crate::durable;
use kiln_userdata::{Leaf, UserData};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use toml::{Table, Value};

/// Checks the configuration as it comes to be with `data`, and leaves the tables where [`Config::load`] reads them last.
/// Nothing is left of what is not valid.
pub(super) fn take_over(root: &Path, source: &Source, data: &UserData) -> Result<Config, Failure> {
    let (mut documents, mut tables) = (Vec::new(), Vec::new());
    for (label, leaf) in data.leaves() {
        if let Leaf::Kiln(document) = leaf
            && let Some(agent) = &document.agent
        {
            let name = label.map_or_else(|| "user-data".to_owned(), ToString::to_string);
            documents.push((document.text.0.as_str(), name));
            tables.push(written(agent));
        }
    }
    let config = source.load_with(&documents)?;
    leave(&root.join(USER_DATA), &tables).map_err(|(path, source)| Failure::Keep { path, source })?;
    Ok(config)
}

/// The table as TOML again, a line for each table in it. The parser's crate could write it too, at the price of a
/// hundredth of the agent's binary.
fn written(table: &Table) -> String {
    table.iter().fold(String::new(), |text, (key, value)| text + &quoted(key) + " = " + &inline(value) + "\n")
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Integer(number) => number.to_string(),
        // With its point, which makes it a float.
        Value::Float(number) => format!("{number:?}"),
        Value::Boolean(truth) => truth.to_string(),
        Value::Datetime(date) => date.to_string(),
        Value::Array(values) => format!("[{}]", values.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Table(table) => {
            let pairs = table.iter().map(|(key, value)| format!("{} = {}", quoted(key), inline(value)));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
    }
}

/// A basic string: JSON's escapes are TOML's too, which wants one more.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

fn leave(folder: &Path, tables: &[String]) -> Result<(), (std::path::PathBuf, std::io::Error)> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err((folder.to_owned(), error)),
        _ => {}
    }
    for (index, table) in tables.iter().enumerate() {
        let path = folder.join(format!("user-data-{:02}.toml", index + 1));
        // The agent reads it, who is not root; secrets have no place in it.
        durable::write(&path, table.as_bytes(), 0o644).map_err(|error| (path, error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_as_it_was() {
        let text = "a = 'x\"\\y'\n'b c' = 1.0\nd = [1, -2, { e = true }]\nf = 1979-05-27T07:32:00Z\n\
                    s = \"tab\\t line\\n del\\u007f é\"\n[g]\nh.i = 'j'\n[[k]]\nl = 1\n[[k]]\nm = {}\n";
        let table: Table = toml::from_str(text).expect("valid TOML");
        assert_eq!(toml::from_str::<Table>(&written(&table)).expect("valid TOML"), table);
    }
}
