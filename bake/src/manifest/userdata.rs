//! `[userdata]`: what instances are given at launch, from the manifest's own tables and from files beside it.
//!
//! ```text
//!  [userdata.env], [[userdata.run]] … ─▶ a #kiln document ─┐
//!                                                          ├─ kiln_userdata::compose ─▶ at most 16 KiB, or the place at fault
//!  parts = ["deploy/first.sh", …] ─────────────────────────┘
//! ```

use std::fmt::Write as _;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use kiln_userdata::{Composed, Finding, Label, Place, Refusal, Source, findings};
use serde::Serialize;
use toml::{Spanned, Value};

use super::file::UserDataTable;
use super::rules::Rules;
use super::{Complaint, Complaints, FILE, Places, Service};

/// The table's name.
const KEY: &str = "userdata";
/// Its keys that are not a `#kiln` document's.
const OWN: [&str; 1] = ["parts"];

/// What user data is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct UserData {
    /// The `#kiln` document that the manifest's own tables make, if there are any. It comes first.
    pub document: Option<String>,
    /// Scripts and documents, in their order, relative to the manifest's folder.
    pub parts: Vec<PathBuf>,
}

/// Why there is no user data.
#[derive(Debug)]
pub enum Refused {
    /// A part cannot be read: its place among the parts, and why.
    Unread(usize, std::io::Error),
    /// What was read makes none.
    Refusal(Box<Refusal>),
}

impl UserData {
    /// Composes it: the least wrapping that fits EC2's limit. Nothing to compose gives no bytes.
    ///
    /// # Errors
    /// A part is missing or invalid, something looks like a secret, or all of it is too large.
    pub fn compose(&self, dir: &Path) -> Result<Composed, Refused> {
        let document = self
            .document
            .iter()
            .map(|text| Ok(Source { filename: Some(FILE.to_owned()), bytes: text.clone().into_bytes() }));
        let parts = self.parts.iter().enumerate().map(|(index, part)| {
            let bytes = std::fs::read(dir.join(part)).map_err(|error| Refused::Unread(index, error))?;
            Ok(Source { filename: part.file_name().map(|name| name.to_string_lossy().into_owned()), bytes })
        });
        let sources: Vec<Source> = document.chain(parts).collect::<Result<_, _>>()?;
        kiln_userdata::compose(&sources).map_err(|refusal| Refused::Refusal(Box::new(refusal)))
    }

    /// A refusal as complaints about the manifest's `text`.
    pub fn explain(&self, refused: &Refused, text: &str, places: &Places) -> Complaints {
        let mut complaints = Complaints::default();
        let mut say = |part: Option<usize>, message: String| {
            let place = part.and_then(|part| places.parts.get(part)).unwrap_or(&places.userdata);
            complaints.push(Complaint::at(text, place.clone(), message));
        };
        let refusal = match refused {
            Refused::Unread(part, error) => {
                say(Some(*part), format!("failed to read the part '{}': {error}", self.name(Some(*part))));
                return complaints;
            }
            Refused::Refusal(refusal) => refusal,
        };
        match &**refusal {
            Refusal::Invalid(error) => {
                let part = error.part().and_then(|label| self.part(label));
                say(part, format!("{}, {}: {}", self.name(part), error.place(), error.reason()));
            }
            Refusal::Wrapped(label) => say(self.part(label), refusal.to_string()),
            Refusal::TooLarge { .. } => say(None, refusal.to_string()),
            Refusal::Secret(found) => {
                for finding in found {
                    let part = self.part(&finding.part);
                    if let Some(place) = part.is_none().then(|| self.own_place(finding, text)).flatten() {
                        let message = format!("this looks like {}", finding.rule);
                        complaints.push(Complaint::at(text, place, message).masked());
                    } else {
                        let place = part.and_then(|part| places.parts.get(part)).unwrap_or(&places.userdata);
                        let message = format!("{}, {}", self.name(part), place_of(finding));
                        complaints.push(Complaint::at(text, place.clone(), message));
                    }
                }
            }
        }
        complaints
    }

    /// The part that a label names, counted from 0; none for the manifest's own document. Sources count from 1.
    fn part(&self, label: &Label) -> Option<usize> {
        label.number.first()?.checked_sub(1 + usize::from(self.document.is_some()))
    }

    fn name(&self, part: Option<usize>) -> String {
        let path = part.and_then(|part| self.parts.get(part));
        path.map_or_else(|| format!("[{KEY}]"), |path| path.display().to_string())
    }

    /// Where the manifest itself says what the document was found to hold: on the line that sets the same key.
    fn own_place(&self, finding: &Finding, text: &str) -> Option<Range<usize>> {
        let line = self.document.as_ref()?.lines().nth(finding.line.checked_sub(1)?)?;
        let key = line.split('=').next()?.trim();
        let own = findings(text.as_bytes(), &finding.part).into_iter().find(|own| {
            let line = text.lines().nth(own.line - 1).unwrap_or_default();
            own.rule == finding.rule
                && line.split('=').next().is_some_and(|start| start.ends_with(key) || start.trim() == key)
        });
        own.map(|own| span(text, own.line, own.column))
    }
}

fn place_of(finding: &Finding) -> String {
    let file = finding.file.as_ref().map_or(String::new(), |file| format!("content of {file}, "));
    format!("{file}line {}, column {}: looks like {}", finding.line, finding.column, finding.rule)
}

/// The byte at a line and a column, both counted from 1, and what is left of its line.
fn span(text: &str, line: usize, column: usize) -> Range<usize> {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let rest = text.get(start..).unwrap_or_default();
    let width = rest.chars().take(column.saturating_sub(1)).map(char::len_utf8).sum::<usize>();
    let end = start + rest.lines().next().map_or(0, str::len);
    (start + width).min(end)..end
}

impl Rules<'_> {
    fn part(&mut self, part: &Spanned<String>) -> PathBuf {
        let path = Path::new(part.get_ref());
        let inside = path.components().all(|step| matches!(step, Component::Normal(_) | Component::CurDir));
        if !inside || path.file_name().is_none() {
            let message = format!("part '{}' must be a file under the manifest's own folder", path.display());
            self.complain(part.span(), message);
        }
        path.to_owned()
    }

    pub(super) fn userdata(
        &mut self,
        table: Option<Spanned<UserDataTable>>,
        services: &[Service],
        places: &mut Places,
    ) -> UserData {
        let Some(table) = table else { return UserData::default() };
        places.userdata = table.span();
        let table = table.into_inner();
        places.parts = table.parts.iter().map(Spanned::span).collect();
        let parts = table.parts.iter().map(|part| self.part(part)).collect();
        match kiln_userdata::section(self.text(), KEY, &OWN) {
            Err(error) => {
                let span = match error.place() {
                    Place::Line { line, column } => span(self.text(), line, column),
                    Place::Byte(at) => at..at,
                };
                self.complain(span, error.reason().to_string());
            }
            Ok(kiln) => {
                for (name, _) in kiln.iter().flat_map(|kiln| &kiln.service_env) {
                    if !services.iter().any(|service| service.name == *name) {
                        let at = self.text().find(&format!("[{KEY}.service.{name}"));
                        let message = format!("'{name}' is no [[service]] of this manifest");
                        self.complain(at.map_or(places.userdata.clone(), |at| at..at + 1), message);
                    }
                }
            }
        }
        UserData { document: document(&table), parts }
    }
}

/// The tables as a `#kiln` document of their own; each value on one line, so that it can be read in the console.
fn document(table: &UserDataTable) -> Option<String> {
    let mut text = String::new();
    let UserDataTable { env, service, file, run, agent, parts: _ } = table;
    section(&mut text, "[env]", env.as_ref());
    for (name, value) in service.iter().filter_map(Value::as_table).flatten() {
        section(&mut text, &format!("[service.{}]", word(name)), Some(value));
    }
    for (heading, list) in [("[[file]]", file), ("[[run]]", run)] {
        for value in list.iter().filter_map(Value::as_array).flatten() {
            section(&mut text, heading, Some(value));
        }
    }
    section(&mut text, "[agent]", agent.as_ref());
    (!text.is_empty()).then(|| format!("#kiln\n{text}"))
}

fn section(text: &mut String, heading: &str, value: Option<&Value>) {
    let Some(table) = value.and_then(Value::as_table) else { return };
    text.push_str(heading);
    text.push('\n');
    for (key, value) in table {
        // A String takes every line.
        let _ = writeln!(text, "{} = {value}", word(key));
    }
}

/// A key, in quotes where it needs them.
fn word(key: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !key.is_empty() && key.bytes().all(bare) {
        key.to_owned()
    } else {
        Value::String(key.to_owned()).to_string()
    }
}
