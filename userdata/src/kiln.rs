//! A `#kiln` document: environment, files, commands and the agent's own settings, in TOML.
//!
//! ```toml
//! #kiln
//! [env]                                # for every service of the image, into /run/kiln/env/<service>.env
//! LOG_LEVEL = "info"
//! DATABASE_URL = { ssm = "/shop/prod/database-url" }
//! API_KEY = { secret = "shop/api", key = "key" }
//! [service.shop.env]                   # for that one alone, over [env]
//! LOG_LEVEL = "debug"
//! [[file]]
//! path = "/etc/shop/feature.json"
//! content = '{"beta":true}'            # or base64 = "…"
//! mode = "0644"                        # owner = "root:www-data", append = true
//! [[run]]
//! name = "migrate"
//! command = ["/srv/shop/current/venv/bin/flask", "db", "upgrade"]    # or a line for /bin/sh
//! every = "instance"                   # or "boot"
//! timeout = "2m"                       # user = "app-shop", directory = "/srv/shop", umask = "0027"
//! repeat = false                       # never begun a second time, however the first time ended
//! [agent]                              # the same keys as agent.toml
//! drain.max = "90s"
//! ```

mod env;

pub use env::EnvValue;

use crate::action::{self, Command, File, Owner};
use crate::node::{self, Fault, Fields, Node, Value};
use crate::transfer;
use std::fmt;
use std::time::Duration;

/// What the document asks for, each list in its order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Kiln {
    /// `[env]`: environment variables of every service.
    pub env: Vec<(String, EnvValue)>,
    /// `[service.<name>.env]`: those of one service, which go over [`Kiln::env`].
    pub service_env: Vec<(String, Vec<(String, EnvValue)>)>,
    /// Files, written before anything runs.
    pub files: Vec<File>,
    /// Commands.
    pub runs: Vec<Run>,
    /// The `[agent]` table as it stands; the agent judges it by its own configuration's rules.
    pub agent: Option<toml::Table>,
    /// The document, for who judges `[agent]` and has to name a place in it; empty without that, and of a section.
    pub text: Text,
}

/// A document as it was written.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Text(pub String);

/// Leaves the text out.
impl fmt::Debug for Text {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Text({} bytes)", self.0.len())
    }
}

/// A command and its bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its name in the journal and in marks; no other of the document's has it.
    pub name: String,
    /// What to run.
    pub command: Command,
    /// How often.
    pub every: Every,
    /// Whether it is begun again when it failed, or when nobody knows how it ended.
    pub repeat: bool,
    /// How long it may take; none leaves it to the agent's own bound.
    pub timeout: Option<Duration>,
    /// Who runs it; root if not said.
    pub user: Option<Owner>,
    /// Where it runs; `/` if not said.
    pub directory: Option<String>,
    /// Its umask; 0022 if not said.
    pub umask: Option<u32>,
}

/// How often a command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Every {
    /// Until it succeeded once, for the life of an instance.
    #[default]
    Instance,
    /// On each boot.
    Boot,
}

/// Longest `timeout`; systemd's and EC2's hooks end before (48 hours, Auto Scaling's API reference).
const TIMEOUT: Duration = Duration::from_hours(48);

/// Reads a document's text, its first line included.
pub(crate) fn parse(text: &str) -> Result<Kiln, Fault> {
    let fields = node::toml::parse(text)?.fields("document")?;
    let mut kiln = document(fields, || toml::from_str(text).unwrap_or_default())?;
    if kiln.agent.is_some() {
        text.clone_into(&mut kiln.text.0);
    }
    Ok(kiln)
}

/// Reads the tables of a document where they stand within another one, under `key`; `besides` are keys of the
/// caller's own there.
pub(crate) fn section(text: &str, key: &str, besides: &[&str]) -> Result<Option<Kiln>, Fault> {
    let mut around = node::toml::parse(text)?.fields("document")?;
    let Some(node) = around.take(key) else { return Ok(None) };
    let mut fields = node.fields(key)?;
    fields.entries.retain(|(name, ..)| !besides.contains(&name.as_str()));
    let whole = || {
        let mut table: toml::Table = toml::from_str(text).unwrap_or_default();
        match table.remove(key) {
            Some(toml::Value::Table(section)) => section,
            _ => toml::Table::new(),
        }
    };
    document(fields, whole).map(Some)
}

fn document(mut fields: Fields, whole: impl FnOnce() -> toml::Table) -> Result<Kiln, Fault> {
    let mut kiln = Kiln::default();
    if let Some(env) = fields.take("env") {
        kiln.env = env::env(env)?;
    }
    if let Some(services) = fields.take("service") {
        for (name, at, node) in services.fields("service")?.entries {
            kiln.service_env.push(env::service(name, at, node)?);
        }
    }
    for file in list(&mut fields, "file")? {
        kiln.files.push(self::file(file)?);
    }
    for run in list(&mut fields, "run")? {
        let at = run.at;
        let run = self::run(run)?;
        if kiln.runs.iter().any(|other| other.name == run.name) {
            return Err(Fault::invalid(at, "name", "another [[run]] has it: marks are kept by name"));
        }
        kiln.runs.push(run);
    }
    if let Some(agent) = fields.take("agent") {
        agent.fields("agent")?;
        kiln.agent = match whole().remove("agent") {
            Some(toml::Value::Table(agent)) => Some(agent),
            _ => None,
        };
    }
    fields.end("env, service, file, run, agent", &[])?;
    Ok(kiln)
}

fn list(fields: &mut Fields, key: &str) -> Result<Vec<Node>, Fault> {
    let Some(node) = fields.take(key) else { return Ok(Vec::new()) };
    let at = node.at;
    node.list(key).map_err(|_| Fault::invalid(at, key, format!("write [[{key}]], in double brackets")))
}

fn file(node: Node) -> Result<File, Fault> {
    let mut fields = node.fields("file")?;
    let at = fields.at;
    let path_node = fields.need("path", "write path = \"/etc/…\"")?;
    let path_at = path_node.at;
    let path = action::path(path_node.text("path")?, path_at, "path")?;
    let content = match (fields.take("content"), fields.take("base64")) {
        (Some(text), None) => text.text("content")?.into_bytes(),
        (None, Some(coded)) => {
            let at = coded.at;
            transfer::base64(coded.text("base64")?.as_bytes())
                .map_err(|_| Fault::invalid(at, "base64", "it is not base64"))?
        }
        _ => return Err(Fault::invalid(at, "file", "it must have one of content and base64")),
    };
    let mode = octal(&mut fields, "mode")?;
    let owner = owner(&mut fields, "owner")?;
    let append = fields.take("append").map(|append| append.truth("append")).transpose()?.unwrap_or(false);
    fields.end("path, content, base64, mode, owner, append", &[])?;
    Ok(File { path, content, mode, owner, append })
}

fn run(node: Node) -> Result<Run, Fault> {
    let mut fields = node.fields("run")?;
    let name_node = fields.need("name", "write name = \"…\", which marks and messages go by")?;
    let name_at = name_node.at;
    let name = name_node.text("name")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.bytes().all(plain) {
        return Err(Fault::invalid(name_at, "name", "it must be up to 64 letters, digits, '-', '_' and '.'"));
    }
    let command = command(fields.need("command", "write command = [\"/usr/bin/program\", \"argument\"]")?)?;
    let every = match fields.take("every") {
        None => Every::default(),
        Some(node) => {
            let at = node.at;
            match node.text("every")?.as_str() {
                "instance" => Every::Instance,
                "boot" => Every::Boot,
                _ => return Err(Fault::invalid(at, "every", "it must be \"instance\" or \"boot\"")),
            }
        }
    };
    let repeat = match fields.take("repeat") {
        None => true,
        Some(node) => {
            let at = node.at;
            let repeat = node.truth("repeat")?;
            if !repeat && every == Every::Boot {
                return Err(Fault::invalid(
                    at,
                    "repeat",
                    "it runs on each boot by every = \"boot\": drop one",
                ));
            }
            repeat
        }
    };
    let timeout = fields.take("timeout").map(duration).transpose()?;
    let user = owner(&mut fields, "user")?;
    let directory = match fields.take("directory") {
        None => None,
        Some(node) => {
            let at = node.at;
            Some(action::folder(node.text("directory")?, at, "directory")?)
        }
    };
    let umask = octal(&mut fields, "umask")?;
    fields.end("name, command, every, repeat, timeout, user, directory, umask", &[])?;
    Ok(Run { name, command, every, repeat, timeout, user, directory, umask })
}

fn command(node: Node) -> Result<Command, Fault> {
    let at = node.at;
    match node.value {
        Value::List(nodes) => {
            let words = nodes.into_iter().map(|word| word.text("command")).collect::<Result<_, _>>()?;
            action::words(words, at, "command")
        }
        _ => action::line(node.text("command")?, at, "command"),
    }
}

fn octal(fields: &mut Fields, key: &str) -> Result<Option<u32>, Fault> {
    let Some(node) = fields.take(key) else { return Ok(None) };
    let at = node.at;
    action::mode(&node.text(key)?, at, key).map(Some)
}

fn owner(fields: &mut Fields, key: &str) -> Result<Option<Owner>, Fault> {
    let Some(node) = fields.take(key) else { return Ok(None) };
    let at = node.at;
    action::owner(&node.text(key)?, at, key).map(Some)
}

fn duration(node: Node) -> Result<Duration, Fault> {
    let at = node.at;
    let span = humantime::parse_duration(&node.text("timeout")?).ok();
    span.filter(|span| !span.is_zero() && *span <= TIMEOUT).ok_or_else(|| {
        Fault::invalid(at, "timeout", "it must be a time such as \"90s\" or \"2m\", at most 48h")
    })
}
