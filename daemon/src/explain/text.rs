//! [`Explanation`] for people: the sentence, then one line an object.

use std::fmt;

use super::{Condition, Explanation};

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.sentence)?;
        if !self.objects.is_empty() {
            writeln!(f)?;
        }
        for object in &self.objects {
            writeln!(f, "{:9}  {}", object.condition, object.wanted)?;
            object.there.iter().try_for_each(|there| writeln!(f, "{:9}  there is: {there}", ""))?;
        }
        Ok(())
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Condition::Present => "present",
            Condition::Missing => "MISSING",
            Condition::Different => "DIFFERENT",
        })
    }
}
