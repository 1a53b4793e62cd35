//! [`Object`]: a JSON object read the way flannel's parser does: keys in any case, the last of several counts, `null` is as
//! good as absent, types are exact.

use std::borrow::Cow;
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

/// What is wrong with a value, and what would be right.
pub(super) type Wrong = (String, String);

/// A value that holds many.
pub(super) struct Many<T: 'static> {
    /// What it holds, if it is of the right kind.
    pub read: fn(&Value) -> Option<&[T]>,
    /// How many it may have.
    pub most: usize,
    /// How it is written.
    pub form: &'static str,
    /// What to do where it has more.
    pub fewer: &'static str,
}

/// Values that a list may have.
const LONGEST_LIST: usize = 10_000;

/// An object being read, key by key.
pub(super) struct Object<'a, 'f> {
    /// What stands before its keys when they are named: nothing, or `Backend.`
    path: Cow<'static, str>,
    fields: &'a [(String, Value)],
    /// The keys asked for so far: those that are known.
    known: Vec<&'static str>,
    findings: &'f mut Findings,
}

impl<'a, 'f> Object<'a, 'f> {
    pub fn new(
        path: impl Into<Cow<'static, str>>,
        fields: &'a [(String, Value)],
        findings: &'f mut Findings,
    ) -> Object<'a, 'f> {
        Object { path: path.into(), fields, known: Vec::new(), findings }
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
        self.held(key).is_some_and(|value| *value != Value::Null)
    }

    /// The value of a key that is to be looked at before it is read.
    pub fn held(&self, key: &str) -> Option<&'a Value> {
        self.fields.iter().rfind(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value)
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
        for (shown, near) in self.unknown() {
            let near = near.map(|near| format!("; did you mean {}{near}?", self.path));
            self.warn(format!("{}{shown} is not a known key and says nothing{}", self.path, near.unwrap_or_default()));
        }
    }

    /// The same where a key that says nothing would be dangerous: a condition that is not understood would let everything through.
    pub fn finish_strictly(&mut self) {
        for (shown, near) in self.unknown() {
            let known = self.known.join(", ");
            let fix = near.map_or_else(|| format!("there are {known}"), |near| format!("write {near}"));
            self.mistake(&shown, "", ("it is not a known key", fix));
        }
    }

    /// The keys that nobody asked for, cut to a readable length, each with the known one that was meant, if any is near.
    fn unknown(&self) -> Vec<(String, Option<&'static str>)> {
        let is_known = |name: &str| self.known.iter().any(|known| known.eq_ignore_ascii_case(name));
        let unknown = self.fields.iter().map(|(name, _)| name).filter(|name| !is_known(name));
        unknown
            .map(|name| (name.chars().take(80).collect(), spelling::nearest(name, self.known.iter().copied())))
            .collect()
    }

    /// An object in this one.
    pub fn object<'s>(&'s mut self, key: &'static str) -> Option<Object<'a, 's>> {
        match self.take(key)? {
            Value::Null => None,
            value => self.inner(key, value),
        }
    }

    /// A value that stands somewhere in this one, which is to be an object.
    pub fn inner<'s>(&'s mut self, name: &str, value: &'a Value) -> Option<Object<'a, 's>> {
        let Value::Object(fields) = value else {
            self.mistyped(name, value, "write an object in braces");
            return None;
        };
        Some(Object::new(format!("{}{name}.", self.path), fields, &mut *self.findings))
    }

    /// What each item of a list is, one value being a list of one; those that are nothing are noted. `None` where the key is absent.
    pub fn items<T>(&mut self, key: &'static str, read: impl Fn(&Value) -> Result<T, Wrong>) -> Option<Vec<T>> {
        let value = self.take(key)?;
        let list = match value {
            Value::Null => return None,
            Value::List(list) => list.as_slice(),
            one => std::slice::from_ref(one),
        };
        if list.is_empty() || list.len() > LONGEST_LIST {
            let why = if list.is_empty() { "it is empty" } else { "it is too long" };
            self.mistake(key, "[…]", (why, format!("write 1 to {LONGEST_LIST} values, or leave it out")));
        }
        let mut items = Vec::new();
        for value in list.iter().take(LONGEST_LIST) {
            match read(value) {
                Ok(item) => items.push(item),
                Err((why, fix)) => self.mistake(key, &value.to_string(), (why, fix)),
            }
        }
        Some(items)
    }

    /// What a value holds, as much of it as it may have: nothing where the key is absent or, which is noted, of another kind.
    pub fn many<T>(&mut self, key: &'static str, many: &Many<T>) -> &'a [T] {
        let Some(value) = self.take(key).filter(|value| **value != Value::Null) else { return &[] };
        let Some(all) = (many.read)(value) else {
            self.mistake(key, &value.to_string(), (format!("it is {}", value.kind()), many.form));
            return &[];
        };
        if all.len() > many.most {
            self.mistake(key, &value.to_string(), (format!("there are more than {}", many.most), many.fewer));
        }
        all.get(..many.most).unwrap_or(all)
    }

    fn mistyped(&mut self, key: &str, value: &Value, fix: &str) {
        let why = match value {
            Value::Fraction(_) => "it is not a whole number".to_owned(),
            other => format!("it is {}", other.kind()),
        };
        self.mistake(key, &value.to_string(), (why, fix));
    }
}
