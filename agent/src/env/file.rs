//! An environment file as systemd reads it (`EnvironmentFile=`; `parse_env_file_internal` in systemd's
//! `src/basic/env-file.c`): `NAME="value"` a variable.
//!
//! Within double quotes a line break stands for itself and a backslash takes the meaning from `"`, `\`, `` ` `` and `$`;
//! everything else is literal. A shell reads the same, so `. file` works too.

use super::{Error, Secret};
use zeroize::Zeroizing;

/// What a shell and systemd (`SHELL_NEED_ESCAPE`) unescape within double quotes.
const ESCAPED: [char; 4] = ['"', '\\', '`', '$'];

/// The file's text. A value that systemd would not take is an error: it ignores the whole file then, and with the `-`
/// in `EnvironmentFile=-` in silence.
pub(super) fn write(variables: &[(String, Secret)]) -> Result<Secret, Error> {
    // Room for every byte escaped: a String that grows leaves copies behind.
    let room: usize = variables.iter().map(|(name, value)| name.len() + 2 * value.expose().len() + 4).sum();
    let mut text = Zeroizing::new(String::with_capacity(HEADER.len() + room));
    text.push_str(HEADER);
    for (name, value) in variables {
        if let Some(problem) = problem(value.expose()) {
            return Err(Error::Value { variable: name.clone(), problem });
        }
        text.push_str(name);
        text.push_str("=\"");
        for letter in value.expose().chars() {
            if ESCAPED.contains(&letter) {
                text.push('\\');
            }
            text.push(letter);
        }
        text.push_str("\"\n");
    }
    Ok(Secret::new(std::mem::take(&mut *text)))
}

const HEADER: &str = "# Written by kiln-agent on each boot from the [env] of the user data.\n";

/// What systemd's `utf8_is_valid` refuses besides broken UTF-8, which a String does not hold.
fn problem(value: &str) -> Option<&'static str> {
    value.chars().find_map(|letter| match u32::from(letter) {
        0 => Some("a zero byte"),
        0xFDD0..=0xFDEF => Some("a Unicode noncharacter"),
        code if code & 0xFFFE == 0xFFFE => Some("a Unicode noncharacter"),
        _ => None,
    })
}
