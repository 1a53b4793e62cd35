//! [`Prefixes`]: a list of prefixes, each with the lengths that it stands for.

use std::fmt;

use ipnet::IpNet;

/// A prefix, and how long what lies in it may be: `10.0.0.0/8`, 16 to 24.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PrefixRange {
    net: IpNet,
    at_least: u8,
    at_most: u8,
}

impl PrefixRange {
    /// The prefix itself.
    pub fn exactly(net: IpNet) -> PrefixRange {
        PrefixRange { net: net.trunc(), at_least: net.prefix_len(), at_most: net.prefix_len() }
    }

    /// The prefix and everything in it.
    pub fn or_longer(net: IpNet) -> PrefixRange {
        PrefixRange { at_most: net.max_prefix_len(), ..PrefixRange::exactly(net) }
    }

    /// What lies in the prefix and is between these lengths. `None` when there can be no such: they must be in order, not shorter than the
    /// prefix and not longer than an address.
    pub fn between(net: IpNet, at_least: u8, at_most: u8) -> Option<PrefixRange> {
        let sound = net.prefix_len() <= at_least && at_least <= at_most && at_most <= net.max_prefix_len();
        sound.then(|| PrefixRange { net: net.trunc(), at_least, at_most })
    }

    /// Whether a prefix is one of these.
    pub fn has(&self, net: &IpNet) -> bool {
        (self.at_least..=self.at_most).contains(&net.prefix_len()) && self.net.contains(net)
    }
}

/// A list of them; a prefix is in it when it is in any.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Prefixes(pub Vec<PrefixRange>);

impl Prefixes {
    /// Whether a prefix is in the list.
    pub fn has(&self, net: &IpNet) -> bool {
        self.0.iter().any(|range| range.has(net))
    }
}

impl fmt::Display for PrefixRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.net)?;
        match (self.at_least, self.at_most) {
            (least, most) if least == most && least == self.net.prefix_len() => Ok(()),
            (least, most) => write!(f, " ge {least} le {most}"),
        }
    }
}
