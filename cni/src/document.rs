//! [`Document`]: the network configuration as it was written. [`Object`] reads it key by key and collects every mistake
//! in one list, each with the path to its key and with what would be right.
//!
//! Unknown keys are left alone: other plugins of a chain, runtimes and people put theirs beside ours. As in the Go
//! library, `null` is as good as absent, of two equal keys the last one counts, and a key may be written in another case:
//! containerd says `HostPort` where the conventions say `hostPort`.

use std::path::Path;
use std::str::FromStr;

use ipam::ledger::Identifier;
use serde_json::{Map, Value};

use crate::error::Error;
use crate::version::Version;

/// A JSON object.
#[derive(Clone, Debug, PartialEq)]
pub struct Document(Map<String, Value>);

/// Sentences that name a key, its value, and what would be right.
#[derive(Debug, Default)]
pub struct Mistakes(Vec<String>);

/// An object inside the document, with the path to it.
#[derive(Clone, Debug)]
pub struct Object<'a> {
    path: String,
    map: &'a Map<String, Value>,
}

impl From<Map<String, Value>> for Document {
    fn from(map: Map<String, Value>) -> Document {
        Document(map)
    }
}

impl<'a> From<&'a Map<String, Value>> for Object<'a> {
    fn from(map: &'a Map<String, Value>) -> Object<'a> {
        Object { path: String::new(), map }
    }
}

impl Document {
    /// Reads JSON.
    ///
    /// # Errors
    /// When it is none, is nested too deep, or is not an object.
    pub fn parse(text: &[u8]) -> Result<Document, Error> {
        if text.trim_ascii().is_empty() {
            return Err(Error::Decode { what: "it is empty".to_owned() });
        }
        match serde_json::from_slice(text) {
            Ok(Value::Object(map)) => Ok(Document(map)),
            Ok(_) => Err(Error::Decode { what: "it is not a JSON object".to_owned() }),
            Err(error) => Err(Error::Decode { what: format!("it is not JSON: {error}") }),
        }
    }

    /// The version of the specification that it is written in.
    ///
    /// # Errors
    /// When that is not spoken, or not a text.
    pub fn version(&self) -> Result<Version, Error> {
        match self.0.get("cniVersion") {
            None | Some(Value::Null) => Err(Error::Version { version: "(none)".to_owned() }),
            Some(Value::String(text)) => {
                Version::parse(text).ok_or_else(|| Error::Version { version: shown(&Value::from(text.as_str())) })
            }
            Some(other) => Err(Error::Decode { what: format!("`cniVersion` is {}, a text is expected", shown(other)) }),
        }
    }

    /// The version that VERSION is asked in, whether it is spoken or not: the answer repeats it.
    pub fn asked_version(&self) -> Option<String> {
        let text = self.0.get("cniVersion")?.as_str()?;
        let numbers: Vec<_> = text.split('.').collect();
        let sound =
            |number: &&str| !number.is_empty() && number.len() < 9 && number.bytes().all(|b| b.is_ascii_digit());
        (numbers.len() == 3 && numbers.iter().all(sound)).then(|| text.to_owned())
    }

    /// The network's name.
    ///
    /// # Errors
    /// When it is missing or no name as the specification has them.
    pub fn network(&self) -> Result<Identifier, Error> {
        let mut mistakes = Mistakes::default();
        let name = match self.root().text("name", &mut mistakes) {
            Some(text) => Identifier::new(text).map_err(|error| mistakes.push(format!("`name`: {error}"))).ok(),
            None => {
                if self.root().get("name").is_none() {
                    mistakes.push("`name` is missing: expected the network's name".to_owned());
                }
                None
            }
        };
        match mistakes.none_or(name)? {
            Some(name) => Ok(name),
            None => Err(Error::Configuration { mistakes: vec!["`name` is missing".to_owned()] }),
        }
    }

    /// As JSON, for a plugin that is executed.
    pub fn to_text(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    /// The whole of it.
    pub fn root(&self) -> Object<'_> {
        Object { path: String::new(), map: &self.0 }
    }
}

impl Mistakes {
    /// Adds one.
    pub fn push(&mut self, mistake: String) {
        self.0.push(mistake);
    }

    /// The value, if there were none.
    ///
    /// # Errors
    /// All of them.
    pub fn none_or<T>(self, value: T) -> Result<T, Error> {
        if self.0.is_empty() { Ok(value) } else { Err(Error::Configuration { mistakes: self.0 }) }
    }

    fn wrong(&mut self, path: &str, value: &Value, expected: &str) {
        self.push(format!("`{path}` is {}: expected {expected}", shown(value)));
    }
}

impl<'a> Object<'a> {
    /// The value of a key; nothing when it is `null`. The key that is written exactly so is preferred.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.find(key).filter(|value| !value.is_null())
    }

    /// Whether a key is there, be it with `null`, as Go writes an empty list.
    pub fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    fn find(&self, key: &str) -> Option<&'a Value> {
        let in_any_case = || self.map.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value);
        self.map.get(key).or_else(in_any_case)
    }

    /// The object as it is.
    pub fn map(&self) -> &'a Map<String, Value> {
        self.map
    }

    /// The path to a key, as it is told to people: `ipam.ranges[0][1].subnet`.
    pub fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// A text.
    pub fn text(&self, key: &str, mistakes: &mut Mistakes) -> Option<&'a str> {
        self.read(key, mistakes, "a text", Value::as_str)
    }

    /// `true` or `false`.
    pub fn flag(&self, key: &str, mistakes: &mut Mistakes) -> Option<bool> {
        self.read(key, mistakes, "true or false", Value::as_bool)
    }

    /// A whole number that 32 bits hold.
    pub fn number(&self, key: &str, mistakes: &mut Mistakes) -> Option<u32> {
        let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
        self.read(key, mistakes, "a whole number, not negative", number)
    }

    /// A whole number that 64 bits hold: bits a second.
    pub fn quantity(&self, key: &str, mistakes: &mut Mistakes) -> Option<u64> {
        self.read(key, mistakes, "a whole number, not negative", Value::as_u64)
    }

    /// A text that says something more; an empty one says nothing.
    pub fn parsed<T: FromStr>(&self, key: &str, mistakes: &mut Mistakes, expected: &str) -> Option<T> {
        let text = self.text(key, mistakes).filter(|text| !text.is_empty())?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            mistakes.wrong(&self.path(key), &Value::from(text), expected);
        }
        parsed
    }

    /// A path that says where from anywhere; an empty one says nothing.
    pub fn absolute_path(&self, key: &str, mistakes: &mut Mistakes) -> Option<&'a Path> {
        let text = self.text(key, mistakes).filter(|text| !text.is_empty())?;
        if !Path::new(text).is_absolute() || text.contains('\0') {
            mistakes.push(format!("`{}` is {}: expected an absolute path", self.path(key), text.escape_debug()));
            return None;
        }
        Some(Path::new(text))
    }

    /// An object.
    pub fn object(&self, key: &str, mistakes: &mut Mistakes) -> Option<Object<'a>> {
        let map = self.read(key, mistakes, "an object", Value::as_object)?;
        Some(Object { path: self.path(key), map })
    }

    /// A list of objects.
    pub fn objects(&self, key: &str, mistakes: &mut Mistakes) -> Vec<Object<'a>> {
        let list = self.read(key, mistakes, "a list of objects", Value::as_array);
        objects(&self.path(key), list.map(Vec::as_slice).unwrap_or_default(), mistakes)
    }

    /// A list of lists of objects.
    pub fn object_lists(&self, key: &str, mistakes: &mut Mistakes) -> Vec<Vec<Object<'a>>> {
        let list = self.read(key, mistakes, "a list of lists", Value::as_array);
        let mut lists = Vec::new();
        for (index, value) in list.into_iter().flatten().enumerate() {
            let path = format!("{}[{index}]", self.path(key));
            match value.as_array() {
                Some(inner) => lists.push(objects(&path, inner, mistakes)),
                None => mistakes.wrong(&path, value, "a list of objects"),
            }
        }
        lists
    }

    /// A list of texts.
    pub fn texts(&self, key: &str, mistakes: &mut Mistakes) -> Vec<String> {
        let all = |value: &Value| value.as_array()?.iter().map(|text| Some(text.as_str()?.to_owned())).collect();
        self.read(key, mistakes, "a list of texts", all).unwrap_or_default()
    }

    /// The first of these keys that is set to anything but nothing (`false`, 0, an empty text, list or object), with its
    /// path and its value as told to people.
    pub fn first_set(&self, keys: &[&str]) -> Option<(String, String)> {
        keys.iter().find_map(|key| {
            let value = self.get(key)?;
            let nothing = match value {
                Value::Null => true,
                Value::Bool(flag) => !flag,
                Value::Number(number) => number.as_f64() == Some(0.0),
                Value::String(text) => text.is_empty(),
                Value::Array(list) => list.is_empty(),
                Value::Object(map) => map.is_empty(),
            };
            (!nothing).then(|| (self.path(key), shown(value)))
        })
    }

    fn read<T>(
        &self,
        key: &str,
        mistakes: &mut Mistakes,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.get(key)?;
        let result = read(value);
        if result.is_none() {
            mistakes.wrong(&self.path(key), value, expected);
        }
        result
    }
}

fn objects<'a>(path: &str, list: &'a [Value], mistakes: &mut Mistakes) -> Vec<Object<'a>> {
    let mut objects = Vec::new();
    for (index, value) in list.iter().enumerate() {
        let path = format!("{path}[{index}]");
        match value.as_object() {
            Some(map) => objects.push(Object { path, map }),
            None => mistakes.wrong(&path, value, "an object"),
        }
    }
    objects
}

/// A value as it is told to people: short, on one line.
pub fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 80 { text } else { text.chars().take(80).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn what_is_no_configuration_is_told_so_with_code_6() {
        let deep = "[".repeat(100_000);
        let nested = format!(r#"{{"a":{}{}}}"#, "[".repeat(500), "]".repeat(500));
        for text in ["", " \n", "{", "[]", "null", "5", "{\"a\":}", "\0", "{}{}", &deep, &nested] {
            assert_eq!(Document::parse(text.as_bytes()).unwrap_err().code(), 6, "{:.40}", text);
        }
        assert_eq!(Document::parse(b"\xff\xfe").unwrap_err().code(), 6);
    }

    #[test]
    fn versions_that_are_not_spoken_are_code_1_and_values_that_are_none_code_6() {
        for (text, code) in [
            (r#"{}"#, 1),
            (r#"{"cniVersion": null}"#, 1),
            (r#"{"cniVersion": "0.2.0"}"#, 1),
            (r#"{"cniVersion": "1.0"}"#, 1),
            (r#"{"cniVersion": ""}"#, 1),
            (r#"{"cniVersion": 1.0}"#, 6),
            (r#"{"cniVersion": ["1.0.0"]}"#, 6),
        ] {
            assert_eq!(Document::parse(text.as_bytes()).unwrap().version().unwrap_err().code(), code, "{text}");
        }
        for version in Version::ALL {
            let text = format!(r#"{{"cniVersion": "{version}"}}"#);
            assert_eq!(Document::parse(text.as_bytes()).unwrap().version().unwrap(), version);
        }
    }

    #[test]
    fn a_key_is_found_in_any_case_and_the_exact_one_first() {
        let document = Document::parse(br#"{"HostPort": 1, "MTU": 5, "mtu": 6, "Mtu": 7, "hostip": null}"#).unwrap();
        let (root, mut mistakes) = (document.root(), Mistakes::default());
        assert_eq!((root.number("hostPort", &mut mistakes), root.number("mtu", &mut mistakes)), (Some(1), Some(6)));
        assert!(root.has("hostIP") && root.get("hostIP").is_none() && !root.has("host"));
    }

    #[test]
    fn of_two_equal_keys_the_last_counts_and_a_long_value_is_shown_short() {
        let document = Document::parse(br#"{"a": 1, "a": "x"}"#).unwrap();
        assert_eq!(document.root().text("a", &mut Mistakes::default()), Some("x"));
        assert_eq!(shown(&Value::from("ä".repeat(500))).chars().count(), 81);
    }
}
