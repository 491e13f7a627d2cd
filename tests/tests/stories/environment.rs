//! systemd reads the file that `[env]` became: a unit has every value as it was written, byte for byte.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_stage::{Launch, Prop};
use kiln_tests::story::{Plan, inside, serving};
use std::fmt::Write as _;

/// A unit of somebody's own, beside the service.
const UNIT: &str = "[Service]\nType=oneshot\nEnvironmentFile=/run/kiln/env/starter.env\nExecStart=/bin/cp /proc/self/environ /var/environment\n";
const VALUES: [&str; 24] = [
    "",
    " ",
    " before and after ",
    "a=b",
    "'single'",
    "\"double\"",
    "it's \"both\"",
    "$HOME",
    "${HOME} $$ %h %%",
    "`id` $(id)",
    "back\\slash\\n\\",
    "\\\\",
    "\\\"",
    "two\nlines",
    "\nfirst and last\n",
    "tab\there",
    "carriage\rreturn\r\n",
    "# no comment",
    "; nor this",
    "a # b ; c",
    "é ß 日本 🦀",
    "\u{1}\u{1b}[31m\u{7f}",
    "line that goes on \\\n  here",
    "postgres://shop@db.internal:5432/shop?sslmode=verify-full&a=%2F",
];
const LETTERS: [&str; 16] =
    [" ", "\"", "'", "\\", "$", "`", "\n", "\r", "\t", "#", ";", "=", "%", "{", "é", "a"];

#[test]
fn systemd_gives_a_unit_every_value_as_it_was_written() {
    let values: Vec<String> = VALUES.into_iter().map(str::to_owned).chain((0..120).map(random)).collect();
    let mut user_data = "#kiln\n[env]\n".to_owned();
    for (number, value) in values.iter().enumerate() {
        // JSON's escapes are TOML's too, which wants one more.
        let quoted = serde_json::Value::from(value.as_str()).to_string().replace('\u{7f}', "\\u007f");
        let _infallible = writeln!(user_data, "V{number} = {quoted}");
    }
    let mut plan = Plan::default();
    plan.props.push(Prop::file("/etc/systemd/system/look.service", UNIT));
    plan.play(async |scene| {
        let id = serving(scene, Launch { user_data: Some(user_data.into()), ..Launch::default() }, &[]).await;
        let services = inside(scene, &id, &["sh", "-c", "ls /run/kiln/env"]).await;
        assert_eq!(services, "starter.env\n");
        let started = inside(scene, &id, &["sh", "-c", "systemctl start look.service && echo started"]).await;
        assert_eq!(started, "started\n");
        let coded = inside(scene, &id, &["base64", "--wrap=0", "/var/environment"]).await;
        let environment = STANDARD.decode(coded.trim()).expect("base64");
        for (number, value) in values.iter().enumerate() {
            let expected = format!("V{number}={value}");
            let mut variables = environment.split(|byte| *byte == 0);
            let name = format!("V{number}=");
            let found = variables.find(|variable| variable.starts_with(name.as_bytes()));
            let found = found.map(|variable| String::from_utf8_lossy(variable).into_owned());
            assert_eq!(found.as_deref(), Some(expected.as_str()), "{value:?}");
        }
    });
}

/// Up to 24 of the letters that mean something to somebody on the way; the same each time.
fn random(number: u64) -> String {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        // Marsaglia's xorshift.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap_or_default()
    };
    (0..=next() % 24).map(|_| LETTERS[next() % LETTERS.len()]).collect()
}
