//! Other people's codecs read what ours writes, and write what ours reads: netgauze-bgp-pkt, and zettabgp where it can be trusted.
//!
//! Where zettabgp cannot, a test says how; `docs/adr/0015-our-own-bgp-wire-layer.md` refers to it.

use std::net::Ipv4Addr;

use bgp::wire::evpn::{Route, RouteDistinguisher};
use bgp::wire::header::{HEADER_BYTES, frame};
use bgp::wire::packing::Sheet;
use bgp::wire::{AsPath, AsWidth, Attributes, Family, MessageLimit, NextHop, Nlri, Open, Segment, Update, message};
use netgauze_bgp_pkt::BgpMessage;
use netgauze_bgp_pkt::wire::deserializer::BgpParsingContext;
use netgauze_parse_utils::WritablePdu;
use netgauze_parse_utils::reader::SliceReader;
use netgauze_parse_utils::traits::ParseFromWithOneInput;
use proptest::collection::vec;
use proptest::prelude::*;
use zettabgp::BgpMessage as _;
use zettabgp::prelude::*;

use crate::round_trip::{attributes, evpn, messages, open, prefix, terms};

/// The same message, read and written again by netgauze-bgp-pkt.
fn through_netgauze(bytes: &[u8]) -> Vec<u8> {
    let mut context = BgpParsingContext::new(true, Default::default(), Default::default(), true, true, true, true);
    let message = BgpMessage::parse(&mut SliceReader::new(bytes), &mut context)
        .unwrap_or_else(|error| panic!("netgauze refuses {bytes:02x?}: {error:?}"));
    let mut written = Vec::new();
    message.write(&mut written).unwrap();
    written
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn netgauze_reads_our_updates_as_we_mean_them(
        attributes in attributes(), six: bool, routes in vec((prefix(Family::IPV4), prefix(Family::IPV6)), 1..8),
    ) {
        let family = if six { Family::IPV6 } else { Family::IPV4 };
        let (terms, of) = terms(family, (false, false, false));
        let hop = if six { NextHop::V6("2001:db8::1".parse().unwrap(), None) } else { NextHop::V4(Ipv4Addr::new(192, 0, 2, 1)) };
        // What it has types for and ours carries unread would be compared as other bytes.
        let attributes = Attributes { pmsi_tunnel: None, extended_v6: vec![], extended: vec![], ..attributes };
        // It takes no prefix for unicast whose first address is not.
        let unicast = |net: &ipnet::IpNet| !net.network().is_multicast() && net.network() != Ipv4Addr::BROADCAST;
        prop_assume!(routes.iter().all(|(four, other)| unicast(four) && unicast(other)));
        let mut bytes = Vec::new();
        let listed = routes.iter().map(|(four, other)| (0, Nlri::Prefix(if six { *other } else { *four })));
        Sheet::new(&attributes, hop, of, &terms).announce(listed, &mut bytes).unwrap();
        let written = through_netgauze(&bytes);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        messages(&bytes, &terms, |update| ours.push(spelled(&update)));
        messages(&written, &terms, |update| theirs.push(spelled(&update)));
        prop_assert_eq!(ours, theirs);
    }

    #[test]
    fn netgauze_reads_our_opens_as_we_mean_them(open in open()) {
        use bgp::wire::Capability as C;
        let known = |capability: &C| matches!(
            capability,
            C::RouteRefresh | C::FourOctetAs(_) | C::EnhancedRefresh | C::ExtendedMessage | C::GracefulRestart(_) | C::Unknown(..)
        );
        let capabilities: Vec<C> = open.capabilities.iter().filter(|capability| known(capability)).cloned().collect();
        let families_known = capabilities.iter().all(|capability| match capability {
            C::GracefulRestart(restart) => restart.families.iter().all(|(family, _)| family.is_known()) && !restart.notifications,
            C::Unknown(code, _) => *code != 128 && *code != 129 && *code != 130 && *code != 131 && *code != 184 && *code != 185,
            _ => true,
        });
        prop_assume!(families_known);
        let open = Open { capabilities, ..open };
        let bytes = message::open(&open);
        prop_assume!(bytes[HEADER_BYTES + 9] != 255);
        let written = through_netgauze(&bytes);
        let frame = frame(&written, MessageLimit::Standard).unwrap().unwrap();
        prop_assert_eq!(Open::decode(frame.body).unwrap(), open);
    }

    #[test]
    fn netgauze_reads_our_evpn_routes_as_we_mean_them(route in evpn()) {
        let (terms, of) = terms(Family::EVPN, (false, false, false));
        // It knows distinguishers of types 0 to 2 alone, and MPLS labels by their bits.
        let Some(route) = with_plain_distinguisher(route) else { return Ok(()) };
        let mut encoded = Vec::new();
        route.encode(&mut encoded);
        let mut bytes = Vec::new();
        let hop = NextHop::V4(Ipv4Addr::new(192, 0, 2, 1));
        Sheet::new(&Attributes::default(), hop, of, &terms).announce([(0, Nlri::Evpn(&encoded))].into_iter(), &mut bytes).unwrap();
        let written = through_netgauze(&bytes);
        messages(&written, &terms, |update| {
            let (_, list) = update.announced().next().unwrap();
            let (_, Nlri::Evpn(read)) = list.iter().next().unwrap() else { panic!("no EVPN route") };
            assert_eq!(Route::decode(read).unwrap(), route);
        });
    }
}

pub fn spelled(update: &Update<'_>) -> (Attributes, Vec<String>) {
    let routes =
        update.announced().flat_map(|(hop, list)| list.iter().map(move |it| format!("{hop} {it:?}"))).collect();
    (Attributes { partial: 0, ..update.attributes.clone() }, routes)
}

fn with_plain_distinguisher(mut route: Route) -> Option<Route> {
    let plain = RouteDistinguisher([0, 0, 0xfb, 0xf4, 0, 0, 0, 7]);
    match &mut route {
        Route::Mac { distinguisher, .. }
        | Route::Multicast { distinguisher, .. }
        | Route::Prefix { distinguisher, .. } => {
            *distinguisher = plain;
        }
    }
    Some(route)
}

fn zettabgp_session() -> BgpSessionParams {
    let mut session = BgpSessionParams::new(64500, 90, BgpTransportMode::IPv4, Ipv4Addr::new(192, 0, 2, 9), vec![]);
    session.fuzzy_pathid = false;
    session
}

#[test]
fn zettabgp_reads_our_ipv4_updates_as_we_mean_them() {
    let (terms, of) = terms(Family::IPV4, (false, false, false));
    let attributes =
        Attributes { as_path: AsPath::sequence(vec![64500, 65551]), med: Some(5), ..Attributes::default() };
    let nets = ["10.0.0.0/8", "192.0.2.0/24", "198.51.100.7/32"].map(|net| net.parse().unwrap());
    let mut bytes = Vec::new();
    let hop = NextHop::V4(Ipv4Addr::new(192, 0, 2, 1));
    Sheet::new(&attributes, hop, of, &terms)
        .announce(nets.iter().map(|net| (0, Nlri::Prefix(*net))), &mut bytes)
        .unwrap();
    let mut update = BgpUpdateMessage::new();
    update.decode_from(&zettabgp_session(), &bytes[HEADER_BYTES..]).unwrap();
    let BgpAddrs::IPV4U(routes) = &update.updates else { panic!("{:?}", update.updates) };
    let read: Vec<String> = routes.iter().map(ToString::to_string).collect();
    assert_eq!(read, ["10.0.0.0/8", "192.0.2.0/24", "198.51.100.7/32"]);
    assert_eq!(update.attrs.len(), 4, "ORIGIN, AS_PATH, NEXT_HOP, MED");
}

#[test]
fn zettabgp_reads_evpn_type_3_as_we_do_and_loses_vnis_and_ipv6_prefixes() {
    let distinguisher = RouteDistinguisher([0, 0, 0, 1, 0, 0, 0, 1]);
    let encoded = |route: &Route| {
        let mut out = Vec::new();
        route.encode(&mut out);
        out
    };
    let originator = Ipv4Addr::new(192, 0, 2, 1).into();
    let three = encoded(&Route::Multicast { distinguisher, tag: 7, originator });
    let (BgpEVPN::EVPN3(read), _) = BgpEVPN::decode_from(BgpTransportMode::IPv4, &three).unwrap() else { panic!() };
    assert_eq!((read.ether_tag, read.ip), (7, originator));

    let prefix = "2001:db8::/32".parse().unwrap();
    let gateway = "2001:db8::1".parse().unwrap();
    let five = encoded(&Route::Prefix { distinguisher, segment: [0; 10], tag: 0, prefix, gateway, vni: 0x1234 });
    let (BgpEVPN::EVPN5(read), _) = BgpEVPN::decode_from(BgpTransportMode::IPv4, &five).unwrap() else { panic!() };
    assert_eq!(read.prefix, Ipv4Addr::new(0x20, 1, 0xd, 0xb8), "an IPv6 prefix read as an IPv4 address");
    assert_ne!(read.labels.labels, [0x1234], "a VNI read as an MPLS label");
}

#[test]
fn zettabgp_writes_a_sequence_as_a_set() {
    let path = BgpASpath::from(vec![64500_u32, 64501]);
    let mut bytes = [0; 64];
    let length = zettabgp::message::attributes::BgpAttr::encode_to(&path, &zettabgp_session(), &mut bytes).unwrap();
    assert_eq!(AsPath::decode(&bytes[..length], AsWidth::Four).unwrap().segments, [Segment::Set(vec![64500, 64501])]);
}
