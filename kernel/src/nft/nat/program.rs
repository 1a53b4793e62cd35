//! The table itself, its sets, chains and rules, which never change: what the elements mean.
//!
//! In the words of `nft`:
//!
//! ```text
//! chain prerouting  { type nat hook prerouting priority dstnat + 5; fib daddr type local goto ports }
//! chain output      { type nat hook output priority -95; fib daddr type local goto ports }
//! chain ports       { meta l4proto @protocols dnat ip to ip daddr . meta l4proto . th dport map @addressed4
//!                     meta l4proto @protocols dnat ip to meta l4proto . th dport map @ports4 }
//! chain postrouting { type nat hook postrouting priority srcnat - 5
//!                     ct status dnat ip daddr . meta l4proto . th dport vmap @flows4
//!                     ip saddr vmap @leaving4 }
//! chain near        { ip saddr 127.0.0.0/8 masquerade fully-random; ip saddr @near4 masquerade fully-random }
//! chain everyone    { masquerade fully-random }
//! chain loopback    { type filter hook prerouting priority raw; iif != "lo" ip daddr 127.0.0.0/8 drop }
//! chain loopback-out { type filter hook output priority raw
//!                     ip6 saddr ::1 ip6 daddr ::1 meta l4proto @protocols
//!                     ip6 saddr set meta l4proto . th dport map @loopback6 }
//! chain loopback-in { type filter hook input priority 150; iif != "lo" ip6 saddr ::1 ip6 daddr set ::1 }
//! ```
//!
//! and the first ones for IPv6 as well. `loopback` is there because host ports on 127.0.0.1 need `route_localnet`, with which a
//! pod could reach what the node offers to itself alone (CVE-2020-8558). The last two are there because IPv6 has no such
//! switch: what comes over a link for `::1` is dropped before anybody can say otherwise (`ip6_rcv_core`; with br_netfilter even
//! what connection tracking has just made of an answer). So the question gets another address of the node before it is
//! tracked, and the answer gets `::1` back when it has arrived.

use std::net::{Ipv4Addr, Ipv6Addr};

use backends::ruleset::{Match, Rule, Verdict};
use ipam::{Family, Mac};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::TABLE;
use super::element::{Set, none_or};
use super::fixed::Fixed;
use super::sets;
use super::transaction::Transaction;
use crate::error::Result;
use crate::netlink::{Body, Request, Socket};
use crate::nft::chain::{CHAIN_NAME, CHAIN_TABLE};
use crate::nft::uapi::{ACCEPT, GOTO};
use crate::nft::{
    GENERIC, Kind, LIST_ELEMENT, RULE_CHAIN, RULE_EXPRESSIONS, RULE_TABLE, RULE_USERDATA, TABLE_NAME, TABLE_USERDATA,
    rule, transaction,
};

/// The chains that [`Set::Flows`] leads to.
pub(super) const NEAR: &str = "near";
pub(super) const ALL: &str = "everyone";
pub(super) const PORTS: &str = "ports";
/// What the names of the chains that [`Set::Leaving`] leads to begin with.
const LEAVING: &str = "leaving-";

/// Stands on the table and on each rule. The number is raised with the rules.
const COMMENT: &str = "towpath-pods 1";

/// Where a verdict leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Goto {
    Accept,
    Chain(String),
}

impl Goto {
    /// `enum nft_verdicts`
    pub(super) fn code(&self) -> i32 {
        match self {
            Goto::Accept => ACCEPT,
            Goto::Chain(_) => GOTO,
        }
    }
}

/// The base chains: name, type, hook (`NF_INET_…`), priority (nft(8)).
const BASE_CHAINS: [(&str, &str, u32, i32); 6] = [
    ("prerouting", "nat", 0, -95),
    ("output", "nat", 3, -95),
    ("postrouting", "nat", 4, 95),
    ("loopback", "filter", 0, -300),
    ("loopback-out", "filter", 3, -300),
    // Behind the place where answers get their sources back (NF_IP6_PRI_NAT_SRC).
    ("loopback-in", "filter", 1, 150),
];
const CHAINS: [&str; 3] = [PORTS, NEAR, ALL];

fn rules() -> impl Iterator<Item = (&'static str, Fixed)> {
    let [v4, v6] = Family::ALL.map(|family| {
        [
            (PORTS, Fixed::Ports(Set::Addressed(family), family)),
            (PORTS, Fixed::Ports(Set::Ports(family), family)),
            ("postrouting", Fixed::Flows(family)),
            ("postrouting", Fixed::Leaving(family)),
            (NEAR, Fixed::Near(family)),
        ]
    });
    let both = [
        ("prerouting", Fixed::ToPorts),
        ("output", Fixed::ToPorts),
        (NEAR, Fixed::Loopback),
        (ALL, Fixed::All),
        ("loopback", Fixed::Martian),
        ("loopback-out", Fixed::LoopbackOut),
        ("loopback-in", Fixed::LoopbackIn),
    ];
    both.into_iter().chain(v4).chain(v6)
}

/// Whether the table's rules are all there and nobody has exchanged one.
pub(super) fn is_whole(socket: &mut Socket) -> Result<bool> {
    let doing = "reading the rules of the nftables table inet towpath-pods";
    let request = Request { kind: Kind::GetRule.number(), flags: 0, doing };
    let answers = socket.dump(&request, |body| {
        body.fixed(&GENERIC);
        body.text(RULE_TABLE, TABLE);
    })?;
    let comment = transaction::comment(COMMENT);
    let ours = answers.filter(|message| {
        let rule = message.attributes(GENERIC.len());
        // Kernels before 4.7 list the rules of all tables of the family.
        rule.get(RULE_TABLE).and_then(|table| table.text()) == Some(TABLE)
            && rule.get(RULE_USERDATA).is_some_and(|data| data.bytes == comment)
    });
    Ok(ours.count() == rules().count())
}

/// Makes the table, or puts its chains right; elements that are there stay. Others may do the same at the same time.
pub(super) fn write(transaction: &mut Transaction) {
    let make = libc::NLM_F_CREATE;
    transaction.order((Kind::NewTable, make), "the head", |body| {
        body.text(TABLE_NAME, TABLE);
        body.bytes(TABLE_USERDATA, &transaction::comment(COMMENT));
    });
    sets::write(transaction);
    for name in CHAINS {
        transaction.order((Kind::NewChain, make), name, |body| {
            body.text(CHAIN_TABLE, TABLE);
            body.text(CHAIN_NAME, name);
        });
    }
    for (name, kind, hook, priority) in BASE_CHAINS {
        transaction.order((Kind::NewChain, make), name, |body| {
            body.text(CHAIN_TABLE, TABLE);
            body.text(CHAIN_NAME, name);
            crate::nft::chain::hook(body, kind, (hook, priority));
        });
    }
    for name in CHAINS.into_iter().chain(BASE_CHAINS.map(|(name, ..)| name)) {
        transaction.order((Kind::DeleteRule, 0), name, |body| {
            body.text(RULE_TABLE, TABLE);
            body.text(RULE_CHAIN, name);
        });
    }
    for (chain, fixed) in rules() {
        write_rule(transaction, chain, COMMENT, |list| fixed.encode(list));
    }
}

fn write_rule(transaction: &mut Transaction, chain: &str, comment: &str, expressions: impl FnOnce(&mut Body<'_>)) {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_APPEND;
    transaction.order((Kind::NewRule, flags), chain, |body| {
        body.text(RULE_TABLE, TABLE);
        body.text(RULE_CHAIN, chain);
        body.nest(RULE_EXPRESSIONS, expressions);
        body.bytes(RULE_USERDATA, &transaction::comment(comment));
    });
}

/// The chain through which pods leave that keep their addresses towards these networks.
pub(super) fn leaving_chain(spared: &[IpNet]) -> String {
    let mut words: Vec<String> = spared.iter().map(|net| net.trunc().to_string()).collect();
    words.sort();
    words.dedup();
    format!("{LEAVING}{}", Mac::derived_from(&words.join(" ")).to_string().replace(':', ""))
}

/// Writes that chain, which is not there. Its name says what is in it, so it never changes.
pub(super) fn write_leaving_chain(transaction: &mut Transaction, name: &str, spared: &[IpNet]) {
    transaction.order((Kind::NewChain, libc::NLM_F_CREATE | libc::NLM_F_EXCL), name, |body| {
        body.text(CHAIN_TABLE, TABLE);
        body.text(CHAIN_NAME, name);
    });
    // Multicast is for the link alone (RFC 5771, RFC 4291 section 2.7).
    let multicast = [
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4)),
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8)),
    ];
    let spared = spared.iter().copied().chain(multicast);
    let spared = spared.map(|net| Rule { matches: vec![Match::Destination(net.trunc())], verdict: Verdict::Return });
    let rest = Rule { matches: Vec::new(), verdict: Verdict::MasqueradeFullyRandom };
    for rule in spared.chain([rest]) {
        let expressions = rule::compile(&rule).unwrap_or_default();
        // Not the comment that is counted.
        write_rule(transaction, name, "towpath-pods", |list| {
            for expression in &expressions {
                list.nest(LIST_ELEMENT, |element| expression.encode(element));
            }
        });
    }
}

/// Whether there is a table. `nft list table inet towpath-pods`
pub(super) fn is_there(socket: &mut Socket) -> Result<bool> {
    let request = Request { kind: Kind::GetTable.number(), flags: 0, doing: "looking for a table" };
    let answers = socket.query(&request, |body| {
        body.fixed(&GENERIC);
        body.text(TABLE_NAME, TABLE);
    });
    Ok(none_or(answers)?.is_some())
}

/// Whether there is a chain of this name. `nft list chain inet towpath-pods NAME`
pub(super) fn has_chain(socket: &mut Socket, name: &str) -> Result<bool> {
    let request = Request { kind: Kind::GetChain.number(), flags: 0, doing: "looking for a chain" };
    let answers = socket.query(&request, |body| {
        body.fixed(&GENERIC);
        body.text(CHAIN_TABLE, TABLE);
        body.text(CHAIN_NAME, name);
    });
    Ok(none_or(answers)?.is_some())
}

/// Deletes a chain with its rules.
pub(super) fn delete_chain(transaction: &mut Transaction, name: &str) {
    transaction.order((Kind::DeleteChain, 0), name, |body| {
        body.text(CHAIN_TABLE, TABLE);
        body.text(CHAIN_NAME, name);
    });
}
