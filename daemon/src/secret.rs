//! [`Secret`]: a password or key that no log line, error or debug output can show.
//!
//! It does not wipe memory: who can read the daemon's memory can read its command line too.

use std::fmt;

/// A value that is not printed: there is no `Display`, and `Debug` says `(hidden)`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T = String>(T);

impl<T> Secret<T> {
    /// Takes the value in.
    pub fn new(value: T) -> Secret<T> {
        Secret(value)
    }

    /// The value itself, for the one place that needs it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn a_secret_is_not_shown_by_debug_and_not_by_what_holds_it() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret:?} {:?} {:#?}", Some(&secret), secret), "(hidden) Some((hidden)) (hidden)");
        assert_eq!(secret.expose(), "hunter2");
    }
}
