//! DECIDES what user data comes to: its parts in order, each with a name, the hash of its content and its bounds. Pure.
//!
//! ```text
//!  #! script ───────▶ script
//!  #kiln ───────────▶ file … ─▶ run …                                  ([env] and [agent] are taken in before all parts)
//!  #cloud-config ───▶ bootcmd ─▶ write_files ─▶ hostname ─▶ ssh_authorized_keys ─▶ runcmd
//! ```

use kiln_userdata::{CloudConfig, Command, Every, File, Kiln, Label, Leaf, Owner, Run, Script, UserData};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::time::Duration;

/// What is to be done at once, and is done or not done as a whole.
#[derive(Debug)]
pub(super) struct Part<'a> {
    /// Its name in the journal, in reports and in files: no other part has it.
    pub(super) name: String,
    /// What messages call it.
    pub(super) title: String,
    /// What its mark is called: the same content has the same wherever it stands in the user data.
    pub(super) key: String,
    /// SHA-256 of its content, in hexadecimal digits.
    pub(super) hash: String,
    /// How often.
    pub(super) every: Every,
    /// Whether it may be begun a second time.
    pub(super) repeat: bool,
    /// How long it may take; only commands take long.
    pub(super) timeout: Option<Duration>,
    /// The work.
    pub(super) work: Work<'a>,
}

/// The work of a part.
#[derive(Debug)]
pub(super) enum Work<'a> {
    /// A file to execute.
    Script {
        /// Its bytes.
        body: Cow<'a, [u8]>,
        /// What its first line names.
        interpreter: &'a str,
    },
    /// A `[[run]]`.
    Run(&'a Run),
    /// Files to write; one that is appended to is alone.
    Files(&'a [File]),
    /// The machine's name.
    Hostname(&'a str),
    /// Keys that may log in.
    Keys(&'a [String]),
}

/// The parts of `data`; scripts, which name no bound of their own, have `timeout`. With `kiln_only`, cloud-init does
/// the rest.
pub(super) fn plan(data: &UserData, timeout: Duration, kiln_only: bool) -> Vec<Part<'_>> {
    let mut plan = Plan { parts: Vec::new(), timeout };
    for (label, leaf) in data.leaves() {
        match leaf {
            Leaf::Script(_) | Leaf::CloudConfig(_) if kiln_only => {}
            Leaf::Left(_) => {}
            Leaf::Script(it) => plan.script(label, it),
            Leaf::Kiln(it) => plan.kiln(label, it),
            Leaf::CloudConfig(it) => plan.cloud_config(label, it),
        }
    }
    plan.parts
}

struct Plan<'a> {
    parts: Vec<Part<'a>>,
    timeout: Duration,
}

impl<'a> Plan<'a> {
    fn script(&mut self, label: Option<&Label>, script: &'a Script) {
        let name =
            label.and_then(|label| label.filename.as_deref()).map_or_else(|| "script".to_owned(), plain);
        let work = Work::Script { body: Cow::Borrowed(script.body()), interpreter: script.interpreter() };
        let title = label.map_or_else(|| "user data script".to_owned(), ToString::to_string);
        self.push(&name, title, work);
    }

    fn kiln(&mut self, label: Option<&Label>, document: &'a Kiln) {
        self.files("file", label, &document.files);
        for run in &document.runs {
            self.push(&run.name, titled(label, &format!("run '{}'", run.name)), Work::Run(run));
        }
    }

    fn cloud_config(&mut self, label: Option<&Label>, config: &'a CloudConfig) {
        self.commands("bootcmd", label, &config.boot_commands);
        self.files("write_files", label, &config.files);
        if let Some(name) = &config.hostname {
            self.push("hostname", titled(label, "hostname"), Work::Hostname(name));
        }
        if !config.ssh_authorized_keys.is_empty() {
            let name = "ssh_authorized_keys";
            self.push(name, titled(label, name), Work::Keys(&config.ssh_authorized_keys));
        }
        self.commands("runcmd", label, &config.commands);
    }

    fn commands(&mut self, name: &str, label: Option<&Label>, commands: &'a [Command]) {
        if let Some(script) = CloudConfig::shell_script(commands) {
            let work = Work::Script { body: Cow::Owned(script.into_bytes()), interpreter: "/bin/sh" };
            self.push(name, titled(label, name), work);
        }
    }

    /// An append that is cut off is mended by itself, so it is a part by itself.
    fn files(&mut self, name: &str, label: Option<&Label>, files: &'a [File]) {
        for files in files.chunk_by(|one, next| !one.append && !next.append) {
            self.push(name, titled(label, name), Work::Files(files));
        }
    }

    fn push(&mut self, name: &str, title: String, work: Work<'a>) {
        let hash = hash(&work);
        let (every, repeat, timeout) = match &work {
            Work::Script { .. } if name == "bootcmd" => (Every::Boot, true, Some(self.timeout)),
            Work::Script { .. } => (Every::Instance, true, Some(self.timeout)),
            Work::Run(run) => (run.every, run.repeat, Some(run.timeout.unwrap_or(self.timeout))),
            Work::Files(_) | Work::Hostname(_) | Work::Keys(_) => (Every::Instance, true, None),
        };
        let name = unused(name, &self.parts.iter().map(|part| part.name.as_str()));
        let key = unused(&hash[..16], &self.parts.iter().map(|part| part.key.as_str()));
        self.parts.push(Part { name, title, key, hash, every, repeat, timeout, work });
    }
}

/// `wanted`, or with the first number that makes it another than all that are `taken`.
fn unused<'t>(wanted: &str, taken: &(impl Iterator<Item = &'t str> + Clone)) -> String {
    let numbered = (2..).map(|number| format!("{wanted}.{number}"));
    let mut names = std::iter::once(wanted.to_owned()).chain(numbered);
    names.find(|name| !taken.clone().any(|other| other == name)).unwrap_or_default()
}

fn titled(label: Option<&Label>, what: &str) -> String {
    label.map_or_else(|| what.to_owned(), |label| format!("{label}, {what}"))
}

/// A file name that came with the user data as one of ours.
fn plain(name: &str) -> String {
    let name: String = name
        .chars()
        .take(64)
        .map(|letter| if letter.is_ascii_alphanumeric() || "-_.".contains(letter) { letter } else { '_' })
        .collect();
    let name = name.trim_start_matches('.');
    // What bootcmd is called runs on each boot.
    if name.is_empty() || name == "bootcmd" { "script".to_owned() } else { name.to_owned() }
}

/// The hash of what is done; bounds may change without doing it again.
fn hash(work: &Work<'_>) -> String {
    let mut fields = Fields(Sha256::new());
    match work {
        Work::Script { body, .. } => fields.put("script").put(body),
        Work::Run(run) => {
            fields.put("run").put(&run.name).command(&run.command).owner(run.user.as_ref());
            fields.put(run.directory.as_deref().unwrap_or_default()).number(run.umask)
        }
        Work::Files(files) => {
            for file in *files {
                fields.put("file").put(&file.path).put(&file.content).number(file.mode);
                fields.owner(file.owner.as_ref()).number(Some(file.append.into()));
            }
            &mut fields
        }
        Work::Hostname(name) => fields.put("hostname").put(name),
        Work::Keys(keys) => keys.iter().fold(fields.put("keys"), |fields, key| fields.put(key)),
    };
    fields.0.finalize().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Fields with their lengths, so that no two lists of fields have the same bytes.
struct Fields(Sha256);

impl Fields {
    fn put(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.0.update(bytes.as_ref().len().to_le_bytes());
        self.0.update(bytes);
        self
    }

    fn number(&mut self, number: Option<u32>) -> &mut Self {
        self.put(number.map(|number| number.to_string()).unwrap_or_default())
    }

    fn command(&mut self, command: &Command) -> &mut Self {
        match command {
            Command::Shell(line) => self.put("line").put(line),
            Command::Exec(words) => words.iter().fold(self.put("words"), |fields, word| fields.put(word)),
        }
    }

    fn owner(&mut self, owner: Option<&Owner>) -> &mut Self {
        let group = owner.and_then(|owner| owner.group.as_deref());
        self.put(owner.map(|owner| owner.user.as_str()).unwrap_or_default()).put(group.unwrap_or_default())
    }
}
