//! [`Endpoint`]: where etcd answers, and the prefix of the keys there.

use super::flags::Wrong;

/// One member of etcd as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// `None` where the scheme was left out.
    pub scheme: Option<Scheme>,
    /// Host and port.
    pub authority: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    fn prefix(self) -> &'static str {
        match self {
            Scheme::Http => "http://",
            Scheme::Https => "https://",
        }
    }
}

impl Endpoint {
    /// The URL, with a scheme where none was written.
    pub fn url(&self, otherwise: Scheme) -> String {
        format!("{}{}", self.scheme.unwrap_or(otherwise).prefix(), self.authority)
    }
}

/// A comma list of URLs.
pub(super) fn list(text: &str) -> Result<Vec<Endpoint>, Wrong> {
    let endpoints = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let endpoints = endpoints.map(parse).collect::<Result<Vec<Endpoint>, Wrong>>()?;
    if endpoints.is_empty() {
        return Err(Wrong::new("it names no endpoint", EXAMPLE));
    }
    Ok(endpoints)
}

const EXAMPLE: &str = "write URLs with commas between them, as in http://192.0.2.1:2379,http://192.0.2.2:2379";

fn parse(text: &str) -> Result<Endpoint, Wrong> {
    let wrong = |why: &str| Wrong::new(format!("`{text}` {why}"), EXAMPLE);
    let (scheme, rest) = match text.split_once("://") {
        None => (None, text),
        Some(("http", rest)) => (Some(Scheme::Http), rest),
        Some(("https", rest)) => (Some(Scheme::Https), rest),
        Some(_) => return Err(wrong("is neither http nor https")),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains('@') {
        let fix = "give name and password by --etcd-username and --etcd-password";
        return Err(Wrong::new("an endpoint must not carry a name or password", fix));
    }
    let (host, port) = split(authority).ok_or_else(|| wrong("has no host and port"))?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.:[]%".contains(c);
    if host.is_empty() || !host.chars().all(allowed) {
        return Err(wrong("has a host that cannot be"));
    }
    if port.parse::<u16>().is_err() || port == "0" {
        return Err(wrong("has a port that is not from 1 to 65535"));
    }
    Ok(Endpoint { scheme, authority: format!("{host}:{port}") })
}

/// Host and port of `host:port`, `[v6]:port`; without a port it is 2379, etcd's own.
fn split(authority: &str) -> Option<(&str, &str)> {
    let after_bracket = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']').map(|end| end + 2)?,
        None => 0,
    };
    let (bracketed, rest) = authority.split_at_checked(after_bracket)?;
    match rest.split_once(':') {
        None => Some((authority, "2379")),
        Some((host, port)) if bracketed.is_empty() => Some((host, port)),
        Some(("", port)) => Some((bracketed, port)),
        Some(_) => None,
    }
}

/// What all keys begin with, without repeated or trailing slashes. One that begins with no slash stays so: flannel's does.
pub(super) fn prefix(text: &str) -> Result<String, Wrong> {
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return Err(Wrong::new("every key of etcd would be ours", "write a prefix, as in /coreos.com/network"));
    }
    let root = if text.starts_with('/') { "/" } else { "" };
    Ok(format!("{root}{}", parts.join("/")))
}

/// The text without the name and password of a URL in it, to be shown.
pub(super) fn hidden_login(text: &str) -> String {
    let part = |part: &str| match (part.split_once("://"), part.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://(hidden)@{host}"),
        (None, Some((_, host))) => format!("(hidden)@{host}"),
        (_, None) => part.to_owned(),
    };
    text.split(',').map(part).collect::<Vec<String>>().join(",")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Scheme, hidden_login, list, prefix};

    #[test]
    fn endpoints_are_urls_or_host_and_port() {
        let urls = |text: &str| -> Vec<String> { list(text).unwrap().iter().map(|e| e.url(Scheme::Http)).collect() };
        assert_eq!(urls("http://a:1,https://b:2/"), ["http://a:1", "https://b:2"]);
        assert_eq!(urls(" 192.0.2.1:2379 , "), ["http://192.0.2.1:2379"]);
        assert_eq!(urls("https://[2001:db8::1]:2379,[::1]"), ["https://[2001:db8::1]:2379", "http://[::1]:2379"]);
        assert_eq!(urls("etcd.example"), ["http://etcd.example:2379"]);
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_its_reason() {
        for (text, why) in [
            ("", "names no endpoint"),
            (",,", "names no endpoint"),
            ("unix:///x", "neither http nor https"),
            ("http://", "cannot be"),
            ("http://a:b", "port"),
            ("http://a:0", "port"),
            ("http://a:99999", "port"),
            ("http://a:1/v3", "port"),
            ("http://a b:1", "cannot be"),
            ("http://u:p@a:1", "name or password"),
            ("http://[::1", "no host and port"),
            ("http://[::1]x:1", "no host and port"),
            ("http://2001:db8::1", "port"),
        ] {
            let wrong = list(text).unwrap_err();
            assert!(wrong.why.contains(why), "{text}: {}", wrong.why);
        }
    }

    #[test]
    fn a_password_in_an_endpoint_is_not_repeated() {
        let wrong = list("http://root:hunter2@a:1").unwrap_err();
        assert!(!format!("{} {}", wrong.why, wrong.fix).contains("hunter2"));
        let shown = hidden_login("http://b:1,http://root:hunter2@a:1,x:hunter2@c");
        assert_eq!(shown, "http://b:1,http://(hidden)@a:1,(hidden)@c");
    }

    #[test]
    fn prefixes_lose_the_slashes_that_say_nothing() {
        for (text, meant) in [("/coreos.com/network", "/coreos.com/network"), ("a/b//", "a/b"), ("//a//b", "/a/b")] {
            assert_eq!(prefix(text).unwrap(), meant);
        }
        assert!(prefix("/").is_err());
    }
}
