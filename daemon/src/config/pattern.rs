//! [`Pattern`]: a regular expression that compiled, with the text it was written as.

use std::fmt;
use std::str::FromStr;

use regex_lite::Regex;

/// A regular expression; it matches anywhere in the text unless anchored, as in Go.
#[derive(Clone)]
pub struct Pattern(Regex);

/// Why a text is not a regular expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not a regular expression: {reason}")]
pub struct PatternError {
    /// What the compiler says.
    pub reason: String,
}

impl Pattern {
    /// Whether it matches somewhere in the text.
    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl FromStr for Pattern {
    type Err = PatternError;
    fn from_str(text: &str) -> Result<Pattern, PatternError> {
        Regex::new(text).map(Pattern).map_err(|error| PatternError { reason: error.to_string() })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.0.as_str())
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}
