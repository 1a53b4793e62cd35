//! [`gates`]: other programs' chains at the forward hook that let pods' packets fall. A packet that one base chain drops has
//! fallen, whoever accepts it in another (nft(8), `accept`), so our own table cannot help; what can is named with the gate.
//!
//! Read are the base chains of the hook whose policy is drop, or where a rule without conditions drops or rejects whatever is left
//! (firewalld), or leads to one that does (ufw).
//! A gate is open for a network when a rule in it, or in a chain that it leads to, names the network or one of the pods'
//! interfaces, or has no condition at all and accepts. What a set or a map says is not read. Nothing is ever changed here.
//!
//! So is the chain of the older iptables (`iptables-legacy`, `kernel/src/x_tables.rs`), which lies in another part of the kernel.

use std::collections::BTreeSet;
use std::fmt;

use backends::LinkName;
use backends::state::Scope;
use ipam::Family;
use ipnet::IpNet;

use super::Kind;
use super::chain::{CHAIN_HOOK, CHAIN_NAME, CHAIN_POLICY, CHAIN_TABLE, HOOK_NUMBER};
use super::foreign::{Chains, Fate, Rule};
use super::uapi::DROP;
use crate::error::{Error, Result};
use crate::netlink::{Protocol, Request, Socket};
use crate::x_tables::{self, Filter};

/// `NF_INET_FORWARD`
const FORWARD: u32 = 2;
/// Chains that are followed from one base chain.
const MOST: usize = 256;

/// What firewalld drops all new flows by while it reloads, for a tenth of a second: nobody could open it in time.
const RELOADING: &str = "firewalld_policy_drop";

/// The bridge that the usual CNI configuration names.
const BRIDGE: &str = "cni0";

const DOING: &str = "looking for firewalls that drop what is forwarded";

/// A chain that lets forwarded packets of one of our networks fall.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gate {
    /// `ip`, `ip6` or `inet`.
    pub family: &'static str,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// Whose packets fall.
    pub network: IpNet,
    /// What drops them.
    pub by: End,
    keeper: Keeper,
}

/// What a gate's chain ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// `policy drop`
    Policy,
    /// A rule without conditions, or the chain to which such a rule leads.
    LastRule,
}

/// Who keeps a chain, as far as its name and rules say: what is written past them is lost with their next reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Keeper {
    Firewalld,
    Ufw,
    Docker,
    Iptables,
    LegacyIptables,
    Nobody,
}

/// The gates that are closed for a scope's networks.
///
/// # Errors
/// When the kernel refuses to list. One without nftables has no gates.
pub fn gates(scope: &Scope) -> Result<Vec<Gate>> {
    let names: Vec<&str> = scope.links.iter().map(LinkName::as_str).chain([BRIDGE]).collect();
    let mut closed = legacy(scope, &names)?;
    let mut socket = match Socket::open(Protocol::Netfilter) {
        Err(Error::System { source, .. }) if source.raw_os_error() == Some(libc::EPROTONOSUPPORT) => {
            return Ok(closed);
        }
        socket => socket?,
    };
    for base in bases(&mut socket)? {
        let affected: Vec<&IpNet> = scope.networks.iter().filter(|net| base.covers(Family::of_net(net))).collect();
        if affected.is_empty() {
            continue;
        }
        let chains = Chains { socket: &mut socket, family: base.family, table: &base.table };
        let mut walk = Walk { chains, base: &base, keeper: Keeper::of_table(&base), rules: Vec::new() };
        let Some(end) = walk.end()? else { continue };
        let keeper = walk.keeper;
        let shut = affected.into_iter().filter(|net| !walk.rules.iter().any(|rule| rule.lets(net, &names)));
        closed.extend(shut.map(|network| Gate {
            family: base.family_name(),
            table: base.table.clone(),
            chain: base.name.clone(),
            network: *network,
            by: end,
            keeper,
        }));
    }
    closed.sort();
    Ok(closed)
}

/// The gate of the older iptables, in each family.
fn legacy(scope: &Scope, names: &[&str]) -> Result<Vec<Gate>> {
    let mut closed = Vec::new();
    for network in &scope.networks {
        let Some(filter) = Filter::read(Family::of_net(network))? else { continue };
        let by = match filter.fate() {
            x_tables::Fate::Passes => continue,
            x_tables::Fate::FallsByPolicy => End::Policy,
            x_tables::Fate::FallsByRule => End::LastRule,
        };
        if !filter.lets(network, names) {
            let family = if network.addr().is_ipv4() { "ip" } else { "ip6" };
            let (table, chain) = ("filter".to_owned(), "FORWARD".to_owned());
            closed.push(Gate { family, table, chain, network: *network, by, keeper: Keeper::LegacyIptables });
        }
    }
    Ok(closed)
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Gate { family, table, chain, network, by, keeper } = self;
        let end = match by {
            End::Policy => "its policy is drop",
            End::LastRule => "its last rule drops what is left",
        };
        let iptables = match (*family, keeper) {
            ("ip6", Keeper::LegacyIptables) => "ip6tables-legacy",
            (_, Keeper::LegacyIptables) => "iptables-legacy",
            ("ip6", _) => "ip6tables",
            _ => "iptables",
        };
        let whose = if *keeper == Keeper::LegacyIptables { " of the older iptables" } else { "" };
        write!(f, "the chain {chain} of table {family} {table}{whose} drops pods' packets of {network} ({end}): ")?;
        let ip = if network.addr().is_ipv4() { "ip" } else { "ip6" };
        match keeper {
            Keeper::Firewalld => {
                write!(f, "firewall-cmd --permanent --zone=trusted --add-source={network} && firewall-cmd --reload")
            }
            Keeper::Ufw => write!(f, "ufw route allow from {network} && ufw route allow to {network}"),
            Keeper::Docker => write!(
                f,
                "{iptables} -I DOCKER-USER -s {network} -j ACCEPT && {iptables} -I DOCKER-USER -d {network} -j ACCEPT"
            ),
            Keeper::Iptables | Keeper::LegacyIptables => write!(
                f,
                "{iptables} -I {chain} -s {network} -j ACCEPT && {iptables} -I {chain} -d {network} -j ACCEPT"
            ),
            Keeper::Nobody => write!(
                f,
                "nft insert rule {family} {table} {chain} {ip} saddr {network} accept && nft insert rule {family} {table} \
                 {chain} {ip} daddr {network} accept"
            ),
        }
    }
}

impl Keeper {
    fn of_table(base: &Base) -> Keeper {
        match (base.table.as_str(), base.name.as_str()) {
            ("firewalld", _) => Keeper::Firewalld,
            // The name that iptables gives it, over nftables.
            ("filter", "FORWARD") if base.family != libc::NFPROTO_INET as u8 => Keeper::Iptables,
            _ => Keeper::Nobody,
        }
    }

    /// What a chain that iptables' leads to tells.
    fn or_of_chain(self, chain: &str) -> Keeper {
        match self {
            Keeper::Iptables if chain == "DOCKER-USER" => Keeper::Docker,
            Keeper::Iptables | Keeper::Docker if chain.starts_with("ufw-") || chain.starts_with("ufw6-") => Keeper::Ufw,
            keeper => keeper,
        }
    }
}

/// A base chain at the forward hook.
struct Base {
    family: u8,
    table: String,
    name: String,
    drops: bool,
}

impl Base {
    fn family_name(&self) -> &'static str {
        match i32::from(self.family) {
            libc::NFPROTO_IPV4 => "ip",
            libc::NFPROTO_IPV6 => "ip6",
            _ => "inet",
        }
    }

    fn covers(&self, family: Family) -> bool {
        let only = match family {
            Family::V4 => libc::NFPROTO_IPV4,
            Family::V6 => libc::NFPROTO_IPV6,
        };
        [only, libc::NFPROTO_INET].contains(&self.family.into())
    }
}

fn bases(socket: &mut Socket) -> Result<Vec<Base>> {
    let request = Request { kind: Kind::GetChain.number(), flags: 0, doing: DOING };
    // Of all families: NFPROTO_UNSPEC.
    let answers = match socket.dump(&request, |body| body.fixed(&[0; 4])) {
        // What nfnetlink_rcv_msg says when nobody registered for the subsystem.
        Err(Error::Refused { refusal, .. }) if refusal.errno == libc::EINVAL || refusal.is_unsupported() => {
            return Ok(Vec::new());
        }
        answers => answers?,
    };
    let read = |message: crate::netlink::Message<'_>| {
        let chain = message.attributes(4);
        let forward = chain.get(CHAIN_HOOK)?.nested().get(HOOK_NUMBER)?.be32()? == FORWARD;
        let drops = chain.get(CHAIN_POLICY).and_then(|policy| policy.be32()).map(u32::cast_signed) == Some(DROP);
        let family = *message.body.first()?;
        let known = [libc::NFPROTO_IPV4, libc::NFPROTO_IPV6, libc::NFPROTO_INET].contains(&family.into());
        let (table, name) = (chain.get(CHAIN_TABLE)?.text()?.to_owned(), chain.get(CHAIN_NAME)?.text()?.to_owned());
        (forward && known && table != RELOADING).then_some(Base { family, table, name, drops })
    };
    Ok(answers.filter_map(read).collect())
}

/// A base chain's rules, and those of the chains that it leads to.
struct Walk<'a> {
    chains: Chains<'a>,
    base: &'a Base,
    keeper: Keeper,
    rules: Vec<Rule>,
}

impl Walk<'_> {
    /// What lets fall whatever nothing accepts, if anything does; then `rules` are all there are.
    fn end(&mut self) -> Result<Option<End>> {
        let first = self.chains.rules(&self.base.name)?;
        let end = match self.chains.fate(&first)? {
            Fate::Falls(_) => End::LastRule,
            Fate::Reaches if self.base.drops => End::Policy,
            Fate::Passes | Fate::Reaches => return Ok(None),
        };
        let mut seen = BTreeSet::from([self.base.name.clone()]);
        let mut ahead = first;
        while let Some(rule) = ahead.pop() {
            if let Some(next) = rule.leads_to.clone().filter(|_| seen.len() < MOST)
                && seen.insert(next.clone())
            {
                self.keeper = self.keeper.or_of_chain(&next);
                // What is behind a condition has it too.
                let behind = |mut next: Rule| {
                    next.is_bare &= rule.is_bare;
                    next
                };
                ahead.extend(self.chains.rules(&next)?.into_iter().map(behind));
            }
            self.rules.push(rule);
        }
        Ok(Some(end))
    }
}
