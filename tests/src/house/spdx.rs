//! [`permits`]: whether a licence expression can be satisfied with a list of licences (SPDX specification 2.3, annex D:
//! `WITH` binds tightest, then `AND`, then `OR`). Cargo's old `/` means `OR`.
//!
//! It does not know which names exist; a name that is not in the list is not permitted.

use anyhow::{Result, bail};

/// Whether the expression can be satisfied by licences in `allowed`. `A WITH E` needs exactly that text in the list.
///
/// # Errors
/// When the text is not a licence expression.
pub fn permits(expression: &str, allowed: &[String]) -> Result<bool> {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = Words { words: spaced.split_whitespace().collect(), next: 0, allowed };
    let permitted = words.alternatives()?;
    match words.peek() {
        None => Ok(permitted),
        Some(rest) => bail!("`{expression}` is not a licence expression: `{rest}` is too much"),
    }
}

struct Words<'a> {
    words: Vec<&'a str>,
    next: usize,
    allowed: &'a [String],
}

impl<'a> Words<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.next).copied()
    }

    fn take(&mut self, word: &str) -> bool {
        let taken = self.peek() == Some(word);
        self.next += usize::from(taken);
        taken
    }

    fn alternatives(&mut self) -> Result<bool> {
        let mut permitted = self.requirements()?;
        while self.take("OR") {
            permitted |= self.requirements()?;
        }
        Ok(permitted)
    }

    fn requirements(&mut self) -> Result<bool> {
        let mut permitted = self.licence()?;
        while self.take("AND") {
            permitted &= self.licence()?;
        }
        Ok(permitted)
    }

    fn licence(&mut self) -> Result<bool> {
        if self.take("(") {
            let permitted = self.alternatives()?;
            if !self.take(")") {
                bail!("a licence expression lacks its `)`");
            }
            return Ok(permitted);
        }
        let Some(name) = self.peek().filter(|word| !["OR", "AND", "WITH", ")"].contains(word)) else {
            bail!("a licence expression lacks a licence's name");
        };
        self.next += 1;
        let mut name = name.to_owned();
        if self.take("WITH") {
            let Some(exception) = self.peek() else { bail!("a licence expression ends in WITH") };
            self.next += 1;
            name = format!("{name} WITH {exception}");
        }
        Ok(self.allowed.contains(&name))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::permits;

    fn with_mit_and_isc(expression: &str) -> bool {
        permits(expression, &["MIT".to_owned(), "ISC".to_owned(), "Apache-2.0 WITH LLVM-exception".to_owned()]).unwrap()
    }

    #[test]
    fn one_alternative_is_enough_and_all_requirements_are_needed() {
        assert!(with_mit_and_isc("MIT"));
        assert!(with_mit_and_isc("MIT OR GPL-3.0"));
        assert!(with_mit_and_isc("GPL-3.0/MIT"));
        assert!(with_mit_and_isc("MIT AND ISC"));
        assert!(!with_mit_and_isc("MIT AND GPL-3.0"));
        assert!(!with_mit_and_isc("GPL-3.0"));
    }

    #[test]
    fn and_binds_tighter_than_or_and_parentheses_tighter_still() {
        assert!(with_mit_and_isc("MIT OR GPL-3.0 AND X"));
        assert!(!with_mit_and_isc("(MIT OR GPL-3.0) AND X"));
        assert!(with_mit_and_isc("(GPL-3.0 OR MIT) AND ISC"));
    }

    #[test]
    fn an_exception_is_part_of_the_name() {
        assert!(with_mit_and_isc("Apache-2.0 WITH LLVM-exception"));
        assert!(!with_mit_and_isc("Apache-2.0"));
        assert!(!with_mit_and_isc("MIT WITH Something"));
    }

    #[test]
    fn nonsense_is_an_error() {
        for text in ["", "OR MIT", "MIT OR", "(MIT", "MIT)", "MIT ISC", "MIT WITH"] {
            assert!(permits(text, &[]).is_err(), "{text}");
        }
    }
}
