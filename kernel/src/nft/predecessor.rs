//! What flannel's daemon leaves in netfilter: the chains `FLANNEL-POSTRTG` and `FLANNEL-FWD` with the jumps to them, as the
//! iptables over nftables writes them, and the tables `flannel-ipv4` and `flannel-ipv6` of its nftables mode. Removed once our
//! own rules stand in their place: until then they masquerade.
//!
//! One thing our table cannot do in their place: a packet that another base chain of the hook lets fall by its policy has fallen,
//! whoever accepts it elsewhere (nft(8), `accept`). Where somebody has said so of iptables' FORWARD (Docker does, and ufw),
//! flannel's FLANNEL-FWD is what lets pods through, and stays until rules of ours stand there (`passage`).
//!
//! The chains of the older iptables (`iptables-legacy`) are not seen here: no netlink speaks of them.

use super::batch::Batch;
use super::chain::{CHAIN_NAME, CHAIN_POLICY, CHAIN_TABLE};
use super::uapi::{
    DATA_VERDICT, EXPRESSION_DATA, EXPRESSION_NAME, IMMEDIATE_DATA, POLICY_DROP, RULE_HANDLE, VERDICT_CHAIN,
};
use super::{Kind, LIST_ELEMENT, RULE_CHAIN, RULE_EXPRESSIONS, RULE_TABLE, TABLE_NAME, passage};
use crate::error::{Error, Result};
use crate::netlink::{Attributes, Body, Protocol, Request, Socket};

/// A family: its `struct nfgenmsg`, its name, and flannel's table of it.
const FAMILIES: [([u8; 4], &str, &str); 2] = [
    ([libc::NFPROTO_IPV4 as u8, 0, 0, 0], "ip", "flannel-ipv4"),
    ([libc::NFPROTO_IPV6 as u8, 0, 0, 0], "ip6", "flannel-ipv6"),
];

/// Table, chain of the hook, flannel's chain.
const CHAINS: [(&str, &str, &str); 2] =
    [("nat", "POSTROUTING", "FLANNEL-POSTRTG"), ("filter", "FORWARD", "FLANNEL-FWD")];

const DOING: &str = "removing flannel's netfilter rules";

/// Removes what is there of it, all in one transaction. Gives what was removed, as `nft` would name it.
///
/// # Errors
/// What the kernel refuses, and then all of it is still there. A kernel without nftables has none of it.
pub fn remove() -> Result<Vec<String>> {
    let mut socket = match Socket::open(Protocol::Netfilter) {
        Err(Error::System { source, .. }) if source.raw_os_error() == Some(libc::EPROTONOSUPPORT) => {
            return Ok(Vec::new());
        }
        socket => socket?,
    };
    let mut transaction = Transaction::begin(&mut socket);
    for (generic, family, table) in FAMILIES {
        let mut left = Left { socket: &mut socket, generic };
        if left
            .names(Kind::GetTable, |table| Some(table.get(TABLE_NAME)?.text()?.to_owned()))?
            .contains(&table.to_owned())
        {
            transaction.push(generic, Kind::DeleteTable, |body| body.text(TABLE_NAME, table));
            transaction.removed.push(format!("table {family} {table}"));
        }
        let chains = left.names(Kind::GetChain, |chain| {
            Some(format!("{} {}", chain.get(CHAIN_TABLE)?.text()?, chain.get(CHAIN_NAME)?.text()?))
        })?;
        let dropping = left.names(Kind::GetChain, |chain| {
            let drops = chain.get(CHAIN_POLICY)?.be32()? == POLICY_DROP;
            drops.then_some(format!("{} {}", chain.get(CHAIN_TABLE)?.text()?, chain.get(CHAIN_NAME)?.text()?))
        })?;
        let opened = passage::stands(left.socket, generic[0])?;
        for (table, base, chain) in CHAINS {
            if !chains.contains(&format!("{table} {chain}"))
                || (!opened && dropping.contains(&format!("{table} {base}")))
            {
                continue;
            }
            for handle in left.jumps((table, base), chain)? {
                transaction.push(generic, Kind::DeleteRule, |body| {
                    rule(body, table, base);
                    body.be64(RULE_HANDLE, handle);
                });
            }
            transaction.push(generic, Kind::DeleteRule, |body| rule(body, table, chain));
            transaction.push(generic, Kind::DeleteChain, |body| {
                body.text(CHAIN_TABLE, table);
                body.text(CHAIN_NAME, chain);
            });
            transaction.removed.push(format!("chain {family} {table} {chain}"));
        }
    }
    transaction.commit(&mut socket)
}

fn rule(body: &mut Body<'_>, table: &str, chain: &str) {
    body.text(RULE_TABLE, table);
    body.text(RULE_CHAIN, chain);
}

/// A look at one family.
struct Left<'a> {
    socket: &'a mut Socket,
    generic: [u8; 4],
}

impl Left<'_> {
    /// What is listed, by name. A family that the kernel does not have has nothing.
    fn names(&mut self, kind: Kind, name: impl Fn(Attributes<'_>) -> Option<String>) -> Result<Vec<String>> {
        let request = Request { kind: kind.number(), flags: 0, doing: DOING };
        let generic = self.generic;
        match self.socket.dump(&request, |body| body.fixed(&generic)) {
            Ok(messages) => Ok(messages.filter_map(|message| name(message.attributes(generic.len()))).collect()),
            Err(Error::Refused { refusal, .. })
                if refusal.is_unsupported()
                    || [libc::EINVAL, libc::ENOENT, libc::EAFNOSUPPORT].contains(&refusal.errno) =>
            {
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }

    /// The rules of a chain that jump to another.
    fn jumps(&mut self, (table, base): (&str, &str), chain: &str) -> Result<Vec<u64>> {
        let request = Request { kind: Kind::GetRule.number(), flags: 0, doing: DOING };
        let generic = self.generic;
        let messages = self.socket.dump(&request, |body| {
            body.fixed(&generic);
            rule(body, table, base);
        })?;
        // Older kernels list more than was asked for.
        let jump = |rule: Attributes<'_>| {
            let here = rule.get(RULE_TABLE)?.text()? == table && rule.get(RULE_CHAIN)?.text()? == base;
            let jumps = rule.get(RULE_EXPRESSIONS)?.nested().filter(|element| element.kind == LIST_ELEMENT);
            let jumps = jumps.filter_map(|element| target(element.nested())).any(|target| target == chain);
            (here && jumps).then(|| rule.get(RULE_HANDLE)?.be64())?
        };
        Ok(messages.filter_map(|message| jump(message.attributes(generic.len()))).collect())
    }
}

/// Where an expression jumps to, if it does.
fn target(expression: Attributes<'_>) -> Option<&str> {
    if expression.get(EXPRESSION_NAME)?.text()? != "immediate" {
        return None;
    }
    let data = expression.get(EXPRESSION_DATA)?.nested().get(IMMEDIATE_DATA)?.nested();
    data.get(DATA_VERDICT)?.nested().get(VERDICT_CHAIN)?.text()
}

struct Transaction {
    batch: Batch,
    removed: Vec<String>,
}

impl Transaction {
    fn begin(socket: &mut Socket) -> Transaction {
        Transaction { batch: Batch::begin(socket.next_sequence(), None), removed: Vec::new() }
    }

    fn push(&mut self, generic: [u8; 4], kind: Kind, write: impl FnOnce(&mut Body<'_>)) {
        self.batch.push((kind.number(), 0), |body| {
            body.fixed(&generic);
            write(body);
        });
    }

    fn commit(self, socket: &mut Socket) -> Result<Vec<String>> {
        if self.batch.is_empty() {
            return Ok(self.removed);
        }
        match self.batch.commit(socket, DOING)? {
            None => Ok(self.removed),
            Some((_, refusal)) => Err(Error::Refused { doing: DOING.to_owned(), refusal }),
        }
    }
}
