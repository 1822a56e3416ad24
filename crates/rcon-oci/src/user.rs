//! Who `USER` of an image or `--user` of a command is, by the texts of the image's `/etc/passwd` and `/etc/group`.

use thiserror::Error;

use crate::ProcessUser;

/// Why a user or group is nobody.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UserError {
    /// A name without an entry.
    #[error("there is no user `{name}` in the image's /etc/passwd")]
    UnknownUser {
        /// As given.
        name: String,
    },
    /// A name without an entry.
    #[error("there is no group `{name}` in the image's /etc/group")]
    UnknownGroup {
        /// As given.
        name: String,
    },
}

/// A resolved user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedUser {
    /// The numbers.
    pub user: ProcessUser,
    /// The home directory: of the user's entry, else `/`.
    pub home: String,
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct GroupEntry<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// Resolves `[USER][:GROUP]`, each a name or a number; empty is root. A number needs no entry: it is taken as it is, with group 0
/// when it has none. Without an explicit group the supplementary groups are those that name the user; with one, none, as in Docker.
///
/// # Errors
/// When a name is not in its file.
pub fn resolve_user(wanted: &str, passwd: &str, group: &str) -> Result<ResolvedUser, UserError> {
    let (user_text, group_text) = wanted.split_once(':').unwrap_or((wanted, ""));
    let user_text = if user_text.is_empty() { "0" } else { user_text };
    let entry = find_user(user_text, passwd);
    let (uid, mut gid) = match (&entry, user_text.parse::<u32>()) {
        (Some(entry), _) => (entry.uid, entry.gid),
        (None, Ok(uid)) => (uid, 0),
        (None, Err(_)) => return Err(UserError::UnknownUser { name: user_text.to_owned() }),
    };
    let mut additional_gids = Vec::new();
    if group_text.is_empty() {
        if let Some(entry) = &entry {
            additional_gids = groups(group).filter(|g| g.members.split(',').any(|name| name == entry.name)).map(|g| g.gid).collect();
        }
    } else {
        gid = resolve_group(group_text, group)?;
    }
    if !additional_gids.contains(&gid) {
        additional_gids.insert(0, gid);
    }
    let home = entry.map(|e| e.home).filter(|home| !home.is_empty()).unwrap_or("/").to_owned();
    Ok(ResolvedUser { user: ProcessUser { uid, gid, additional_gids }, home })
}

/// The number of a group that is given by name or number (`--group-add`).
///
/// # Errors
/// When a name is not in the file.
pub fn resolve_group(wanted: &str, group: &str) -> Result<u32, UserError> {
    if let Some(entry) = groups(group).find(|entry| entry.name == wanted) {
        return Ok(entry.gid);
    }
    wanted.parse().map_err(|_| UserError::UnknownGroup { name: wanted.to_owned() })
}

/// A name wins over a number that is written the same.
fn find_user<'a>(wanted: &str, passwd: &'a str) -> Option<PasswdEntry<'a>> {
    let number = wanted.parse::<u32>().ok();
    users(passwd).find(|entry| entry.name == wanted).or_else(|| users(passwd).find(|entry| Some(entry.uid) == number))
}

/// passwd(5): name, password, uid, gid, comment, home, shell. Lines that are none are skipped.
fn users(text: &str) -> impl Iterator<Item = PasswdEntry<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(PasswdEntry { name, uid, gid, home: fields.nth(1).unwrap_or("") })
    })
}

/// group(5): name, password, gid, members.
fn groups(text: &str) -> impl Iterator<Item = GroupEntry<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some(GroupEntry { name, gid, members: fields.next().unwrap_or("") })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# comment\nbroken\nweb:x:33:33::/var/www:/bin/sh\n1000:x:7:7::/odd:\nanna:x:1001:100::/home/anna:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nweb:x:33:\nusers:x:100:\nwheel:x:10:root,anna\ndocker:x:999:anna\n";

    fn numbers(wanted: &str) -> (u32, u32, Vec<u32>, String) {
        let found = resolve_user(wanted, PASSWD, GROUP).unwrap();
        (found.user.uid, found.user.gid, found.user.additional_gids, found.home)
    }

    #[test]
    fn users_resolve_as_docker_does() {
        for (wanted, uid, gid, additional, home) in [
            ("", 0, 0, vec![0, 10], "/root"),
            ("root", 0, 0, vec![0, 10], "/root"),
            ("anna", 1001, 100, vec![100, 10, 999], "/home/anna"),
            ("1001", 1001, 100, vec![100, 10, 999], "/home/anna"),
            ("anna:web", 1001, 33, vec![33], "/home/anna"),
            ("anna:4242", 1001, 4242, vec![4242], "/home/anna"),
            ("5000", 5000, 0, vec![0], "/"),
            ("5000:users", 5000, 100, vec![100], "/"),
            ("1000", 7, 7, vec![7], "/odd"),
            (":web", 0, 33, vec![33], "/root"),
        ] {
            assert_eq!(numbers(wanted), (uid, gid, additional, home.to_owned()), "{wanted}");
        }
    }

    #[test]
    fn names_that_are_not_there_are_refused() {
        assert_eq!(resolve_user("bob", PASSWD, GROUP), Err(UserError::UnknownUser { name: "bob".into() }));
        assert_eq!(resolve_user("anna:staff", PASSWD, GROUP), Err(UserError::UnknownGroup { name: "staff".into() }));
        assert_eq!(resolve_user("-1", PASSWD, GROUP), Err(UserError::UnknownUser { name: "-1".into() }));
        assert_eq!(resolve_user("5", "", "").unwrap().user.uid, 5);
    }
}
