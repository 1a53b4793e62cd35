//! What the uplink and other links reach without a gateway: rules and routes of the kernel as [`OnLink`], which decides as the kernel's own
//! look-up does for a packet of no mark and no known source.

use std::collections::{BTreeMap, BTreeSet};

use backends::PROTOCOL;
use backends::on_link::{Hop, OnLink};
use backends::state::RouteKey;
use ipam::Family;
use ipnet::IpNet;

use crate::codec::{route, rule};
use crate::error::Result;
use crate::netlink::{Protocol, Socket};
use crate::observe::list;

/// `RT_TABLE_LOCAL`, which a rule names first: this node's own addresses, and none of a peer's.
const LOCAL: u32 = libc::RT_TABLE_LOCAL as u32;

/// Reads it for links, each by its index with what a route over it to the destination itself means. Routes with our tag do not count, and
/// neither does what lies in the pods' networks: those are what is decided by it. `ip rule; ip route show table all`
///
/// # Errors
/// When a list cannot be had.
pub fn on_link(links: &BTreeMap<u32, Hop>, pods: &[IpNet]) -> Result<OnLink> {
    let mut socket = Socket::open(Protocol::Route)?;
    let mut order = Vec::new();
    for family in Family::ALL {
        let rules = rules(&mut socket, family)?;
        let named: BTreeSet<u32> = rules.iter().filter_map(|rule| rule.table).collect();
        let tables = tables(&mut socket, family, (&named, links, pods))?;
        order.extend(rules.iter().map(|rule| seen_through(rule, &tables)));
    }
    Ok(OnLink::new(order))
}

/// The rules that a look-up meets, in their order. Of a kernel without rules it is as if there were those of always.
fn rules(socket: &mut Socket, family: Family) -> Result<Vec<rule::Entry>> {
    let messages = match list(socket, (rule::GET, "listing policy rules"), |body| rule::of_family(body, family)) {
        // A kernel that was booted with `ipv6.disable=1` has no rules of that family (`fib_nl_dumprule`).
        Err(crate::Error::Refused { refusal, .. })
            if refusal.is_unsupported() || refusal.errno == libc::EAFNOSUPPORT =>
        {
            Default::default()
        }
        other => other?,
    };
    let mut rules: Vec<_> = messages.filter_map(|message| rule::Entry::read(&message)).collect();
    // Both families' lists may come in one on such a kernel.
    rules.retain(|rule| Family::of_net(&rule.destination) == family && rule.table != Some(LOCAL));
    rules.sort_by_key(|rule| rule.priority);
    if rules.is_empty() {
        let everywhere = match family {
            Family::V4 => IpNet::V4(ipnet::Ipv4Net::default()),
            Family::V6 => IpNet::V6(ipnet::Ipv6Net::default()),
        };
        let table = Some(u32::from(libc::RT_TABLE_MAIN));
        rules.push(rule::Entry { priority: 0, destination: everywhere, table, suppressed: None });
    }
    Ok(rules)
}

type Tables = BTreeMap<u32, Vec<(RouteKey, Hop)>>;

fn tables(
    socket: &mut Socket,
    family: Family,
    (named, links, pods): (&BTreeSet<u32>, &BTreeMap<u32, Hop>, &[IpNet]),
) -> Result<Tables> {
    let mut tables = Tables::new();
    for table in named {
        let which = route::Which::Of(*table);
        let request = (route::GET, "listing the routes of a table");
        for message in list(socket, request, |body| route::of_family(body, family, which))? {
            let Some((of, entry)) = route::Entry::with_table(&message).filter(|(of, _)| of == table) else { continue };
            let of_pods = pods.iter().any(|net| net.contains(&entry.key.destination));
            if entry.protocol == PROTOCOL || of_pods || Family::of_net(&entry.key.destination) != family {
                continue;
            }
            let link = entry.link.filter(|_| entry.direct).and_then(|index| links.get(&index));
            tables.entry(of).or_default().push((entry.key, link.copied().unwrap_or(Hop::Elsewhere)));
        }
    }
    Ok(tables)
}

/// What of its table a rule shows to a look-up.
fn seen_through(rule: &rule::Entry, tables: &Tables) -> Vec<(RouteKey, Hop)> {
    let Some(table) = rule.table else {
        return vec![(RouteKey::new(rule.destination), Hop::Elsewhere)];
    };
    let shown = |(key, hop): &(RouteKey, Hop)| {
        if rule.suppressed.is_some_and(|length| key.destination.prefix_len() <= length) {
            return None;
        }
        let narrower = |net: IpNet| (RouteKey { destination: net, ..*key }, *hop);
        if rule.destination.contains(&key.destination) {
            Some(narrower(key.destination))
        } else {
            key.destination.contains(&rule.destination).then(|| narrower(rule.destination))
        }
    };
    tables.get(&table).into_iter().flatten().filter_map(shown).collect()
}
