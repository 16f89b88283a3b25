//! Users and groups by name or number.
//!
//! `/etc/passwd` and `/etc/group` are read directly: a static binary has no name service, and an
//! image may have neither file, in which case numbers still work.

use std::fs;
use std::io;

use rustix::fs::{Gid, Uid};

use crate::supervisor::Errno;

/// Whom a program becomes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The user.
    pub uid: Uid,
    /// The primary group.
    pub gid: Gid,
    /// All supplementary groups.
    pub groups: Vec<Gid>,
    /// The user's name, if `/etc/passwd` knows it.
    pub name: Option<String>,
    /// The user's home directory, if `/etc/passwd` knows it.
    pub home: Option<String>,
}

/// A user or group that does not exist here, or cannot be looked up.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UserError {
    /// A user name that `/etc/passwd` does not know.
    #[error("there is no user {0:?} in /etc/passwd; a number works without it")]
    User(String),
    /// A group name that `/etc/group` does not know.
    #[error("there is no group {0:?} in /etc/group; a number works without it")]
    Group(String),
    /// A file that may be there cannot be read.
    #[error("cannot read {file}: {}", super::reason(errno.0))]
    Unreadable {
        /// Which.
        file: &'static str,
        /// Why not.
        errno: Errno,
    },
}

impl UserError {
    /// The error number that says best what is wrong.
    pub fn errno(&self) -> Errno {
        match self {
            Self::User(_) | Self::Group(_) => Errno(libc::EINVAL),
            Self::Unreadable { errno, .. } => *errno,
        }
    }
}

/// Looks up `user` and `group`; `None` if neither is given.
///
/// A user's groups are those that `/etc/group` lists for the name. A user number without an entry
/// has the group of the same number. A `group` replaces the primary group.
pub fn resolve(user: Option<&str>, group: Option<&str>) -> Result<Option<Identity>, UserError> {
    if user.is_none() && group.is_none() {
        return Ok(None);
    }
    resolve_in(&read("/etc/passwd")?, &read("/etc/group")?, user, group).map(Some)
}

/// A file that is not there is empty. One that cannot be read just now is not: who became a number
/// without its groups and its home would stay so.
fn read(file: &'static str) -> Result<String, UserError> {
    match fs::read(file) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => {
            let errno = Errno(error.raw_os_error().unwrap_or(libc::EIO));
            Err(UserError::Unreadable { file, errno })
        }
    }
}

struct Entry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn resolve_in(
    passwd: &str,
    groups: &str,
    user: Option<&str>,
    group: Option<&str>,
) -> Result<Identity, UserError> {
    let own = rustix::process::getuid().as_raw();
    let entry = match user {
        Some(user) => find_user(passwd, user),
        None => entries(passwd).find(|entry| entry.uid == own),
    };
    let uid = match (user, &entry) {
        (None, _) => own,
        (Some(_), Some(entry)) => entry.uid,
        (Some(user), None) => user.parse().map_err(|_| UserError::User(user.to_owned()))?,
    };
    let gid = match (group, &entry) {
        (Some(group), _) => find_group(groups, group)?,
        (None, Some(entry)) => entry.gid,
        (None, None) => uid,
    };
    let mut all = entry.as_ref().map_or_else(Vec::new, |entry| groups_of(groups, entry.name));
    if !all.contains(&gid) {
        all.push(gid);
    }
    Ok(Identity {
        uid: Uid::from_raw(uid),
        gid: Gid::from_raw(gid),
        groups: all.into_iter().map(Gid::from_raw).collect(),
        name: entry.as_ref().map(|entry| entry.name.to_owned()),
        home: entry.map(|entry| entry.home.to_owned()).filter(|home| !home.is_empty()),
    })
}

fn entries(passwd: &str) -> impl Iterator<Item = Entry<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        Some(Entry {
            name: fields.next()?,
            uid: fields.nth(1)?.parse().ok()?,
            gid: fields.next()?.parse().ok()?,
            home: fields.nth(1).unwrap_or(""),
        })
    })
}

/// A name comes first: a user may be called `1000`.
fn find_user<'a>(passwd: &'a str, user: &str) -> Option<Entry<'a>> {
    let number = user.parse();
    entries(passwd)
        .find(|entry| entry.name == user)
        .or_else(|| entries(passwd).find(|entry| Ok(entry.uid) == number))
}

fn find_group(groups: &str, group: &str) -> Result<u32, UserError> {
    let named = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == group).then(|| fields.nth(1)?.parse().ok())?
    });
    named.or_else(|| group.parse().ok()).ok_or_else(|| UserError::Group(group.to_owned()))
}

fn groups_of(groups: &str, user: &str) -> Vec<u32> {
    groups
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let gid = fields.nth(2)?.parse().ok()?;
            fields.next()?.split(',').any(|member| member == user).then_some(gid)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
        gate:x:1001:1002:The gateway:/home/gate:/bin/sh\n\
        broken\n\
        4000:x:1500:1500::/:/bin/sh\n";
    const GROUP: &str = "root:x:0:\ngate:x:1002:\naudio:x:29:pulse,gate\nbroken\nvideo:x:44:gate\n";

    fn ids(user: Option<&str>, group: Option<&str>) -> Result<(u32, u32, Vec<u32>), UserError> {
        resolve_in(PASSWD, GROUP, user, group).map(|found| {
            let groups = found.groups.iter().map(|gid| gid.as_raw()).collect();
            (found.uid.as_raw(), found.gid.as_raw(), groups)
        })
    }

    #[test]
    fn names_and_numbers_give_the_user_with_all_groups() {
        assert_eq!(ids(Some("gate"), None), Ok((1001, 1002, vec![29, 44, 1002])));
        assert_eq!(ids(Some("1001"), None), Ok((1001, 1002, vec![29, 44, 1002])));
        assert_eq!(ids(Some("gate"), Some("audio")), Ok((1001, 29, vec![29, 44])));
        assert_eq!(ids(Some("gate"), Some("77")), Ok((1001, 77, vec![29, 44, 77])));
        assert_eq!(ids(Some("9999"), None), Ok((9999, 9999, vec![9999])));
        assert_eq!(ids(Some("4000"), None), Ok((1500, 1500, vec![1500])), "a name before a number");
        assert_eq!(ids(Some("nobody-here"), None), Err(UserError::User("nobody-here".to_owned())));
        assert_eq!(ids(Some("gate"), Some("x")), Err(UserError::Group("x".to_owned())));
    }

    #[test]
    fn numbers_work_without_any_file() {
        let found = resolve_in("", "", Some("65534"), Some("100")).expect("numbers");
        assert_eq!((found.uid.as_raw(), found.gid.as_raw()), (65534, 100));
        assert_eq!((found.name, found.home), (None, None));
    }

    #[test]
    fn a_user_of_the_file_has_a_name_and_a_home() {
        let found = resolve_in(PASSWD, GROUP, Some("gate"), None).expect("there");
        assert_eq!(found.name.as_deref(), Some("gate"));
        assert_eq!(found.home.as_deref(), Some("/home/gate"));
    }

    #[test]
    fn asking_for_nobody_changes_nothing() {
        assert_eq!(resolve(None, None), Ok(None));
    }
}
