//! [`PrefixLists`]: prefixes by a name, for policies that ask for the same.

use std::collections::BTreeMap;

use bgp::policy::PrefixRange;

use super::conditions::prefix_range;
use crate::netconf::json::Value;
use crate::netconf::object::{Many, Object, Wrong};
use crate::spelling;

/// The lists of one file.
const LISTS: Many<(String, Value)> = Many {
    read: Value::members,
    most: 1000,
    form: "write an object of lists, as in {\"services\": [\"198.51.100.0/22 ge 24 le 32\"]}",
    fewer: "remove some",
};

/// All of them.
#[derive(Debug, Default)]
pub(super) struct PrefixLists(BTreeMap<String, Vec<PrefixRange>>);

impl PrefixLists {
    /// Reads them.
    pub fn read(top: &mut Object<'_, '_>) -> PrefixLists {
        let mut lists = PrefixLists::default();
        for (name, value) in top.many("PrefixLists", &LISTS) {
            let path = format!("PrefixLists.{}", name.chars().take(80).collect::<String>());
            let items = if let Value::List(list) = value { list.as_slice() } else { std::slice::from_ref(value) };
            if items.is_empty() || lists.0.contains_key(name) {
                let why = if items.is_empty() { "it is empty" } else { "there is another of this name" };
                top.mistake(&path, "", (why, "write its prefixes in one list"));
            }
            let mut ranges = Vec::new();
            for item in items {
                match prefix_range(item) {
                    Ok(range) => ranges.push(range),
                    Err((why, fix)) => top.mistake(&path, &item.to_string(), (why, fix)),
                }
            }
            lists.0.insert(name.clone(), ranges);
        }
        lists
    }

    /// The list that a value names.
    pub fn named(&self, value: &Value) -> Result<Vec<PrefixRange>, Wrong> {
        let name = if let Value::Text(text) = value { text.as_str() } else { "" };
        self.0.get(name).cloned().ok_or_else(|| {
            let near = spelling::nearest(name, self.0.keys().map(String::as_str));
            let all = || self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let fix = match near {
                Some(near) => format!("did you mean {near}?"),
                None if self.0.is_empty() => "write PrefixLists beside Policies".to_owned(),
                None => format!("there are {}", all()),
            };
            ("PrefixLists has none of this name".to_owned(), fix)
        })
    }
}
