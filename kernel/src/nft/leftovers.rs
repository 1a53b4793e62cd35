//! Rules that the reference `portmap` and `bridge` plugins made for a pod, taken out when ours deletes it.
//!
//! They are found by the words that those plugins write on them: network and container. Known are what `iptables-nft` makes of
//! their iptables rules, and their nftables tables. Rules of `iptables-legacy` are in another part of the kernel, which
//! netlink does not reach.

use ipam::ledger::Owner;

use crate::error::{Error, Result};
use crate::netlink::{Attributes, Message, Request, Socket};
use crate::nft::nat;
use crate::nft::nat::transaction::{Outcome, Transaction};
use crate::nft::uapi::RULE_HANDLE;
use crate::nft::{GENERIC, Kind, LIST_ELEMENT, RULE_CHAIN, RULE_EXPRESSIONS, RULE_TABLE, TABLE_NAME};

/// `NFTA_CHAIN_TABLE`, `NFTA_CHAIN_NAME`
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
/// `NFTA_EXPR_DATA`, `NFTA_IMMEDIATE_DATA`, `NFTA_DATA_VERDICT`, `NFTA_VERDICT_CHAIN`: all of them 2.
const INNER: u16 = 2;
/// `NFPROTO_…` as `struct nfgenmsg`.
const IPV4: [u8; 4] = [2, 0, 0, 0];
const IPV6: [u8; 4] = [10, 0, 0, 0];
/// How often to look again when somebody's transactions come between.
const ATTEMPTS: u32 = 200;

/// A table of theirs: family, its words, name; the chains to look in; and the words that are written on a pod's rules.
struct Place<'a> {
    family: [u8; 4],
    words: &'static str,
    table: &'static str,
    chains: &'static [&'static str],
    mark: &'a [u8],
}

/// Removes what there is for an interface of a container on a network. That there is nothing is well.
///
/// # Errors
/// When the kernel refuses.
pub fn remove(socket: &mut Socket, network: &str, owner: &Owner) -> Result<()> {
    let (container, ifname) = (owner.container.as_str(), &owner.ifname);
    let iptables = format!("name: \"{network}\" id: \"{container}\"");
    let bare = crate::nft::transaction::comment(container);
    let masquerade = format!("net: {network}, if: {ifname}, id: {container}");
    const PORTMAP: &[&str] = &["hostports", "hostip_hostports", "masquerading"];
    const IPTABLES: &[&str] = &["CNI-HOSTPORT-DNAT", "POSTROUTING"];
    let place = |family, words, table, chains, mark| Place { family, words, table, chains, mark };
    let places = [
        place(IPV4, "ip nat", "nat", IPTABLES, iptables.as_bytes()),
        place(IPV6, "ip6 nat", "nat", IPTABLES, iptables.as_bytes()),
        place(IPV4, "ip cni_hostport", "cni_hostport", PORTMAP, &bare),
        place(IPV6, "ip6 cni_hostport", "cni_hostport", PORTMAP, &bare),
        place(
            GENERIC,
            "inet cni_plugins_masquerade",
            "cni_plugins_masquerade",
            &["masq_checks"],
            masquerade.as_bytes(),
        ),
    ];
    let there = tables(socket)?;
    for place in places.iter().filter(|place| there.contains(&(place.family[0], place.table.to_owned()))) {
        clear(socket, place)?;
    }
    Ok(())
}

/// Family and name of all tables there are. `nft list tables`
fn tables(socket: &mut Socket) -> Result<Vec<(u8, String)>> {
    let request = Request { kind: Kind::GetTable.number(), flags: 0, doing: "listing the nftables tables" };
    // Of all families: NFPROTO_UNSPEC.
    let answers = match socket.dump(&request, |body| body.fixed(&[0; 4])) {
        // What nfnetlink_rcv_msg says when nobody registered for the subsystem.
        Err(Error::Refused { refusal, .. }) if refusal.errno == libc::EINVAL || refusal.is_unsupported() => {
            return Ok(Vec::new());
        }
        answers => answers?,
    };
    let named = |message: Message<'_>| {
        let name = message.attributes(GENERIC.len()).get(TABLE_NAME)?.text()?.to_owned();
        Some((*message.body.first()?, name))
    };
    Ok(answers.filter_map(named).collect())
}

fn clear(socket: &mut Socket, place: &Place<'_>) -> Result<()> {
    for _ in 0..ATTEMPTS {
        let mut transaction = Transaction::begin(socket, nat::generation)?.about(place.family, place.words);
        let rules = rules(socket, place)?;
        for (chain, handle, _) in &rules {
            transaction.order((Kind::DeleteRule, 0), chain, |body| {
                body.text(RULE_TABLE, place.table);
                body.text(RULE_CHAIN, chain);
                body.be64(RULE_HANDLE, *handle);
            });
        }
        // The pod's own chains; deleting one deletes the rules in it.
        let mut own: Vec<&String> = rules.iter().filter_map(|(.., target)| target.as_ref()).collect();
        own.sort();
        own.dedup();
        for chain in own {
            transaction.order((Kind::DeleteChain, 0), chain, |body| {
                body.text(CHAIN_TABLE, place.table);
                body.text(CHAIN_NAME, chain);
            });
        }
        match transaction.commit(socket)? {
            Outcome::Done => return Ok(()),
            Outcome::Stale => std::thread::yield_now(),
            Outcome::Refused { doing, refusal, .. } => return Err(Error::Refused { doing, refusal }),
        }
    }
    Err(Error::Unsettled { doing: format!("writing the nftables table {}", place.words), attempts: ATTEMPTS })
}

/// The pod's rules: chain, handle, and the chain of the pod's own that each leads to, if it does.
fn rules(socket: &mut Socket, place: &Place<'_>) -> Result<Vec<(String, u64, Option<String>)>> {
    let doing = format!("reading the nftables table {}", place.words);
    let request = Request { kind: Kind::GetRule.number(), flags: 0, doing: &doing };
    let mut found = Vec::new();
    for chain in place.chains {
        let answers = socket.dump(&request, |body| {
            body.fixed(&place.family);
            body.text(RULE_TABLE, place.table);
            body.text(RULE_CHAIN, chain);
        });
        let Some(answers) = nat::none_or(answers)? else { continue };
        found.extend(answers.filter_map(|message| {
            let rule = message.attributes(GENERIC.len());
            let here = rule.get(RULE_TABLE)?.text()? == place.table && rule.get(RULE_CHAIN)?.text()? == *chain;
            let marked = message.body.windows(place.mark.len()).any(|octets| octets == place.mark);
            let handle = rule.get(RULE_HANDLE)?.bytes.try_into().ok().map(u64::from_be_bytes)?;
            (here && marked).then(|| ((*chain).to_owned(), handle, target(rule)))
        }));
    }
    Ok(found)
}

/// Where a rule jumps, when that is a chain for one pod.
fn target(rule: Attributes<'_>) -> Option<String> {
    let list = rule.get(RULE_EXPRESSIONS)?.nested().filter(|element| element.kind == LIST_ELEMENT);
    list.filter_map(|element| {
        let verdict = element.nested().get(INNER)?.nested().get(INNER)?.nested().get(INNER)?.nested();
        let chain = verdict.get(INNER)?.text()?;
        (chain.starts_with("CNI-") && !chain.starts_with("CNI-HOSTPORT")).then(|| chain.to_owned())
    })
    .next()
}
