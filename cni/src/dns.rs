//! [`Dns`]: what a result says about names. It is only passed on; the runtime writes the pod's `resolv.conf`.

use std::path::Path;

use serde_json::{Value, json};

use crate::document::{Mistakes, Object};
use crate::error::Error;
use crate::file;

/// No `resolv.conf` is longer.
const LONGEST: u64 = 1 << 20;

/// Name servers and the like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    nameservers: Vec<String>,
    domain: String,
    search: Vec<String>,
    options: Vec<String>,
}

impl Dns {
    /// The `dns` object of a configuration or a result.
    pub fn read(root: &Object<'_>, mistakes: &mut Mistakes) -> Dns {
        let Some(dns) = root.object("dns", mistakes) else { return Dns::default() };
        Dns {
            nameservers: dns.texts("nameservers", mistakes),
            domain: dns.text("domain", mistakes).unwrap_or_default().to_owned(),
            search: dns.texts("search", mistakes),
            options: dns.texts("options", mistakes),
        }
    }

    /// What a file like /etc/resolv.conf says (`ipam.resolvConf`), resolv.conf(5).
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_file(path: &Path) -> Result<Dns, Error> {
        let text = file::read(path, LONGEST).map_err(|source| Error::File { path: path.to_owned(), source })?;
        Ok(Dns::parse(&String::from_utf8_lossy(&text)))
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Dns::default()
    }

    /// This, or when it says nothing, what another says.
    pub fn or(self, other: Dns) -> Dns {
        if self.is_empty() { other } else { self }
    }

    /// As a result has it: what is empty is left out.
    pub fn to_json(&self) -> Value {
        let mut object = serde_json::Map::new();
        for (key, list) in [("nameservers", &self.nameservers), ("search", &self.search), ("options", &self.options)] {
            if !list.is_empty() {
                object.insert(key.to_owned(), json!(list));
            }
        }
        if !self.domain.is_empty() {
            object.insert("domain".to_owned(), json!(self.domain));
        }
        Value::Object(object)
    }

    fn parse(text: &str) -> Dns {
        let mut dns = Dns::default();
        for line in text.lines() {
            let mut words = line.split_whitespace().map(str::to_owned);
            match words.next().as_deref() {
                Some("nameserver") => dns.nameservers.extend(words.next()),
                Some("domain") => dns.domain = words.next().unwrap_or_default(),
                Some("search") => dns.search.extend(words),
                Some("options") => dns.options.extend(words),
                _ => {}
            }
        }
        dns
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_resolv_conf_is_read_as_the_resolver_reads_it() {
        let text =
            "# no\nnameserver 192.0.2.1\nnameserver 2001:db8::1\ndomain a.example\nsearch b c\n\noptions ndots:5\n";
        assert_eq!(
            Dns::parse(text).to_json(),
            json!({ "nameservers": ["192.0.2.1", "2001:db8::1"], "domain": "a.example", "search": ["b", "c"],
                    "options": ["ndots:5"] })
        );
        assert!(Dns::parse("").is_empty());
    }
}
