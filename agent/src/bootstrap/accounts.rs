//! The machine's own users and groups, read from its files: no name service is loaded for them.

use kiln_userdata::Owner;
use std::path::{Path, PathBuf};

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// The groups that it is a member of besides its own; none when another group was named for it.
    pub(super) groups: Vec<u32>,
    pub(super) home: PathBuf,
    pub(super) shell: String,
}

/// `/etc/passwd` and `/etc/group` as they were read.
#[derive(Debug)]
pub(super) struct Accounts {
    passwd: String,
    group: String,
}

impl Accounts {
    /// Those under `root`; a file that is not there names nobody.
    pub(super) fn read(root: &Path) -> Self {
        let text = |name: &str| std::fs::read(root.join(name)).unwrap_or_default();
        let text = |name| String::from_utf8_lossy(&text(name)).into_owned();
        Self { passwd: text("etc/passwd"), group: text("etc/group") }
    }

    /// The user and the group of `owner`, by name or number. The error names who is not there.
    pub(super) fn find(&self, owner: &Owner) -> Result<Account, String> {
        let mut account = self
            .users()
            .find(|account| account.name == owner.user)
            .or_else(|| self.by_number(owner.user.parse().ok()?))
            .ok_or_else(|| format!("there is no user '{}'", owner.user))?;
        match &owner.group {
            None => account.groups = self.groups_of(&account.name),
            Some(name) => {
                let named = self.groups().find(|(group, ..)| group == name).map(|(_, gid, _)| gid);
                account.gid = named
                    .or_else(|| name.parse().ok())
                    .ok_or_else(|| format!("there is no group '{name}'"))?;
            }
        }
        Ok(account)
    }

    /// Who logs in on this image: the first user that is a person (uid 1000 or above, Debian's policy 9.2.2) and has
    /// a shell.
    pub(super) fn person(&self) -> Option<Account> {
        let shell = |path: &str| !path.ends_with("/nologin") && !path.ends_with("/false");
        self.users().find(|account| (1000..60_000).contains(&account.uid) && shell(&account.shell))
    }

    fn users(&self) -> impl Iterator<Item = Account> {
        self.passwd.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, uid, gid, _, home, shell] = fields.as_slice() else { return None };
            Some(Account {
                name: (*name).to_owned(),
                uid: uid.parse().ok()?,
                gid: gid.parse().ok()?,
                groups: Vec::new(),
                home: home.into(),
                shell: (*shell).to_owned(),
            })
        })
    }

    fn by_number(&self, uid: u32) -> Option<Account> {
        let named = self.users().find(|account| account.uid == uid);
        let (name, shell) = (uid.to_string(), "/bin/sh".to_owned());
        // A number needs no entry; its group is then the same number.
        named.or(Some(Account { name, uid, gid: uid, groups: Vec::new(), home: "/".into(), shell }))
    }

    fn groups(&self) -> impl Iterator<Item = (&str, u32, &str)> {
        self.group.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, gid, members] = fields.as_slice() else { return None };
            Some((*name, gid.parse().ok()?, *members))
        })
    }

    fn groups_of(&self, user: &str) -> Vec<u32> {
        let member = |members: &str| members.split(',').any(|name| name == user);
        self.groups().filter(|(_, _, members)| member(members)).map(|(_, gid, _)| gid).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_number_with_their_groups() {
        let accounts = Accounts {
            passwd: "root:x:0:0:root:/root:/bin/bash\nbroken\napp:x:990:991::/srv/app:/usr/sbin/nologin\n\
                     guest:x:1000:1000::/nonexistent:/bin/false\nadmin:x:1001:1001::/srv/admin:/bin/bash\n"
                .to_owned(),
            group: "www-data:x:33:app,other\nssl:x:44:other\nadm:x:4:admin,app\n".to_owned(),
        };
        let find = |user: &str, group: Option<&str>| {
            accounts.find(&Owner { user: user.to_owned(), group: group.map(str::to_owned) })
        };
        let app = find("app", None).expect("it is there");
        assert_eq!((app.uid, app.gid, app.groups), (990, 991, vec![33, 4]));
        let app = find("990", Some("ssl")).expect("a number is as good");
        assert_eq!((app.name.as_str(), app.gid, app.groups), ("app", 44, vec![]));
        assert_eq!(find("4711", None).map(|account| (account.uid, account.gid)), Ok((4711, 4711)));
        assert_eq!(find("nobody", None), Err("there is no user 'nobody'".to_owned()));
        assert_eq!(find("app", Some("none")), Err("there is no group 'none'".to_owned()));
        assert_eq!(accounts.person().map(|account| account.name).as_deref(), Some("admin"));
    }
}
