//! Messages written byte by byte, as an attacker writes them, and the terms in which they are read.

use bgp::wire::family::Family;
use bgp::wire::terms::{AsSets, AsWidth, FamilyTerms, Neighbour, NextHops, PathIds, Terms};
use bgp::wire::{MessageLimit, Nlri, Notification, Update};

/// The AS of the peer.
pub const PEER: u32 = 64500;

/// ORIGIN igp, AS_PATH 64500, NEXT_HOP 192.0.2.1.
pub const MANDATORY: [&[u8]; 3] = [ORIGIN, AS_PATH, NEXT_HOP];
pub const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
pub const AS_PATH: &[u8] = &[0x40, 2, 6, 2, 1, 0, 0, 0xfb, 0xf4];
pub const NEXT_HOP: &[u8] = &[0x40, 3, 4, 192, 0, 2, 1];
/// 198.51.100.0/24
pub const ROUTE: &[u8] = &[24, 198, 51, 100];

/// All families, four octets, without path identifiers, from across the border.
pub fn terms() -> Terms {
    Terms {
        width: AsWidth::Four,
        limit: MessageLimit::Standard,
        neighbour: Neighbour::External(Some(PEER)),
        families: Family::ALL.map(FamilyTerms::plain).to_vec(),
        as_sets: AsSets::Refused,
    }
}

/// The same with path identifiers.
pub fn with_path_ids() -> Terms {
    let families = Family::ALL.map(|family| FamilyTerms { receive: PathIds::Present, ..FamilyTerms::plain(family) });
    Terms { families: families.to_vec(), ..terms() }
}

/// The same with IPv6 next hops for everything.
pub fn with_extended_next_hops() -> Terms {
    let families =
        Family::ALL.map(|family| FamilyTerms { next_hops: NextHops::AlsoIpv6, ..FamilyTerms::plain(family) });
    Terms { families: families.to_vec(), ..terms() }
}

/// The body of an UPDATE with these attributes and routes, nothing withdrawn.
pub fn update(attributes: &[&[u8]], routes: &[u8]) -> Vec<u8> {
    body(&[], &attributes.concat(), routes)
}

/// The body of an UPDATE.
pub fn body(withdrawn: &[u8], attributes: &[u8], routes: &[u8]) -> Vec<u8> {
    let length = |part: &[u8]| u16::try_from(part.len()).unwrap().to_be_bytes();
    [&length(withdrawn)[..], withdrawn, &length(attributes), attributes, routes].concat()
}

/// The mandatory attributes, then these.
pub fn with(attributes: &[&[u8]]) -> Vec<u8> {
    update(&[&MANDATORY.concat(), &attributes.concat()], ROUTE)
}

/// One attribute.
pub fn attribute(flags: u8, kind: u8, value: &[u8]) -> Vec<u8> {
    match u8::try_from(value.len()) {
        Ok(length) => [&[flags, kind, length], value].concat(),
        Err(_) => {
            let [high, low] = u16::try_from(value.len()).unwrap().to_be_bytes();
            [&[flags | 0x10, kind, high, low], value].concat()
        }
    }
}

/// MP_REACH_NLRI.
pub fn mp_reach(family: Family, next_hop: &[u8], routes: &[u8]) -> Vec<u8> {
    let mut value = Vec::new();
    family.write(&mut value);
    value.push(u8::try_from(next_hop.len()).unwrap());
    value.extend_from_slice(next_hop);
    value.push(0);
    value.extend_from_slice(routes);
    attribute(0x80, 14, &value)
}

/// MP_UNREACH_NLRI.
pub fn mp_unreach(family: Family, routes: &[u8]) -> Vec<u8> {
    let mut value = Vec::new();
    family.write(&mut value);
    value.extend_from_slice(routes);
    attribute(0x80, 15, &value)
}

/// A global IPv6 next hop.
pub const NEXT_HOP_V6: [u8; 16] = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// Routes that come, as text.
pub fn announced(update: &Update<'_>) -> Vec<String> {
    update.announced().flat_map(|(_, list)| list.iter()).map(|(_, nlri)| text(nlri)).collect()
}

/// Routes that go, as text.
pub fn withdrawn(update: &Update<'_>) -> Vec<String> {
    update.withdrawn().flat_map(|list| list.iter()).map(|(_, nlri)| text(nlri)).collect()
}

fn text(nlri: Nlri<'_>) -> String {
    match nlri {
        Nlri::Prefix(prefix) => prefix.to_string(),
        Nlri::Evpn(route) => bgp::wire::evpn::Route::decode(route).unwrap().to_string(),
    }
}

/// The code and subcode that end the session.
#[track_caller]
pub fn reset(body: &[u8], terms: &Terms) -> (u8, u8, Vec<u8>) {
    let Notification { code, subcode, data } = Update::decode(body, terms).expect_err("the session goes on");
    (code, subcode, data)
}

/// An UPDATE after which the session goes on.
#[track_caller]
pub fn survived<'a>(body: &'a [u8], terms: &Terms) -> Update<'a> {
    Update::decode(body, terms).unwrap_or_else(|notification| panic!("the session ended: {notification}"))
}

/// Asserts that the routes of the UPDATE count as withdrawn, because of this attribute, and nothing else happens.
#[track_caller]
pub fn treated_as_withdrawn(body: &[u8], attribute: u8) {
    let terms = terms();
    let update = survived(body, &terms);
    assert_eq!(announced(&update), [""; 0], "{:?}", update.faults);
    assert!(!withdrawn(&update).is_empty(), "no route was withdrawn");
    assert!(update.faults.iter().any(|fault| fault.attribute == attribute), "{:?}", update.faults);
}

/// Asserts that the routes of the UPDATE come, without this attribute.
#[track_caller]
pub fn discarded(body: &[u8], attribute: u8) {
    let terms = terms();
    let update = survived(body, &terms);
    assert_eq!(withdrawn(&update), [""; 0]);
    assert!(!announced(&update).is_empty(), "{:?}", update.faults);
    assert!(update.faults.iter().any(|fault| fault.attribute == attribute), "{:?}", update.faults);
}
