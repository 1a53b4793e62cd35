//! [`Tag`]: whose a thing is that the plugin made for a pod outside of its wire: network, container and interface, in
//! words that fit into an nftables comment and an interface's alias.
//!
//! The kernel keeps it with the thing, so that whoever deletes, checks or collects needs no note of its own.

use std::fmt;

use ipam::Mac;
use ipam::ledger::Owner;

/// What every tag begins with. Not the daemon's tag, which is `towpath` and its subnet file.
const PREFIX: &str = "towpath-pod";
/// Octets of the network's part and of the pod's: both together fit into nft's 128 octets of comment.
const LONGEST_NETWORK: usize = 32;
const LONGEST_OWNER: usize = 80;

/// Whose something is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag(String);

impl Tag {
    /// What every tag begins with.
    pub const PREFIX: &str = PREFIX;

    /// The tag of what is made for this interface of this container on this network.
    pub fn new(network: &str, owner: &Owner) -> Tag {
        Tag(format!("{}{}", network_part(network), shortened(&owner.to_string(), LONGEST_OWNER)))
    }

    /// As it is written to the kernel.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether what is written there is the tag of something on this network.
    pub fn is_of_network(text: &str, network: &str) -> bool {
        text.starts_with(&network_part(network))
    }

    /// The container and interface in a tag's text, for a sentence; all of it when it is none.
    pub fn owner_in(text: &str) -> &str {
        text.strip_prefix(PREFIX).and_then(|rest| rest.rsplit_once(' ')).map_or(text, |(_, owner)| owner)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn network_part(network: &str) -> String {
    format!("{PREFIX} {} ", shortened(network, LONGEST_NETWORK))
}

/// A text that is too long, or that `nft` could not list so that it can be read again, keeps the beginning of what is
/// plain in it, and a hash of the whole tells it from others.
fn shortened(text: &str, longest: usize) -> String {
    let plain = |c: &char| c.is_ascii_graphic() && *c != '"';
    if text.len() <= longest && text.chars().all(|c| plain(&c)) {
        return text.to_owned();
    }
    let digits = Mac::derived_from(text).to_string().replace(':', "");
    let plain: String = text.chars().filter(plain).take(longest - digits.len() - 1).collect();
    format!("{plain}~{digits}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use ipam::ledger::Identifier;

    use super::*;

    fn tag(network: &str, container: &str) -> Tag {
        Tag::new(network, &Owner { container: Identifier::new(container).unwrap(), ifname: "eth0".to_owned() })
    }

    #[test]
    fn a_tag_says_whose_it_is_and_is_told_from_those_of_other_networks() {
        let written = tag("cbr0", "abc");
        assert_eq!(written.as_str(), "towpath-pod cbr0 abc/eth0");
        assert!(Tag::is_of_network(written.as_str(), "cbr0"));
        assert!(!Tag::is_of_network(written.as_str(), "cbr") && !Tag::is_of_network("something else", "cbr0"));
        assert_eq!((Tag::owner_in(written.as_str()), Tag::owner_in("foreign")), ("abc/eth0", "foreign"));
    }

    #[test]
    fn long_names_give_short_tags_that_still_differ() {
        let long = |end: &str| tag(&"n".repeat(300), &format!("{}{end}", "c".repeat(300)));
        assert!(long("a").as_str().len() < 128);
        assert_ne!(long("a"), long("b"));
        let quoted = Tag::new("n", &Owner { container: Identifier::new("c").unwrap(), ifname: "e\"\u{1}0".to_owned() });
        assert!(quoted.as_str().starts_with("towpath-pod n c/e0~") && !quoted.as_str().contains('"'));
        assert!(Tag::is_of_network(long("a").as_str(), &"n".repeat(300)));
        assert!(!Tag::is_of_network(long("a").as_str(), &"n".repeat(301)));
    }
}
