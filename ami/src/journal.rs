//! What a publication is about to create and what it has created: on the disk before the call goes out.
//!
//! ```text
//! began ─ intends snapshot ─ made ─ sealing ─ intends image ─ made ─ … ─▶ the file goes
//!            │ killed here: the call is made again with its token, and is answered with what there is
//! ```
//!
//! One JSON document a line, synced one by one; a last line that was cut off never happened.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::thing::{Head, Thing, What, fresh_id};
use crate::upload::Sent;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Entry {
    Began(Head),
    Intends {
        what: What,
        token: String,
    },
    Made {
        slot: String,
        id: String,
        #[serde(default)]
        encrypted: bool,
    },
    Sealing(Sent),
    Removed {
        slot: String,
    },
}

/// One publication's journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    head: Head,
    things: Vec<Thing>,
    sealing: Option<Sent>,
}

impl Journal {
    /// Begins a journal; the folder is made if there is none.
    ///
    /// # Errors
    /// [`Error::Journal`] if it cannot be written.
    pub fn begin(path: &Path, head: Head) -> Result<Self, Error> {
        let fail = |reason| Error::Journal { path: path.to_owned(), reason };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(fail)?;
        }
        let file = File::create(path).map_err(fail)?;
        let mut journal = Self { path: path.to_owned(), file, head, things: Vec::new(), sealing: None };
        journal.write(&Entry::Began(journal.head.clone()))?;
        Ok(journal)
    }

    /// Reads the journal that a dead publication left, to go on with it. None if there is none, or nothing in it.
    ///
    /// # Errors
    /// [`Error::Journal`] if it cannot be read or is not a journal of this version.
    pub fn load(path: &Path) -> Result<Option<Self>, Error> {
        let fail = |reason| Error::Journal { path: path.to_owned(), reason };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail(error)),
        };
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        let mut entries = whole.lines().map(serde_json::from_str::<Entry>);
        let Some(first) = entries.next() else {
            return Ok(None);
        };
        let Entry::Began(head) = first.map_err(|error| fail(error.into()))? else {
            return Err(fail(io::Error::other("its first line does not say who began it")));
        };
        let file = File::options().write(true).open(path).map_err(fail)?;
        file.set_len(whole.len() as u64).map_err(fail)?;
        drop(file);
        let file = File::options().append(true).open(path).map_err(fail)?;
        let mut journal = Self { path: path.to_owned(), file, head, things: Vec::new(), sealing: None };
        for entry in entries {
            journal.take(entry.map_err(|error| fail(error.into()))?);
        }
        Ok(Some(journal))
    }

    /// Who publishes what.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Everything that may exist, in the order of its creation.
    pub fn things(&self) -> &[Thing] {
        &self.things
    }

    pub(crate) fn thing(&self, slot: &str) -> Option<&Thing> {
        self.things.iter().find(|thing| thing.what.slot() == slot)
    }

    /// What was sent, once the snapshot is to be completed.
    pub(crate) fn sealing(&self) -> Option<&Sent> {
        self.sealing.as_ref()
    }

    /// Says that `what` is about to be created; the token for the call.
    pub(crate) fn intend(&mut self, what: What) -> Result<String, Error> {
        let token = fresh_id();
        self.record(Entry::Intends { what, token: token.clone() })?;
        Ok(token)
    }

    pub(crate) fn made(&mut self, slot: &str, id: &str) -> Result<(), Error> {
        self.record(Entry::Made { slot: slot.to_owned(), id: id.to_owned(), encrypted: false })
    }

    /// A snapshot is open, perhaps encrypted although nobody asked for it.
    pub(crate) fn opened(&mut self, id: &str, encrypted: bool) -> Result<(), Error> {
        self.record(Entry::Made { slot: "snapshot".to_owned(), id: id.to_owned(), encrypted })
    }

    pub(crate) fn seal(&mut self, sent: &Sent) -> Result<(), Error> {
        self.record(Entry::Sealing(sent.clone()))
    }

    pub(crate) fn removed(&mut self, slot: &str) -> Result<(), Error> {
        self.record(Entry::Removed { slot: slot.to_owned() })
    }

    /// Nothing is open any more: the file goes.
    pub(crate) fn end(&mut self) -> Result<(), Error> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::Journal { path: self.path.clone(), reason: error })
            }
            _ => Ok(()),
        }
    }

    fn record(&mut self, entry: Entry) -> Result<(), Error> {
        self.write(&entry)?;
        self.take(entry);
        Ok(())
    }

    fn write(&mut self, entry: &Entry) -> Result<(), Error> {
        let mut line = serde_json::to_vec(entry).expect("entries are plain data");
        line.push(b'\n');
        let written = self.file.write_all(&line).and_then(|()| self.file.sync_data());
        written.map_err(|reason| Error::Journal { path: self.path.clone(), reason })
    }

    fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Began(head) => self.head = head,
            Entry::Intends { what, token } => {
                self.things.retain(|thing| thing.what.slot() != what.slot());
                self.things.push(Thing { what, token, id: None, encrypted: false });
            }
            Entry::Made { slot, id, encrypted } => {
                if let Some(thing) = self.things.iter_mut().find(|thing| thing.what.slot() == slot) {
                    (thing.id, thing.encrypted) = (Some(id), encrypted);
                }
            }
            Entry::Sealing(sent) => self.sealing = Some(sent),
            Entry::Removed { slot } => {
                self.things.retain(|thing| thing.what.slot() != slot);
                if slot == "snapshot" {
                    self.sealing = None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head {
            publication: "p1".into(),
            name: "shop".into(),
            digest: "9f86".into(),
            region: "eu-west-1".into(),
            owner: "me@here".into(),
            expires: "2030-01-01T00:00:00Z".into(),
            base: None,
        }
    }

    fn image() -> What {
        What::Image { name: "shop-9f86".into() }
    }

    #[test]
    fn what_was_written_is_read_back_and_a_torn_line_never_happened() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journals/p1.jsonl");
        let mut journal = Journal::begin(&path, head()).expect("it begins");
        let token = journal.intend(image()).expect("written");
        drop(journal);
        let mut torn = File::options().append(true).open(&path).expect("it is there");
        torn.write_all(b"{\"event\":\"made\",\"slot\":\"ima").expect("a cut line");

        let mut journal = Journal::load(&path).expect("it reads").expect("it is there");
        assert_eq!(journal.head(), &head());
        assert_eq!(journal.things(), [Thing { what: image(), token, id: None, encrypted: false }]);
        journal.made("image", "ami-1").expect("written");
        let mut journal = Journal::load(&path).expect("it reads").expect("it is there");
        assert_eq!(journal.thing("image").and_then(|thing| thing.id.as_deref()), Some("ami-1"));
        journal.removed("image").expect("written");
        assert!(journal.things().is_empty());
        journal.end().expect("it goes");
        assert!(Journal::load(&path).expect("nothing is wrong").is_none());
    }

    #[test]
    fn a_file_without_a_whole_line_is_no_journal() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("p1.jsonl");
        fs::write(&path, "{\"event\":\"be").expect("written");
        assert!(Journal::load(&path).expect("nothing is wrong").is_none());
        fs::write(&path, "{\"event\":\"removed\",\"slot\":\"image\"}\n").expect("written");
        assert!(Journal::load(&path).is_err());
    }
}
