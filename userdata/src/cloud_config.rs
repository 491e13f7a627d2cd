//! The subset of `#cloud-config` that is read: any other key is an error that names it.
//!
//! Supported: `write_files` (path, content, encoding, permissions, owner, append), `bootcmd`, `runcmd`, `hostname`,
//! `ssh_authorized_keys`. Values mean what they mean to cloud-init, except that a mistake is never passed over.

use crate::action::{self, Command, File};
use crate::limits::Budget;
use crate::node::{self, Fault, Node, Value};
use crate::{gzip, transfer};
use std::fmt;

/// What the document asks for, each list in its order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CloudConfig {
    /// `bootcmd`: before anything else of the document, on each boot.
    pub boot_commands: Vec<Command>,
    /// `write_files`: once per instance.
    pub files: Vec<File>,
    /// `hostname`.
    pub hostname: Option<String>,
    /// `ssh_authorized_keys`, for the image's default user.
    pub ssh_authorized_keys: Vec<String>,
    /// `runcmd`: last, once per instance.
    pub commands: Vec<Command>,
}

impl CloudConfig {
    /// Commands as the one shell script that cloud-init makes of them: a `cd` or a variable of one line holds for the
    /// next, and the script's end is that of its last line. None when there are none.
    pub fn shell_script(commands: &[Command]) -> Option<String> {
        let lines: Vec<String> = commands.iter().map(Command::line).collect();
        (!lines.is_empty()).then(|| format!("#!/bin/sh\n{}\n", lines.join("\n")))
    }
}

/// A document that is left to cloud-init: its bytes, judged by nobody here.
#[derive(Clone, PartialEq, Eq)]
pub struct Left(Vec<u8>);

impl Left {
    pub(crate) fn new(raw: &[u8]) -> Self {
        Self(raw.to_vec())
    }

    /// The document as it stands in the user data, transfer encodings undone.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Leaves the document out.
impl fmt::Debug for Left {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Left({} bytes)", self.0.len())
    }
}

const KEYS: &str = "write_files, bootcmd, runcmd, hostname, ssh_authorized_keys";

/// What to do about cloud-init's other keys that are met most.
const ADVICE: [(&str, &str); 12] = [
    ("packages", "bake them into the image by [image] packages in kiln.toml"),
    ("package_update", "the image's packages are baked: drop it"),
    ("package_upgrade", "the image's packages are baked: drop it"),
    ("package_reboot_if_required", "the image's packages are baked: drop it"),
    ("cloud_final_modules", "write a #kiln document with [[run]] and every = \"boot\""),
    ("users", "bake them into the image"),
    ("groups", "bake them into the image"),
    ("timezone", "bake it into the image"),
    ("locale", "bake it into the image"),
    ("ntp", "bake it into the image"),
    ("swap", "bake it into the image"),
    ("merge_how", "parts are not merged, they run one after the other: drop it"),
];

const FILE_KEYS: &str = "path, content, encoding, permissions, owner, append";

const FILE_ADVICE: [(&str, &str); 2] = [
    ("defer", "files are written in the order of the document: drop it"),
    ("source", "fetch it in a script"),
];

/// Every key that is known here: what is read, and what has its advice.
#[cfg(test)]
pub(crate) fn keys() -> impl Iterator<Item = &'static str> {
    let refused = ADVICE.iter().chain(&FILE_ADVICE).map(|(key, _)| *key);
    KEYS.split(", ").chain(FILE_KEYS.split(", ")).chain(refused)
}

/// Reads a document's text, its first line included.
pub(crate) fn parse(text: &str, budget: &mut Budget) -> Result<CloudConfig, Fault> {
    let mut fields = node::yaml::parse(text)?.fields("document")?;
    let mut config = CloudConfig::default();
    for (key, list) in [("bootcmd", &mut config.boot_commands), ("runcmd", &mut config.commands)] {
        if let Some(node) = fields.take(key) {
            *list = node.list(key)?.into_iter().map(|node| command(node, key)).collect::<Result<_, _>>()?;
        }
    }
    if let Some(node) = fields.take("write_files") {
        for node in node.list("write_files")? {
            config.files.push(file(node, budget)?);
        }
    }
    if let Some(node) = fields.take("hostname") {
        config.hostname = Some(hostname(node)?);
    }
    if let Some(node) = fields.take("ssh_authorized_keys") {
        for node in node.list("ssh_authorized_keys")? {
            config.ssh_authorized_keys.push(ssh_key(node)?);
        }
    }
    fields.end(KEYS, &ADVICE)?;
    Ok(config)
}

fn command(node: Node, key: &str) -> Result<Command, Fault> {
    let at = node.at;
    match node.value {
        Value::List(nodes) => {
            let words = nodes.into_iter().map(|word| word.scalar(key)).collect::<Result<_, _>>()?;
            action::words(words, at, key)
        }
        Value::Map(_) => {
            // The commonest slip: `- echo a: b` is a map to YAML.
            Err(Fault::invalid(at, key, "it holds ': ', which YAML takes for a key: put the line in quotes"))
        }
        _ => action::line(node.scalar(key)?, at, key),
    }
}

fn file(node: Node, budget: &mut Budget) -> Result<File, Fault> {
    let mut fields = node.fields("write_files")?;
    let path_node = fields.need("path", "each file has a path")?;
    let path_at = path_node.at;
    let path = action::path(path_node.scalar("path")?, path_at, "path")?;
    let encoding = fields.take("encoding").map(|node| Ok((node.at, node.scalar("encoding")?))).transpose()?;
    let content = match fields.take("content").filter(|node| !node.is_null()) {
        None => Vec::new(),
        Some(node) => decode(node, encoding, budget)?,
    };
    let mode = match fields.take("permissions") {
        None => None,
        Some(node) => Some(permissions(node)?),
    };
    let owner = match fields.take("owner") {
        None => None,
        Some(node) => {
            let at = node.at;
            Some(action::owner(&node.scalar("owner")?, at, "owner")?)
        }
    };
    let append = fields.take("append").map(|append| append.truth("append")).transpose()?.unwrap_or(false);
    fields.end(FILE_KEYS, &FILE_ADVICE)?;
    Ok(File { path, content, mode, owner, append })
}

fn decode(
    node: Node,
    encoding: Option<(crate::error::At, String)>,
    budget: &mut Budget,
) -> Result<Vec<u8>, Fault> {
    let at = node.at;
    let fault = |problem: &str| Fault::invalid(at, "content", problem);
    let mut content = match node.value {
        Value::Binary(text) => {
            transfer::base64(text.as_bytes()).map_err(|_| fault("it is tagged !!binary and is not base64"))?
        }
        _ => node.scalar("content")?.into_bytes(),
    };
    let Some((encoding_at, encoding)) = encoding else { return Ok(content) };
    let encoding = encoding.to_ascii_lowercase();
    let (coded, packed) = match encoding.trim() {
        "" | "text/plain" => (false, false),
        "b64" | "base64" => (true, false),
        "gz" | "gzip" => (false, true),
        "gz+b64" | "gz+base64" | "gzip+b64" | "gzip+base64" => (true, true),
        _ => {
            let problem = "it must be text/plain, b64, gzip or gz+b64";
            return Err(Fault::invalid(encoding_at, "encoding", problem));
        }
    };
    if coded {
        content = transfer::base64(&content).map_err(|_| fault("it is not base64, which encoding says"))?;
    }
    if packed {
        content = gzip::unpack(&content, budget).map_err(|reason| fault(&reason.to_string()))?;
    }
    Ok(content)
}

fn permissions(node: Node) -> Result<u32, Fault> {
    let at = node.at;
    // To cloud-init 644 without quotes is a decimal number, that is 1204.
    if matches!(&node.value, Value::Plain(digits) if !digits.starts_with('0')) {
        return Err(Fault::invalid(at, "permissions", "it must be octal in quotes, such as '0644'"));
    }
    action::mode(&node.scalar("permissions")?, at, "permissions")
}

fn hostname(node: Node) -> Result<String, Fault> {
    let at = node.at;
    let name = node.scalar("hostname")?;
    let label = |label: &str| {
        let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        !label.is_empty() && label.len() < 64 && plain && !label.starts_with('-') && !label.ends_with('-')
    };
    // Linux takes 64 bytes (HOST_NAME_MAX); RFC 1123 says of what.
    if name.len() > 64 || !name.split('.').all(label) {
        return Err(Fault::invalid(at, "hostname", "it must be letters, digits, '-' and '.', at most 64"));
    }
    Ok(name)
}

fn ssh_key(node: Node) -> Result<String, Fault> {
    let at = node.at;
    let key = node.scalar("ssh_authorized_keys")?.trim().to_owned();
    if key.contains(char::is_control) || key.split_ascii_whitespace().count() < 2 {
        let problem = "it must be one line of authorized_keys, such as 'ssh-ed25519 AAAA… name'";
        return Err(Fault::invalid(at, "ssh_authorized_keys", problem));
    }
    Ok(key)
}
