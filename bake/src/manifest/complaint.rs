//! One thing wrong with a manifest, shown at its place.
//!
//! ```text
//! kiln.toml:9:8: service path '/movies' must end in '/': write '/movies/'
//!   |
//! 9 | path = "/movies"
//!   |        ^^^^^^^^^
//! ```

use std::fmt;
use std::ops::Range;
use std::path::Path;

/// A message and the place it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// As it is to be printed before the place.
    file: String,
    message: String,
    place: Option<Place>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    /// From 1.
    line: usize,
    /// From 1, in characters.
    column: usize,
    text: String,
    /// Of the caret line, at least 1.
    width: usize,
}

impl Complaint {
    /// About the bytes `span` of the manifest's `text`.
    pub fn at(text: &str, span: Range<usize>, message: impl Into<String>) -> Self {
        let start = span.start.min(text.len());
        let before = text.get(..start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = text.get(line_start..).unwrap_or("").lines().next().unwrap_or("");
        let column = text.get(line_start..start).map_or(1, |lead| lead.chars().count() + 1);
        let selected = text.get(start..span.end.min(text.len())).unwrap_or("");
        let width = selected.lines().next().map_or(1, |first| first.trim_end().chars().count()).max(1);
        let place = Place { line: before.matches('\n').count() + 1, column, text: line.to_owned(), width };
        Self { file: super::FILE.to_owned(), message: message.into(), place: Some(place) }
    }

    /// The same without what the line says from the place on: a secret goes into no log.
    #[must_use]
    pub fn masked(mut self) -> Self {
        if let Some(place) = &mut self.place {
            place.text = place.text.chars().take(place.column - 1).chain(['…']).collect();
            place.width = 1;
        }
        self
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Place { line, column, text, width }) = &self.place else {
            return write!(f, "{}: {}", self.file, self.message);
        };
        let gutter = " ".repeat(line.to_string().len());
        // Tabs before the caret stay tabs, so that it stands under its word at any tab width.
        let lead: String =
            text.chars().take(column - 1).map(|char| if char == '\t' { '\t' } else { ' ' }).collect();
        writeln!(f, "{}:{line}:{column}: {}", self.file, self.message)?;
        writeln!(f, "{gutter} |")?;
        writeln!(f, "{line} | {text}")?;
        write!(f, "{gutter} | {lead}{}", "^".repeat(*width))
    }
}

/// Everything found wrong in one pass, in the order of the text.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
pub struct Complaints(Vec<Complaint>);

impl Complaints {
    /// Adds one.
    pub fn push(&mut self, complaint: Complaint) {
        self.0.push(complaint);
    }

    /// About no place in particular.
    pub fn whole_file(path: &Path, message: &str) -> Self {
        Self(vec![Complaint { file: path.display().to_string(), message: message.to_owned(), place: None }])
    }

    /// `Ok` when there is nothing to complain about.
    pub fn into_result(mut self) -> Result<(), Self> {
        self.0.sort_by_key(|complaint| complaint.place.as_ref().map(|place| (place.line, place.column)));
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for Complaints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, complaint) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "{complaint}")?;
        }
        Ok(())
    }
}
