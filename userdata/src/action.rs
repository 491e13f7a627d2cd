//! What `#kiln` and `#cloud-config` documents both ask for: files to write and commands to run.

use crate::error::At;
use crate::node::Fault;
use std::fmt;

/// A file to write; its folders are made where they are missing.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// Absolute, without `..`.
    pub path: String,
    /// The bytes, decoded.
    pub content: Vec<u8>,
    /// Permission bits, at most 0o7777; if not said [`File::MODE`], or those of the file that is appended to.
    pub mode: Option<u32>,
    /// Whose it is; if not said root's, or that of the file that is appended to.
    pub owner: Option<Owner>,
    /// Whether the content goes behind what is there.
    pub append: bool,
}

impl File {
    /// The permission bits of a file that does not name any.
    pub const MODE: u32 = 0o644;
}

/// Leaves the content out.
impl fmt::Debug for File {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "File({} {:?}, {} bytes)", self.path, self.mode, self.content.len())
    }
}

/// A user and a group, by name or number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub user: String,
    /// The group; the user's own if not said.
    pub group: Option<String>,
}

/// A command.
#[derive(Clone, PartialEq, Eq)]
pub enum Command {
    /// A line for `/bin/sh`.
    Shell(String),
    /// A program and its arguments, for no shell; never empty.
    Exec(Vec<String>),
}

/// Leaves the arguments out.
impl fmt::Debug for Command {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Shell(line) => write!(out, "Shell({} bytes)", line.len()),
            Command::Exec(words) => {
                write!(out, "Exec({:?} and {} arguments)", words.first(), words.len().saturating_sub(1))
            }
        }
    }
}

impl Command {
    /// The command as a line for `/bin/sh`, each word of an [`Command::Exec`] quoted.
    pub fn line(&self) -> String {
        match self {
            Command::Shell(line) => line.clone(),
            Command::Exec(words) => {
                let quoted: Vec<String> = words.iter().map(|word| quote(word)).collect();
                quoted.join(" ")
            }
        }
    }
}

fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

pub(crate) fn path(text: String, at: At, key: &str) -> Result<String, Fault> {
    if text.ends_with('/') {
        return Err(Fault::invalid(at, key, "it must name a file, not a folder"));
    }
    folder(text, at, key)
}

pub(crate) fn folder(text: String, at: At, key: &str) -> Result<String, Fault> {
    let problem = if !text.starts_with('/') {
        "it must be an absolute path"
    } else if text.split('/').any(|segment| segment == "..") {
        "it must not climb by '..'"
    } else if text.contains('\0') {
        "it must not hold a zero byte"
    } else {
        return Ok(text);
    };
    Err(Fault::invalid(at, key, problem))
}

/// Octal digits, as `chmod` takes them; `0o` before them is skipped.
pub(crate) fn mode(text: &str, at: At, key: &str) -> Result<u32, Fault> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let octal = !digits.is_empty() && digits.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let mode = u32::from_str_radix(digits, 8).ok().filter(|mode| octal && *mode <= 0o7777);
    mode.ok_or_else(|| Fault::invalid(at, key, "it must be octal permissions in quotes, such as \"0644\""))
}

pub(crate) fn owner(text: &str, at: At, key: &str) -> Result<Owner, Fault> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let named = |name: &str| {
        !name.is_empty()
            && !name.starts_with('-')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
    };
    if !named(user) || !group.is_none_or(named) {
        return Err(Fault::invalid(at, key, "it must be 'user:group' or 'user'"));
    }
    Ok(Owner { user: user.to_owned(), group: group.map(str::to_owned) })
}

/// Words without zero bytes, which no process can be given.
pub(crate) fn words(words: Vec<String>, at: At, key: &str) -> Result<Command, Fault> {
    if words.first().is_none_or(String::is_empty) {
        return Err(Fault::invalid(at, key, "it must name a program"));
    }
    if words.iter().any(|word| word.contains('\0')) {
        return Err(Fault::invalid(at, key, "it must not hold a zero byte"));
    }
    Ok(Command::Exec(words))
}

pub(crate) fn line(line: String, at: At, key: &str) -> Result<Command, Fault> {
    if line.trim().is_empty() || line.contains('\0') {
        return Err(Fault::invalid(at, key, "it must be a command line"));
    }
    Ok(Command::Shell(line))
}
