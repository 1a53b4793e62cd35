//! [`Identifier`], the CNI specification's form of a name, and [`Owner`], who an address belongs to.

use std::fmt;

/// A container's id or a network's name, as the CNI specification has them: an alphanumeric character, then any of these,
/// `_`, `.` and `-`. So it is a safe file name, as long as the file system takes its length, and short enough that what an
/// address's file says of it is read in one go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identifier(Box<str>);

/// Why a text is not an identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a name as CNI has them: a letter or digit, then letters, digits, `_`, `.` or `-`, no more than 1024", text.escape_debug())]
pub struct IdentifierError {
    /// The text that was refused, cut to 64 characters.
    pub text: String,
}

impl Identifier {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// [`IdentifierError`] when it is empty, has other characters or too many.
    pub fn new(text: &str) -> Result<Identifier, IdentifierError> {
        let rest = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if text.len() <= 1024 && text.bytes().all(rest) && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        {
            return Ok(Identifier(text.into()));
        }
        Err(IdentifierError { text: text.chars().take(64).collect() })
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who an address belongs to: one interface of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// `CNI_CONTAINERID`
    pub container: Identifier,
    /// `CNI_IFNAME`, which the caller has checked to be an interface's name.
    pub ifname: String,
}

impl Owner {
    /// What the file of an address says: `host-local`'s own words, with its line end.
    pub(super) fn inscription(&self) -> String {
        format!("{}\r\n{}", self.container, self.ifname)
    }
}

/// What an address's file says, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inscription<'a> {
    pub(super) container: &'a str,
    /// `host-local` before 0.8 did not write it.
    pub(super) ifname: Option<&'a str>,
}

impl Inscription<'_> {
    /// Takes a text apart; `None` when it speaks of no container.
    pub(super) fn parse(text: &str) -> Option<Inscription<'_>> {
        let (container, ifname) = match text.split_once("\r\n") {
            Some((container, ifname)) => (container, Some(ifname)),
            None => (text, None),
        };
        Identifier::new(container).is_ok().then_some(Inscription { container, ifname })
    }

    /// Whether it speaks of this owner, or of its container where there is no word of an interface.
    pub(super) fn is_of(&self, owner: &Owner) -> bool {
        self.container == owner.container.as_str() && self.ifname.is_none_or(|ifname| ifname == owner.ifname)
    }
}

impl fmt::Display for Inscription<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.container)?;
        self.ifname.map_or(Ok(()), |ifname| write!(f, "/{}", ifname.escape_debug()))
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.container, self.ifname)
    }
}
