//! The base chains of our table as attributes, and back.

use backends::ruleset::ChainKind;

use super::uapi::POLICY_ACCEPT;
use crate::netlink::{Attributes, Body};

/// `NFTA_CHAIN_…`
pub(super) const CHAIN_TABLE: u16 = 1;
pub(super) const CHAIN_NAME: u16 = 3;
pub(super) const CHAIN_HOOK: u16 = 4;
pub(super) const CHAIN_POLICY: u16 = 5;
pub(super) const CHAIN_USE: u16 = 6;
pub(super) const CHAIN_TYPE: u16 = 7;
const CHAIN_FLAGS: u16 = 10;
/// `NFTA_HOOK_…`
pub(super) const HOOK_NUMBER: u16 = 1;
pub(super) const HOOK_PRIORITY: u16 = 2;
/// `NFT_CHAIN_BASE`: the one flag that a chain of ours has.
const BASE: u32 = 1;

/// What makes a base chain: where it hooks in.
#[derive(PartialEq, Eq)]
struct Place {
    /// `NF_INET_…`
    hook: u32,
    priority: i32,
    kind: &'static str,
}

/// `None` for what is never written.
fn place(kind: ChainKind) -> Option<Place> {
    // Priorities: `raw`, `filter`, `srcnat` in nft(8); NF_IP_PRI_RAW, _FILTER, _NAT_SRC in linux/netfilter_ipv4.h.
    let (hook, priority, kind) = match kind {
        ChainKind::Prerouting => (0, -300, "filter"),
        ChainKind::Output => (3, -300, "filter"),
        ChainKind::Forward => (2, 0, "filter"),
        ChainKind::Postrouting => (4, 100, "nat"),
        ChainKind::Foreign => return None,
    };
    Some(Place { hook, priority, kind })
}

/// Writes a new chain's attributes, but for its table; `None` for a chain that is never written.
pub(super) fn encode(kind: ChainKind, body: &mut Body<'_>) -> Option<()> {
    let place = place(kind)?;
    body.text(CHAIN_NAME, kind.name());
    hook(body, place.kind, (place.hook, place.priority));
    Some(())
}

/// Writes what makes a chain a base chain of this type, which accepts: its hook (`NF_INET_…`) and priority.
pub(super) fn hook(body: &mut Body<'_>, kind: &str, (number, priority): (u32, i32)) {
    body.nest(CHAIN_HOOK, |hook| {
        hook.be32(HOOK_NUMBER, number);
        hook.be32(HOOK_PRIORITY, priority.cast_unsigned());
    });
    body.be32(CHAIN_POLICY, POLICY_ACCEPT);
    body.text(CHAIN_TYPE, kind);
}

/// Which of our chains this is: name, hook, priority, type and policy must all be right.
pub(super) fn decode(attributes: Attributes<'_>) -> ChainKind {
    let name = attributes.get(CHAIN_NAME).and_then(|name| name.text());
    let named = |kind: &ChainKind| Some(kind.name()) == name && is_exactly(*kind, attributes) == Some(true);
    ChainKind::ALL.into_iter().find(named).unwrap_or(ChainKind::Foreign)
}

fn is_exactly(kind: ChainKind, attributes: Attributes<'_>) -> Option<bool> {
    let place = place(kind)?;
    let hook = attributes.get(CHAIN_HOOK)?.nested();
    let hooked = hook.get(HOOK_NUMBER)?.be32()? == place.hook
        && hook.get(HOOK_PRIORITY)?.be32()?.cast_signed() == place.priority
        && attributes.get(CHAIN_TYPE)?.text()? == place.kind;
    let accepts = attributes.get(CHAIN_POLICY)?.be32()? == POLICY_ACCEPT;
    // Kernels before 5.7 do not say the flags.
    let plain = attributes.get(CHAIN_FLAGS).is_none_or(|flags| flags.be32() == Some(BASE));
    Some(hooked && accepts && plain)
}
