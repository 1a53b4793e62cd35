//! [`Object`]: a JSON object read the way flannel's parser does: keys in any case, the last of several counts, `null` is as
//! good as absent, types are exact.

use std::fmt::Display;
use std::ops::RangeInclusive;

use super::json::Value;
use crate::config::Mistake;
use crate::spelling;

/// What was found on the way: what is wrong, and what only looks so.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub mistakes: Vec<Mistake>,
    pub warnings: Vec<String>,
}

/// An object being read, key by key.
pub(super) struct Object<'a, 'f> {
    /// What stands before its keys when they are named: nothing, or `Backend.`
    path: &'static str,
    fields: &'a [(String, Value)],
    /// The keys asked for so far: those that are known.
    known: Vec<&'static str>,
    findings: &'f mut Findings,
}

impl<'a, 'f> Object<'a, 'f> {
    pub fn new(path: &'static str, fields: &'a [(String, Value)], findings: &'f mut Findings) -> Object<'a, 'f> {
        Object { path, fields, known: Vec::new(), findings }
    }

    /// The value of a key, `null` included.
    pub fn take(&mut self, key: &'static str) -> Option<&'a Value> {
        self.known.push(key);
        let mut found = self.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value);
        let last = found.next_back();
        if found.next().is_some() {
            self.warn(format!("{}{key} is there more than once; the last one counts", self.path));
        }
        last
    }

    /// Whether the key is there with a value.
    pub fn holds(&self, key: &str) -> bool {
        let last = self.fields.iter().rfind(|(name, _)| name.eq_ignore_ascii_case(key));
        last.is_some_and(|(_, value)| *value != Value::Null)
    }

    /// A switch.
    pub fn boolean(&mut self, key: &'static str) -> Option<bool> {
        match self.take(key)? {
            Value::Null => None,
            Value::Boolean(value) => Some(*value),
            other => {
                self.mistyped(key, other, "write true or false, without quotes");
                None
            }
        }
    }

    /// A text.
    pub fn text(&mut self, key: &'static str) -> Option<&'a str> {
        match self.take(key)? {
            Value::Null => None,
            Value::Text(text) => Some(text),
            other => {
                self.mistyped(key, other, "write a text in quotes");
                None
            }
        }
    }

    /// A whole number in a range.
    pub fn integer(&mut self, key: &'static str, range: RangeInclusive<u32>) -> Option<u32> {
        let fix = format!("write a whole number from {} to {}, without quotes", range.start(), range.end());
        match self.take(key)? {
            Value::Null => None,
            Value::Integer(value) => match u32::try_from(*value).ok().filter(|value| range.contains(value)) {
                Some(value) => Some(value),
                None => {
                    self.mistake(key, &value.to_string(), ("it is out of range", fix));
                    None
                }
            },
            other => {
                self.mistyped(key, other, &fix);
                None
            }
        }
    }

    /// A mistake about a key.
    pub fn mistake(&mut self, key: &str, value: &str, reason: (impl Display, impl Display)) {
        self.findings.mistakes.push(Mistake::of(&format!("{}{key}", self.path), value, reason));
    }

    /// Something that looks wrong and harms nothing.
    pub fn warn(&mut self, sentence: String) {
        self.findings.warnings.push(sentence);
    }

    /// Warns about the keys that nobody asked for.
    pub fn finish(&mut self) {
        for (name, _) in self.fields {
            if self.known.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                continue;
            }
            let near = spelling::nearest(name, self.known.iter().copied());
            let near = near.map(|near| format!("; did you mean {}{near}?", self.path));
            let shown: String = name.chars().take(80).collect();
            self.warn(format!("{}{shown} is not a known key and says nothing{}", self.path, near.unwrap_or_default()));
        }
    }

    fn mistyped(&mut self, key: &str, value: &Value, fix: &str) {
        let why = match value {
            Value::Fraction(_) => "it is not a whole number".to_owned(),
            other => format!("it is {}", other.kind()),
        };
        self.mistake(key, &value.to_string(), (why, fix));
    }
}
