//! What the flags about Kubernetes say: where the API is ([`ApiUrl`]) and what annotations begin with ([`AnnotationPrefix`]).

use std::fmt;
use std::path::PathBuf;

use backends::fingerprint::Fingerprint;

use super::flags::Wrong;
use super::settings::{KubernetesSettings, PeerObjects};
use super::written::{Entry, Written};

/// The part of what is meant that is about Kubernetes.
#[derive(Default)]
pub(super) struct KubeMeant {
    pub api_url: Option<ApiUrl>,
    pub kubeconfig: Option<PathBuf>,
    pub annotations: Option<AnnotationPrefix>,
    pub keeps_condition: bool,
    pub by_leases: bool,
    pub namespace: String,
}

impl KubeMeant {
    pub fn settle(self, written: &Written) -> KubernetesSettings {
        let named = written.entry("node-name").is_some_and(Entry::is_given);
        let namespace = self.namespace;
        let peers = if self.by_leases { PeerObjects::Leases { namespace } } else { PeerObjects::Nodes };
        KubernetesSettings {
            api_url: self.api_url,
            service: written.service.clone(),
            kubeconfig: self.kubeconfig,
            annotations: self.annotations.unwrap_or_default(),
            keeps_condition: self.keeps_condition,
            peers,
            own_pod: written.own_pod.clone().filter(|_| !named),
        }
    }
}

/// Where the API server answers: `https://192.0.2.1:6443`, perhaps with a path that all requests begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiUrl {
    /// TLS or not.
    pub encrypted: bool,
    /// A name, or an address without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// Empty, or a path that begins with a slash and does not end with one.
    pub path: String,
}

impl ApiUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// A clause that says what is wrong.
    pub fn parse(text: &str) -> Result<ApiUrl, String> {
        let (encrypted, rest) = match text.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            Some(_) => return Err("it is neither http nor https".to_owned()),
            // As kubectl reads it.
            None => (false, text),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err("it must not carry a name or password: write them into a kubeconfig".to_owned());
        }
        let (host, port) = match authority.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
            Some((host, rest)) => (host, rest.strip_prefix(':').or_else(|| rest.is_empty().then_some(""))),
            None => authority.split_once(':').map_or((authority, Some("")), |(host, port)| (host, Some(port))),
        };
        let port = match port {
            Some("") => Some(if encrypted { 443 } else { 80 }),
            port => port.and_then(|port| port.parse().ok()).filter(|port| *port > 0),
        };
        let port = port.ok_or("it has a port that is not from 1 to 65535")?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.:%".contains(c);
        if host.is_empty() || !host.chars().all(allowed) {
            return Err("it has a host that cannot be".to_owned());
        }
        if !path.chars().all(|c| c.is_ascii_graphic() && !"?#".contains(c)) {
            return Err("it has a path that cannot be".to_owned());
        }
        let (host, path) = (host.to_owned(), path.trim_end_matches('/').to_owned());
        Ok(ApiUrl { encrypted, host, port, path })
    }

    /// The API server as the kubelet names it to a pod: an address and a port.
    pub fn of_service(host: &str, port: &str) -> Option<ApiUrl> {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        ApiUrl::parse(&format!("https://{host}:{port}")).ok()
    }

    /// Host and port, as the header Host has them.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for ApiUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.encrypted { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

/// A URL given by a flag.
pub(super) fn url(text: &str) -> Result<ApiUrl, Wrong> {
    ApiUrl::parse(text).map_err(|why| Wrong::new(why, "write it as in https://192.0.2.1:6443"))
}

/// What flannel's annotations begin with: a domain and a slash, perhaps followed by a word and a dash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnotationPrefix(String);

impl Default for AnnotationPrefix {
    fn default() -> AnnotationPrefix {
        AnnotationPrefix("flannel.alpha.coreos.com/".to_owned())
    }
}

/// What annotations that are our own begin with.
pub const OWN_DOMAIN: &str = "towpath.network/";

impl AnnotationPrefix {
    /// The key of an annotation of our own: another network's is another.
    pub fn own_key(&self, name: &str) -> String {
        if *self == AnnotationPrefix::default() {
            return format!("{OWN_DOMAIN}{name}");
        }
        format!("{OWN_DOMAIN}{name}-{}", Fingerprint::of([self.as_str()]).short())
    }

    /// The key of an annotation.
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.0)
    }

    /// With its slash, and its dash if it has one.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which objects tell of peers, given by a flag: whether it is Lease objects.
pub(super) fn by_leases(text: &str) -> Result<bool, Wrong> {
    match text {
        "nodes" => Ok(false),
        "leases" => Ok(true),
        _ => Err(Wrong::new("it is neither nodes nor leases", "write nodes, or leases for objects of our own")),
    }
}

/// A namespace given by a flag.
pub(super) fn namespace(text: &str) -> Result<String, Wrong> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    // RFC 1123 section 2.1
    let label = !text.is_empty() && text.len() <= 63 && text.chars().all(allowed);
    if label && !text.starts_with('-') && !text.ends_with('-') {
        return Ok(text.to_owned());
    }
    Err(Wrong::new("it is no name of a namespace", "write the one of the DaemonSet, as in kube-flannel"))
}

/// A prefix given by a flag, completed as flannel does: a slash if there is none, a dash if something follows the slash.
pub(super) fn prefix(text: &str) -> Result<AnnotationPrefix, Wrong> {
    let (domain, word) = text.split_once('/').unwrap_or((text, ""));
    let fix =
        "write a domain in lower case, perhaps with a slash and a word: flannel.alpha.coreos.com, example.com/net-";
    let label = |label: &str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        // RFC 1123 section 2.1; the API server refuses keys that are not so.
        !label.is_empty() && label.chars().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    if !domain.contains('.') || domain.len() > 253 || !domain.split('.').all(label) {
        return Err(Wrong::new("it does not begin with a domain in lower case", fix));
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    // The longest name of ours is public-ipv6-overwrite; the API server takes 63 characters after the slash.
    let starts = word.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let is_word = word.is_empty() || starts && word.chars().all(allowed) && word.len() <= 40;
    if !is_word {
        return Err(Wrong::new("what follows the slash is no word in lower case of at most 40 letters", fix));
    }
    let dash = if word.is_empty() || word.ends_with('-') { "" } else { "-" };
    Ok(AnnotationPrefix(format!("{domain}/{word}{dash}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn urls_are_read_and_shown() {
        for (text, shown) in [
            ("https://192.0.2.1:6443", "https://192.0.2.1:6443"),
            ("https://api.example/", "https://api.example:443"),
            ("http://[fd00::1]:8080/k8s/clusters/x/", "http://[fd00::1]:8080/k8s/clusters/x"),
            ("https://[fd00::1]", "https://[fd00::1]:443"),
            ("localhost:8080", "http://localhost:8080"),
        ] {
            assert_eq!(ApiUrl::parse(text).unwrap().to_string(), shown);
        }
        for text in
            ["", "ftp://x", "https://", "https://a:0", "https://a:x", "https://u:p@a", "https://[::1]x", "https://a b"]
        {
            assert!(ApiUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn prefixes_are_completed_as_flannel_does() {
        for (text, key) in [
            ("flannel.alpha.coreos.com", "flannel.alpha.coreos.com/public-ip"),
            ("flannel.alpha.coreos.com/", "flannel.alpha.coreos.com/public-ip"),
            ("example.com/net", "example.com/net-public-ip"),
            ("example.com/net-", "example.com/net-public-ip"),
        ] {
            assert_eq!(prefix(text).unwrap().key("public-ip"), key);
        }
        for text in ["", "p", "a/b/c", "Example.com", "example..com", "/x", "example.com/A", "example.com/a/b", "-a.b"]
        {
            assert!(prefix(text).is_err(), "{text}");
        }
        assert_eq!(prefix("flannel.alpha.coreos.com").unwrap(), AnnotationPrefix::default());
    }
}
