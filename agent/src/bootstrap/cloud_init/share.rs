//! What of the user data is cloud-init's to do, and whether it took it: by what it keeps, not by what it says.
//!
//! It is `done` with user data that it does not understand: a multipart without `MIME-Version`, a byte order mark before
//! `#!`, a script that is not UTF-8, YAML that does not parse.

use kiln_userdata::{Leaf, UserData};
use sha2::{Digest, Sha256};
use std::path::Path;

/// Where it writes each script that it is going to run (`handlers/shell_script.py`).
const SCRIPTS: &str = "var/lib/cloud/instance/scripts";
/// What it made of all documents; the number of those is a line of it (`handlers/cloud_config.py`).
const DOCUMENTS: &str = "var/lib/cloud/instance/cloud-config.txt";

/// Its share.
#[derive(Debug)]
pub(in crate::bootstrap) struct Share<'a> {
    /// Whether there is any user data at all.
    pub(super) work: bool,
    /// What messages call each script, and its bytes.
    scripts: Vec<(String, &'a [u8])>,
    documents: Vec<&'a [u8]>,
}

impl<'a> Share<'a> {
    /// Its share of `data`, which was read beside it.
    pub(in crate::bootstrap) fn of(data: &'a UserData, work: bool) -> Self {
        let mut share = Self { work, scripts: Vec::new(), documents: Vec::new() };
        for (label, leaf) in data.leaves() {
            match leaf {
                Leaf::Script(script) => {
                    let title = label.map_or_else(|| "the script".to_owned(), ToString::to_string);
                    share.scripts.push((title, script.body()));
                }
                Leaf::Left(document) => share.documents.push(document.bytes()),
                Leaf::Kiln(_) | Leaf::CloudConfig(_) => {}
            }
        }
        share
    }

    /// Tells one share from another.
    pub(super) fn hash(&self) -> String {
        let mut hash = Sha256::new();
        for bytes in self.scripts.iter().map(|(_, bytes)| bytes).chain(&self.documents) {
            hash.update(bytes.len().to_le_bytes());
            hash.update(bytes);
        }
        hash.finalize().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    }

    /// What it has passed over, if anything.
    pub(super) fn passed_over(&self, root: &Path) -> Option<String> {
        let folder = std::fs::read_dir(root.join(SCRIPTS)).into_iter().flatten().flatten();
        let taken: Vec<Vec<u8>> = folder.filter_map(|file| std::fs::read(file.path()).ok()).collect();
        let way_out = "/var/log/cloud-init.log says why, and 'cloud-init schema' checks a document";
        for (title, script) in &self.scripts {
            if !taken.iter().any(|file| is_same(file, script)) {
                return Some(format!("cloud-init passed over {title}, which was its to run: {way_out}"));
            }
        }
        let (mine, theirs) = (self.documents.len(), merged(root));
        (theirs < mine)
            .then(|| format!("cloud-init took {theirs} of {mine} #cloud-config documents: {way_out}"))
    }
}

/// Both drop carriage returns, each by a rule of its own.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let plain = |bytes: &'_ [u8]| bytes.iter().copied().filter(|byte| *byte != b'\r').collect::<Vec<_>>();
    one == other || plain(one) == plain(other)
}

/// From `# from 2 files`.
fn merged(root: &Path) -> usize {
    let text = std::fs::read(root.join(DOCUMENTS)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut comments = text.lines().take_while(|line| line.is_empty() || line.starts_with('#'));
    let count = comments.find_map(|line| line.strip_prefix("# from ")?.strip_suffix(" files")?.parse().ok());
    count.unwrap_or(0)
}
