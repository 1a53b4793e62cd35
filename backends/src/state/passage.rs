//! [`Passage`]: two rules of ours at the end of iptables' chain FORWARD, where that one would let packets fall that our own
//! table accepts: a packet that one base chain of a hook drops has fallen, whoever accepts it in another (nft(8), `accept`).
//!
//! What is desired needs no map of its own: it follows from the forward rules of our table ([`Ruleset::forwards`]).

use ipnet::IpNet;

use crate::ruleset::{ChainKind, Match, Ruleset, Verdict};

/// How far iptables' chain FORWARD lets a network's packets through because of us. There is none where it lets fall nothing by
/// default and has no rule of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// It drops what nothing accepts, and has no rule of ours.
    Shut,
    /// It has some rule of ours, and not what is needed.
    Broken,
    /// `iptables -A FORWARD -s NET -j ACCEPT; iptables -A FORWARD -d NET -j ACCEPT`, before whatever drops the rest.
    Open,
}

impl Ruleset {
    /// Whether it accepts what is forwarded from and to a network.
    pub fn forwards(&self, network: &IpNet) -> bool {
        let mut rules = self.chains.iter().filter(|chain| chain.kind == ChainKind::Forward).flat_map(|it| &it.rules);
        rules.any(|rule| {
            rule.verdict == Verdict::Accept
                && matches!(rule.matches[..], [Match::Source(net)] if net.trunc() == network.trunc())
        })
    }
}
