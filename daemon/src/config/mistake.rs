//! [`Mistake`]: one thing that is wrong with the configuration, and [`Mistakes`], all of them, reported together.

use std::fmt;

/// One thing that is wrong, with the fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The flag (`--iface`), environment variable (`FLANNELD_IFACE`) or key (`Backend.VNI`).
    pub key: String,
    /// The value as written, cut to a readable length, secrets hidden; empty when the value is absent.
    pub value: String,
    /// Why it cannot be used.
    pub why: String,
    /// What would be right.
    pub fix: String,
}

/// All that is wrong, at least one thing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes(pub Vec<Mistake>);

impl Mistake {
    /// A mistake about a value.
    pub fn of(key: &str, value: &str, (why, fix): (impl fmt::Display, impl fmt::Display)) -> Mistake {
        let mut value = value.to_owned();
        if let Some((end, _)) = value.char_indices().nth(LONGEST_VALUE) {
            value.truncate(end);
            value.push('…');
        }
        Mistake { key: key.to_owned(), value, why: why.to_string(), fix: fix.to_string() }
    }
}

const LONGEST_VALUE: usize = 80;

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if !self.value.is_empty() {
            write!(f, " = {:?}", self.value)?;
        }
        write!(f, ": {}; {}", self.why, self.fix)
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            mistake.fmt(f)?;
        }
        Ok(())
    }
}
