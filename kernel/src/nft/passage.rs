//! [`Passage`]s: two rules of ours in iptables' chain FORWARD (tables `ip filter` and `ip6 filter`, as iptables over nftables
//! makes them), where it drops what nothing accepts: by its policy, as Docker and ufw set it, or by a rule without conditions.
//!
//! They stand at the end, as flannel's do, and before a rule that drops the rest: whatever somebody says of certain packets, a
//! network policy too, is heard first. Each carries our alias as its comment, and only what carries it is ever taken out. No
//! other table is written to: one of firewalld, or of an administrator's own, belongs to whoever keeps it, and
//! [`super::gate`] names what opens it (docs/adr/0019-accepts-in-iptables-forward.md).

use std::collections::{BTreeMap, BTreeSet};

use backends::instance::ALIAS_PREFIX;
use backends::ruleset::{Match, Rule, Verdict};
use backends::state::Passage;
use ipam::Family;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::chain::{CHAIN_NAME, CHAIN_POLICY, CHAIN_TABLE};
use super::expression::{Expression, MetaKey};
use super::foreign::{Chains, Fate};
use super::nat::transaction::{Outcome, Transaction};
use super::uapi::{POLICY_DROP, RULE_HANDLE};
use super::{Kind, LIST_ELEMENT, RULE_CHAIN, RULE_EXPRESSIONS, RULE_TABLE, RULE_USERDATA, nat, rule, transaction};
use crate::error::{Error, Result};
use crate::netlink::{Request, Socket};

/// As iptables names them.
const TABLE: &str = "filter";
const CHAIN: &str = "FORWARD";
/// `NFTA_RULE_POSITION`: before the rule with this handle, unless `NLM_F_APPEND` says behind.
const RULE_POSITION: u16 = 6;
/// How often to begin again when somebody's transactions come between the look at the chain and ours.
const ATTEMPTS: u32 = 100;

const DOING: &str = "reading iptables' chain FORWARD";

/// See [`super::Table::passages`].
pub(super) fn observe(socket: &mut Socket, alias: &str, networks: &[IpNet]) -> Result<BTreeMap<IpNet, Passage>> {
    let mut passages = BTreeMap::new();
    for family in Family::ALL {
        let Some(forward) = Forward::read(socket, family, |comment| comment == alias)? else { continue };
        let mine = networks.iter().map(IpNet::trunc).filter(|net| Family::of_net(net) == family);
        let said: BTreeSet<IpNet> = forward.ours.iter().map(|ours| ours.network).chain(mine).collect();
        passages.extend(said.into_iter().filter_map(|network| Some((network, forward.passage(&network)?))));
    }
    Ok(passages)
}

/// See [`super::Table::open_passage`].
pub(super) fn open(socket: &mut Socket, alias: &str, network: &IpNet) -> Result<()> {
    write(socket, alias, network, |forward, transaction| {
        for side in sides(network) {
            let flags = if forward.last.is_some() { 0 } else { libc::NLM_F_APPEND };
            transaction.order((Kind::NewRule, libc::NLM_F_CREATE | flags), CHAIN, |body| {
                body.text(RULE_TABLE, TABLE);
                body.text(RULE_CHAIN, CHAIN);
                forward.last.iter().for_each(|handle| body.be64(RULE_POSITION, *handle));
                body.nest(RULE_EXPRESSIONS, |list| {
                    for expression in compile(side) {
                        list.nest(LIST_ELEMENT, |element| expression.encode(element));
                    }
                });
                body.bytes(RULE_USERDATA, &transaction::comment(alias));
            });
        }
    })
}

/// See [`super::Table::close_passage`].
pub(super) fn close(socket: &mut Socket, alias: &str, network: &IpNet) -> Result<()> {
    write(socket, alias, network, |_, _| {})
}

/// The comments of all rules in these chains whose comment begins so. For those who must find what nobody remembers.
pub(crate) fn owners(socket: &mut Socket, prefix: &str) -> Result<BTreeSet<String>> {
    let mut owners = BTreeSet::new();
    for family in Family::ALL {
        let forward = Forward::read(socket, family, |comment| comment.starts_with(prefix))?;
        owners.extend(forward.into_iter().flat_map(|forward| forward.ours).map(|ours| ours.comment));
    }
    Ok(owners)
}

/// Whether rules of a daemon of ours stand in this chain of a family (`NFPROTO_…`).
pub(super) fn stands(socket: &mut Socket, protocol: u8) -> Result<bool> {
    let Some(family) = Family::ALL.into_iter().find(|family| number(*family) == protocol) else { return Ok(false) };
    let forward = Forward::read(socket, family, |comment| comment.starts_with(ALIAS_PREFIX))?;
    Ok(forward.is_some_and(|forward| !forward.ours.is_empty()))
}

/// Takes our rules about a network out, and those of which nobody can tell what about, and does something more, in one transaction.
fn write(socket: &mut Socket, alias: &str, network: &IpNet, more: impl Fn(&Forward, &mut Transaction)) -> Result<()> {
    let (family, network) = (Family::of_net(network), network.trunc());
    let doing = format!("writing the chain {CHAIN} of the nftables table {} {TABLE}", words(family));
    for _ in 0..ATTEMPTS {
        let mut transaction =
            Transaction::begin(socket, nat::generation)?.about([number(family), 0, 0, 0], words_of_table(family));
        // It went: nothing is in anybody's way, and nothing is left.
        let Some(forward) = Forward::read(socket, family, |comment| comment == alias)? else { return Ok(()) };
        for ours in forward.ours.iter().filter(|ours| ours.network == network || ours.side.is_none()) {
            transaction.order((Kind::DeleteRule, 0), CHAIN, |body| {
                body.text(RULE_TABLE, TABLE);
                body.text(RULE_CHAIN, CHAIN);
                body.be64(RULE_HANDLE, ours.handle);
            });
        }
        more(&forward, &mut transaction);
        match transaction.commit(socket)? {
            Outcome::Done => return Ok(()),
            Outcome::Stale => std::thread::yield_now(),
            Outcome::Refused { doing, refusal, .. } => return Err(Error::Refused { doing, refusal }),
        }
    }
    Err(Error::Unsettled { doing, attempts: ATTEMPTS })
}

/// iptables' chain FORWARD of one family.
struct Forward {
    ours: Vec<Ours>,
    /// How many rules there are before what drops the rest; `None` where nothing does.
    open_until: Option<usize>,
    /// The handle of the rule that drops the rest, or leads to it; without one the policy does.
    last: Option<u64>,
}

/// A rule with our comment.
struct Ours {
    handle: u64,
    at: usize,
    comment: String,
    /// All there is where it cannot be told.
    network: IpNet,
    /// What it accepts; `None` when somebody changed it.
    side: Option<Match>,
}

impl Forward {
    /// `None` where there is no such chain at the forward hook.
    fn read(socket: &mut Socket, family: Family, is_ours: impl Fn(&str) -> bool) -> Result<Option<Forward>> {
        let Some(policy) = policy(socket, family)? else { return Ok(None) };
        let mut chains = Chains { socket, family: number(family), table: TABLE };
        let rules = chains.rules(CHAIN)?;
        let (open_until, last) = match chains.fate(&rules)? {
            Fate::Falls(at) => (Some(at), rules.get(at).map(|rule| rule.handle)),
            Fate::Reaches if policy == POLICY_DROP => (Some(rules.len()), None),
            Fate::Passes | Fate::Reaches => (None, None),
        };
        let ours = rules.into_iter().enumerate().filter(|(_, rule)| is_ours(&rule.comment)).map(|(at, rule)| {
            let side = rule.expressions.as_deref().and_then(|expressions| recognise(expressions, family));
            let network = match side {
                Some(Match::Source(network) | Match::Destination(network)) => network,
                _ => everything(family),
            };
            Ours { handle: rule.handle, at, comment: rule.comment, network, side }
        });
        Ok(Some(Forward { ours: ours.collect(), open_until, last }))
    }

    fn passage(&self, network: &IpNet) -> Option<Passage> {
        let some = self.ours.iter().any(|ours| ours.network == *network);
        let heard = |ours: &&Ours| self.open_until.is_none_or(|until| ours.at < until);
        let has = |side: Match| self.ours.iter().filter(heard).any(|ours| ours.side == Some(side));
        match (self.open_until, some, sides(network).into_iter().all(has)) {
            (None, false, _) => None,
            (Some(_), false, _) => Some(Passage::Shut),
            (_, true, true) => Some(Passage::Open),
            (_, true, false) => Some(Passage::Broken),
        }
    }
}

/// The policy of iptables' chain FORWARD; `None` where there is none.
fn policy(socket: &mut Socket, family: Family) -> Result<Option<u32>> {
    let request = Request { kind: Kind::GetChain.number(), flags: 0, doing: DOING };
    let answers = match socket.query(&request, |body| {
        body.fixed(&[number(family), 0, 0, 0]);
        body.text(CHAIN_TABLE, TABLE);
        body.text(CHAIN_NAME, CHAIN);
    }) {
        // No such table or chain; and what nfnetlink_rcv_msg says when nobody registered for the subsystem or the family.
        Err(Error::Refused { refusal, .. })
            if refusal.is_unsupported()
                || [libc::ENOENT, libc::EINVAL, libc::EAFNOSUPPORT].contains(&refusal.errno) =>
        {
            return Ok(None);
        }
        answers => answers?,
    };
    // Only a base chain has one.
    Ok(answers.map(|message| message.attributes(4)).find_map(|chain| chain.get(CHAIN_POLICY)?.be32()))
}

fn sides(network: &IpNet) -> [Match; 2] {
    [Match::Source(network.trunc()), Match::Destination(network.trunc())]
}

/// In a table of one family nothing says of which one a packet is.
fn compile(side: Match) -> Vec<Expression> {
    let accept = Rule { matches: vec![side], verdict: Verdict::Accept };
    rule::compile(&accept).unwrap_or_default().into_iter().skip(2).collect()
}

fn recognise(expressions: &[Expression], family: Family) -> Option<Match> {
    let named = [Expression::Meta(MetaKey::NfProto), Expression::equal(&[number(family)])];
    let Rule { matches, verdict } = rule::recognise(&[&named, expressions].concat());
    match (matches.as_slice(), verdict) {
        ([side @ (Match::Source(_) | Match::Destination(_))], Verdict::Accept) => Some(*side),
        _ => None,
    }
}

fn everything(family: Family) -> IpNet {
    match family {
        Family::V4 => IpNet::V4(Ipv4Net::default()),
        Family::V6 => IpNet::V6(Ipv6Net::default()),
    }
}

/// `NFPROTO_IPV4`, `NFPROTO_IPV6`
fn number(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

fn words(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

fn words_of_table(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip filter",
        Family::V6 => "ip6 filter",
    }
}
