//! [`Allowlist`]: which settings the node's administrator lets configurations make, by the reference `tuning` plugin's own
//! file: a regular expression a line, which may match anywhere in the name as it is written. Without the file, all.

use std::io::ErrorKind;
use std::path::Path;

use regex_lite::Regex;

use crate::error::Error;
use crate::file;

const FILE: &str = "/etc/cni/tuning/allowlist.conf";
/// What is behind so many octets allows nothing.
const LIMIT: u64 = 64 << 10;

/// What is allowed.
#[derive(Debug)]
pub struct Allowlist(Vec<Regex>);

impl Allowlist {
    /// The node's; `None` where everything is allowed.
    ///
    /// # Errors
    /// When it cannot be read, or a line is no regular expression.
    pub fn of_node() -> Result<Option<Allowlist>, Error> {
        let path = Path::new(FILE);
        match file::read(path, LIMIT) {
            Ok(octets) => Allowlist::parse(&String::from_utf8_lossy(&octets)).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::File { path: path.to_owned(), source }),
        }
    }

    fn parse(text: &str) -> Result<Allowlist, Error> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let compile = |line| {
            Regex::new(line).map_err(|error| {
                let mistake = format!("{FILE} has the line {line:?}, which is no regular expression: {error}");
                Error::Configuration { mistakes: vec![mistake] }
            })
        };
        Ok(Allowlist(lines.map(compile).collect::<Result<_, _>>()?))
    }

    /// Refuses what no line allows.
    ///
    /// # Errors
    /// Each setting that is not allowed.
    pub fn check<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<(), Error> {
        let forbidden = names.filter(|name| !self.0.iter().any(|line| line.is_match(name)));
        let mistakes: Vec<String> = forbidden
            .map(|name| format!("`sysctl`: {name} is not allowed by any line of this node's {FILE}"))
            .collect();
        if mistakes.is_empty() { Ok(()) } else { Err(Error::Configuration { mistakes }) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_line_allows_what_it_matches_anywhere_and_none_allows_nothing() {
        let list = Allowlist::parse("^net\\.ipv4\\.conf\\.IFNAME\\.[a-z_]*$\n\n  somaxconn  \n").unwrap();
        list.check(["net.ipv4.conf.IFNAME.arp_filter", "net.core.somaxconn"].into_iter()).unwrap();
        let refused = list.check(["net.core.somaxconn", "net.ipv4.ip_forward", "net.a"].into_iter()).unwrap_err();
        assert!(matches!(&refused, Error::Configuration { mistakes } if mistakes.len() == 2), "{refused}");
        assert!(refused.to_string().contains("net.ipv4.ip_forward is not allowed"), "{refused}");
        Allowlist::parse("").unwrap().check(["net.a"].into_iter()).unwrap_err();
        assert!(Allowlist::parse("net\n(").unwrap_err().to_string().contains("\"(\""));
    }
}
