//! What a file in a plugin directory is: ours, and of which release, or somebody else's. Read from the file itself: it is
//! not run.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use super::{InstallError, failure};

/// Stands in the plugin's file, with its release.
pub const MARK: &str = concat!("towpath-plugin-release:", env!("CARGO_PKG_VERSION"), ";");
/// What stands before the release. Found by itself as well, in whatever searches for it.
const BEGIN: &[u8] = b"towpath-plugin-release:";
/// No release is written longer.
const LONGEST: usize = 64;

/// A release, older before newer; `1.2.0-rc1` comes before `1.2.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    numbers: [u32; 3],
    finished: bool,
}

impl Release {
    /// Reads `1.2.3`, with anything behind a hyphen.
    pub fn parse(text: &str) -> Option<Release> {
        let (text, finished) = text.split_once('-').map_or((text, true), |(numbers, _)| (numbers, false));
        let mut parts = text.split('.').map(|part| part.parse::<u32>().ok());
        let numbers = [parts.next()??, parts.next()??, parts.next()??];
        parts.next().is_none().then_some(Release { numbers, finished })
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}{}", if self.finished { "" } else { "-pre" })
    }
}

/// What lies at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing that could be started: no file, a link to nowhere, or an empty file.
    Nothing,
    /// The plugin.
    Ours(Release),
    /// Anything else.
    Foreign,
}

/// Looks at what lies at a path.
///
/// # Errors
/// When it cannot be read.
pub fn kind(path: &Path) -> Result<Kind, InstallError> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kind::Nothing),
        Err(error) => return Err(failure("read", path)(error)),
        Ok(found) if found.is_file() && found.len() == 0 => return Ok(Kind::Nothing),
        Ok(found) if !found.is_file() => return Ok(Kind::Foreign),
        Ok(_) => {}
    }
    let file = open(path)?;
    Ok(release(file).map_err(failure("read", path))?.map_or(Kind::Foreign, Kind::Ours))
}

/// Whether two files have the same content.
///
/// # Errors
/// When one cannot be read.
pub fn same_content(one: &Path, other: &Path) -> Result<bool, InstallError> {
    let (mut first, mut second) = (open(one)?, open(other)?);
    let (mut left, mut right) = (vec![0; PAGE], vec![0; PAGE]);
    loop {
        let length = fill(&mut first, &mut left).map_err(failure("read", one))?;
        let other_length = fill(&mut second, &mut right).map_err(failure("read", other))?;
        if left[..length] != right[..other_length] {
            return Ok(false);
        }
        if length == 0 {
            return Ok(true);
        }
    }
}

/// Octets that are looked at at a time.
const PAGE: usize = 64 * 1024;

/// Never waits: it may have become a FIFO since it was looked at.
fn open(path: &Path) -> Result<File, InstallError> {
    let flags = OFlags::NONBLOCK.bits() as i32;
    OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failure("read", path))
}

/// The release that a file says it is.
fn release(mut file: impl Read) -> io::Result<Option<Release>> {
    let mut buffer = vec![0; PAGE];
    let mut kept = 0;
    loop {
        let length = fill(&mut file, &mut buffer[kept..])?;
        let seen = &buffer[..kept + length];
        let found = seen.windows(BEGIN.len()).enumerate().filter(|(_, window)| *window == BEGIN);
        let texts = found.map(|(at, _)| &seen[at + BEGIN.len()..]);
        let found = texts.filter_map(|text| text.split(|octet| *octet == b';').next()).find_map(|text| {
            let text = std::str::from_utf8(text.get(..text.len().min(LONGEST))?).ok()?;
            Release::parse(text)
        });
        if found.is_some() || length == 0 {
            return Ok(found);
        }
        // A mark may lie across the border.
        let end = seen.len();
        let rest = end.saturating_sub(BEGIN.len() + LONGEST);
        buffer.copy_within(rest..end, 0);
        kept = end - rest;
    }
}

/// Reads until the buffer is full or the file is at its end.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_release_is_found_wherever_it_stands_in_a_file() {
        for before in [0, 1, PAGE - 30, PAGE - 10, PAGE, 2 * PAGE - 40, 3 * PAGE + 7] {
            let mut content = vec![b'x'; before];
            content.extend_from_slice(b"towpath-plugin-release:\0towpath-plugin-release:1.22.333;yyy");
            assert_eq!(release(content.as_slice()).unwrap(), Release::parse("1.22.333"), "{before}");
        }
        assert_eq!(release(vec![b'x'; 3 * PAGE].as_slice()).unwrap(), None);
        assert_eq!(release(&b"towpath-plugin-release:"[..]).unwrap(), None);
        assert!(release(MARK.as_bytes()).unwrap().is_some(), "our own");
    }

    #[test]
    fn releases_are_ordered_as_people_order_them() {
        let release = |text| Release::parse(text).unwrap();
        assert!(release("0.1.0") < release("0.2.0-rc1") && release("0.2.0-rc1") < release("0.2.0"));
        assert!(release("0.9.9") < release("0.10.0"));
        for text in ["", "1", "1.2", "1.2.3.4", "a.b.c", "1.2.x"] {
            assert_eq!(Release::parse(text), None, "{text}");
        }
    }
}
