//! The numbers of users and groups, from `/etc/passwd` and `/etc/group`.

use std::io;
use std::path::Path;

use super::{MAX_PUBLIC, read};

/// The number of a user: the number itself, or that of a name. Blocks.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] for an unknown name.
pub fn user(name: &str) -> io::Result<u32> {
    number(name, Path::new("/etc/passwd"), "user")
}

/// The number of a group: the number itself, or that of a name. Blocks.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] for an unknown name.
pub fn group(name: &str) -> io::Result<u32> {
    number(name, Path::new("/etc/group"), "group")
}

fn number(name: &str, file: &Path, kind: &str) -> io::Result<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let content = read(file, MAX_PUBLIC).map_err(io::Error::other)?;
    let content = String::from_utf8_lossy(&content);
    // name:password:number:…
    let mut lines = content.lines().map(|line| line.split(':'));
    let found = lines.find_map(|mut fields| {
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    });
    found.ok_or_else(|| {
        let message = format!("{} has no {kind} `{name}`", file.display());
        io::Error::new(io::ErrorKind::NotFound, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_found() {
        assert_eq!(user("root").unwrap(), 0);
        assert_eq!(group("root").unwrap(), 0);
        assert_eq!(user("12345").unwrap(), 12345);
        let unknown = user("no-such-user-here").unwrap_err().to_string();
        assert_eq!(unknown, "/etc/passwd has no user `no-such-user-here`");
    }
}
