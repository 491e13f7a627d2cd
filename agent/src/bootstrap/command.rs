//! The commands that parts come to: who runs them, where, and with what around them.

use super::accounts::Account;
use kiln_userdata::{Command as Line, Run};
use std::path::Path;
use tokio::process::Command;

/// Where programs are looked for: Debian's own for root.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The only language that every Debian has.
const LANG: &str = "C.UTF-8";
/// The umask of parts that name none; bootstrap sets it for itself.
pub const UMASK: u32 = 0o022;
/// What is handed on of the agent's own environment (`/etc/kiln/agent.env`), so that tools reach the same AWS.
const HANDED_ON: [&str; 4] =
    ["AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CA_BUNDLE", "AWS_EC2_METADATA_SERVICE_ENDPOINT"];

/// What every command is told.
pub(super) struct Surroundings<'a> {
    pub(super) instance_id: &'a str,
    pub(super) region: Option<&'a str>,
    /// Variables of the user data's own `[env]`.
    pub(super) variables: Vec<(&'a str, &'a str)>,
}

/// Leaves the variables out, which may be secrets.
impl std::fmt::Debug for Surroundings<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Surroundings").field("instance_id", &self.instance_id).finish_non_exhaustive()
    }
}

impl Surroundings<'_> {
    /// Executes the file at `path`, as root.
    pub(super) fn script(&self, part: &str, path: &Path) -> Command {
        let mut command = Command::new(path);
        self.furnish(&mut command, part, None);
        command
    }

    /// Executes `run` as `account`, or as root.
    pub(super) fn run(&self, run: &Run, part: &str, account: Option<&Account>) -> Command {
        let words = words(run, account);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        self.furnish(&mut command, part, account);
        if let Some(directory) = &run.directory {
            command.current_dir(directory);
        }
        command
    }

    fn furnish(&self, command: &mut Command, part: &str, account: Option<&Account>) {
        command.env_clear();
        let kept = std::env::vars_os().filter(|(name, _)| {
            name.to_str()
                .is_some_and(|name| HANDED_ON.contains(&name) || name.starts_with("AWS_ENDPOINT_URL"))
        });
        command.envs(kept);
        command.envs(self.variables.iter().copied());
        let (user, home, shell) = account.map_or(("root", Path::new("/root"), "/bin/sh"), |account| {
            (account.name.as_str(), account.home.as_path(), account.shell.as_str())
        });
        command.env("HOME", home).env("PATH", PATH).env("LANG", LANG);
        command.env("USER", user).env("LOGNAME", user).env("SHELL", shell);
        command.env("KILN_INSTANCE_ID", self.instance_id).env("KILN_PART", part);
        if let Some(region) = self.region {
            command.env("KILN_REGION", region);
        }
        command.current_dir("/");
    }
}

/// The words of `run`, behind what changes the user and the umask. Both are set by programs of their own: the crates
/// that set them between fork and exec need unsafe code, or leave the user's groups out.
fn words(run: &Run, account: Option<&Account>) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut put = |more: &[&str]| words.extend(more.iter().map(|word| (*word).to_owned()));
    if let Some(account) = account.filter(|account| account.uid != 0) {
        let groups: Vec<String> = account.groups.iter().map(ToString::to_string).collect();
        let groups = if groups.is_empty() {
            "--clear-groups".to_owned()
        } else {
            format!("--groups={}", groups.join(","))
        };
        let (user, group) = (format!("--reuid={}", account.uid), format!("--regid={}", account.gid));
        put(&["setpriv", &user, &group, &groups, "--"]);
    }
    if let Some(umask) = run.umask.filter(|umask| *umask != UMASK) {
        put(&["/bin/sh", "-c", &format!("umask {umask:04o}; exec \"$@\""), "sh"]);
    }
    match &run.command {
        Line::Shell(line) => put(&["/bin/sh", "-c", line]),
        Line::Exec(given) => words.extend(given.iter().cloned()),
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_userdata::Every;

    #[test]
    fn a_command_is_wrapped_in_what_it_needs_and_no_more() {
        let mut run = Run {
            name: "test".to_owned(),
            command: Line::Exec(vec!["id".to_owned(), "-u".to_owned()]),
            every: Every::Instance,
            repeat: true,
            timeout: None,
            user: None,
            directory: None,
            umask: Some(UMASK),
        };
        let root = Account {
            name: "root".to_owned(),
            uid: 0,
            gid: 0,
            groups: vec![1],
            home: "/".into(),
            shell: String::new(),
        };
        assert_eq!(words(&run, Some(&root)), ["id", "-u"]);
        run.umask = Some(0o027);
        let app = Account { uid: 990, gid: 991, groups: vec![33, 4], ..root };
        assert_eq!(
            words(&run, Some(&app)).join(" "),
            "setpriv --reuid=990 --regid=991 --groups=33,4 -- /bin/sh -c umask 0027; exec \"$@\" sh id -u"
        );
        (run.umask, run.command) = (None, Line::Shell("id > /tmp/x".to_owned()));
        let app = Account { groups: Vec::new(), ..app };
        assert_eq!(words(&run, Some(&app))[3..], ["--clear-groups", "--", "/bin/sh", "-c", "id > /tmp/x"]);
    }
}
