//! Asking before something is taken away.

use std::io::{self, BufRead, IsTerminal, Write};

/// What was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// Yes.
    Given,
    /// Anything else.
    Refused,
}

/// Why nobody could be asked.
#[derive(Debug, thiserror::Error)]
pub enum ConsentError {
    /// There is nobody to ask.
    #[error("there is no terminal to ask on: say --yes if it is to be done")]
    Nobody,
    /// The terminal failed.
    #[error("asking on the terminal: {0}")]
    Terminal(#[from] io::Error),
}

/// Asks `question [y/N]` on the terminal.
pub fn ask(question: &str) -> Result<Consent, ConsentError> {
    if !io::stdin().is_terminal() {
        return Err(ConsentError::Nobody);
    }
    let mut err = io::stderr().lock();
    write!(err, "{question} [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(meaning(&answer))
}

fn meaning(answer: &str) -> Consent {
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Consent::Given,
        _ => Consent::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        for yes in ["y\n", "Y\n", " yes \n"] {
            assert_eq!(meaning(yes), Consent::Given);
        }
        for no in ["", "\n", "n\n", "yeah, no\n", "1\n"] {
            assert_eq!(meaning(no), Consent::Refused);
        }
    }
}
