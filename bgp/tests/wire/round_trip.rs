//! What is encoded is decoded to the same: messages, attributes, capabilities, lists of routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bgp::wire::attributes::{Aggregator, Opaque};
use bgp::wire::capability::{Forwarding, GracefulRestart, LongLived, PathIdMode, Role};
use bgp::wire::evpn::{Route, RouteDistinguisher};
use bgp::wire::header::frame;
use bgp::wire::packing::{Sheet, withdraw};
use bgp::wire::terms::{AsWidth, FamilyTerms, Neighbour, NextHops, PathIds, Terms};
use bgp::wire::{
    AsPath, Attributes, Capability, Community, ExtendedCommunity, Family, LargeCommunity, Message, MessageLimit,
    NextHop, Nlri, Open, Origin, Segment, Update, message,
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

pub fn asn() -> impl Strategy<Value = u32> {
    prop_oneof![1..=65535_u32, 65536..=u32::MAX]
}

pub fn as_path() -> impl Strategy<Value = AsPath> {
    let segment = prop_oneof![
        4 => vec(asn(), 1..6).prop_map(Segment::Sequence),
        1 => vec(asn(), 1..4).prop_map(Segment::Set),
    ];
    // Two sequences in a row are one.
    vec(segment, 0..4).prop_map(|segments| {
        let mut bytes = Vec::new();
        AsPath { segments }.encode(AsWidth::Four, &mut bytes);
        AsPath::decode(&bytes, AsWidth::Four).unwrap()
    })
}

fn v4() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from)
}

prop_compose! {
    fn numbers()(
        origin in prop_oneof![Just(Origin::Igp), Just(Origin::Egp), Just(Origin::Incomplete)],
        as_path in as_path(), med in option::of(any::<u32>()), local_pref in option::of(any::<u32>()),
        atomic_aggregate: bool, aggregator in option::of((asn(), v4())), originator in option::of(v4()),
        clusters in vec(v4(), 0..4), only_to_customer in option::of(asn()),
    ) -> Attributes {
        let aggregator = aggregator.map(|(asn, address)| Aggregator { asn, address });
        Attributes {
            origin, as_path, med, local_pref, atomic_aggregate, aggregator, originator, clusters, only_to_customer,
            ..Attributes::default()
        }
    }
}

prop_compose! {
    pub fn attributes()(
        numbers in numbers(), communities in vec(any::<u32>().prop_map(Community), 0..90),
        extended in vec(any::<[u8; 8]>().prop_map(ExtendedCommunity), 0..4), extended_v6 in vec(any::<[u8; 20]>(), 0..3),
        large in vec((any::<u32>(), any::<[u32; 2]>()), 0..4), opaque in option::of(vec(any::<u8>(), 0..300)),
        pmsi in option::of(vec(any::<u8>(), 5..22)),
    ) -> Attributes {
        let large = large.into_iter().map(|(administrator, data)| LargeCommunity { administrator, data }).collect();
        let opaque = opaque.map(|value| Opaque { attribute: 200, value: value.into() }).into_iter().collect();
        let pmsi_tunnel = pmsi.map(Into::into);
        Attributes { communities, extended, extended_v6, large, opaque, pmsi_tunnel, ..numbers }
    }
}

pub fn prefix(family: Family) -> BoxedStrategy<IpNet> {
    if family == Family::IPV4 {
        (any::<u32>(), 0..=32_u8).prop_map(|(a, l)| Ipv4Net::new(a.into(), l).unwrap().trunc().into()).boxed()
    } else {
        (any::<u128>(), 0..=128_u8).prop_map(|(a, l)| Ipv6Net::new(a.into(), l).unwrap().trunc().into()).boxed()
    }
}

pub fn evpn() -> impl Strategy<Value = Route> {
    let source = (any::<[u8; 8]>().prop_map(RouteDistinguisher), any::<[u8; 10]>(), any::<u32>());
    let vni = 0..0x100_0000_u32;
    (source, any::<[u8; 6]>(), option::of(any::<IpAddr>()), (vni.clone(), option::of(vni)), any::<(u8, bool)>())
        .prop_map(|((distinguisher, segment, tag), mac, address, (vni, routing_vni), (choice, six))| match choice % 3 {
            0 => Route::Mac { distinguisher, segment, tag, mac, address, vni, routing_vni },
            1 => Route::Multicast { distinguisher, tag, originator: address.unwrap_or(Ipv4Addr::LOCALHOST.into()) },
            _ if six => {
                let prefix = Ipv6Net::new(Ipv6Addr::from([mac[0]; 16]), choice % 129).unwrap().trunc().into();
                let gateway = Ipv6Addr::from([mac[1]; 16]).into();
                Route::Prefix { distinguisher, segment, tag, prefix, gateway, vni }
            }
            _ => {
                let prefix = Ipv4Net::new(Ipv4Addr::from([mac[0]; 4]), choice % 33).unwrap().trunc().into();
                let gateway = Ipv4Addr::from([mac[1]; 4]).into();
                Route::Prefix { distinguisher, segment, tag, prefix, gateway, vni }
            }
        })
}

fn family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::IPV4), Just(Family::IPV6), Just(Family::EVPN), Just(Family { afi: 1, safi: 4 })]
}

fn forwarding() -> impl Strategy<Value = Forwarding> {
    prop_oneof![Just(Forwarding::Kept), Just(Forwarding::Lost)]
}

fn capability() -> impl Strategy<Value = Capability> {
    let mode = prop_oneof![Just(PathIdMode::Receive), Just(PathIdMode::Send), Just(PathIdMode::Both)];
    let restart = (any::<(bool, bool)>(), 0..4096_u16, vec((family(), forwarding()), 0..4)).prop_map(
        |((r, n), secs, families)| {
            Capability::GracefulRestart(GracefulRestart {
                restarted: r,
                notifications: n,
                restart_secs: secs,
                families,
            })
        },
    );
    let long = (family(), forwarding(), 0..0x100_0000_u32).prop_map(|(family, forwarding, stale_secs)| LongLived {
        family,
        forwarding,
        stale_secs,
    });
    prop_oneof![
        family().prop_map(Capability::MultiProtocol),
        Just(Capability::RouteRefresh),
        Just(Capability::EnhancedRefresh),
        Just(Capability::ExtendedMessage),
        Just(Capability::BfdStrict),
        Just(Capability::LinkLocalNextHop),
        Just(Capability::Role(Role::Customer)),
        vec((family(), 0..3_u16), 0..4).prop_map(Capability::ExtendedNextHop),
        restart,
        asn().prop_map(Capability::FourOctetAs),
        vec((family(), mode), 0..4).prop_map(Capability::AddPath),
        vec(long, 0..4).prop_map(Capability::LongLived),
        ("[a-z]{0,64}", "[a-z.]{0,64}").prop_map(|(name, domain)| Capability::Hostname(name, domain)),
        "[a-z0-9 ./]{1,64}".prop_map(Capability::SoftwareVersion),
        (128..=255_u8, vec(any::<u8>(), 0..40)).prop_map(|(code, value)| Capability::Unknown(code, value)),
    ]
}

prop_compose! {
    pub fn open()(capabilities in vec(capability(), 0..14), asn in 1..65536_u32, hold in 3..600_u16, id in 1..0xe000_0000_u32) -> Open {
        let mut seen: Vec<Capability> = Vec::new();
        for capability in capabilities {
            // An AS of four octets is the AS of the OPEN.
            let capability = match capability {
                Capability::FourOctetAs(_) => Capability::FourOctetAs(asn),
                other => other,
            };
            if !seen.contains(&capability) {
                seen.push(capability);
            }
        }
        Open { asn, hold_secs: hold, identifier: id.into(), capabilities: seen }
    }
}

/// Terms that vary in everything that changes bytes.
pub fn terms(family: Family, (ids, two, extended): (bool, bool, bool)) -> (Terms, FamilyTerms) {
    let ids = if ids { PathIds::Present } else { PathIds::Absent };
    let of = FamilyTerms { family, receive: ids, send: ids, next_hops: NextHops::AlsoIpv6 };
    let terms = Terms {
        width: if two { AsWidth::Two } else { AsWidth::Four },
        limit: if extended { MessageLimit::Extended } else { MessageLimit::Standard },
        neighbour: Neighbour::Internal,
        families: vec![of],
        ..Terms::canonical()
    };
    (terms, of)
}

/// All messages in a row of bytes.
pub fn messages<'a>(mut bytes: &'a [u8], terms: &Terms, mut each: impl FnMut(Update<'a>)) {
    while let Some(frame) = frame(bytes, terms.limit).unwrap() {
        let Message::Update(update) = Message::decode(&frame, terms).unwrap() else { panic!("no UPDATE") };
        each(*update);
        bytes = &bytes[frame.length..];
    }
    assert!(bytes.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_open_is_decoded_to_itself(open in open()) {
        let bytes = message::open(&open);
        let frame = frame(&bytes, MessageLimit::Standard).unwrap().unwrap();
        prop_assert_eq!(Open::decode(frame.body).unwrap(), open);
    }

    #[test]
    fn routes_are_packed_and_found_again(
        attributes in attributes(), six: bool, hop in any::<(u32, u128)>(), via_six: bool, how in any::<(bool, bool, bool)>(),
        routes in vec((any::<u32>(), prefix(Family::IPV4), prefix(Family::IPV6)), 1..700),
    ) {
        let family = if six { Family::IPV6 } else { Family::IPV4 };
        let (terms, of) = terms(family, how);
        let hop = match via_six || six {
            true => NextHop::V6(Ipv6Addr::from(hop.1 >> 3 | 1 << 124), None),
            false => NextHop::V4(Ipv4Addr::from(hop.0 >> 2 | 1 << 24)),
        };
        prop_assume!(hop != NextHop::V4(Ipv4Addr::new(127, 0, 0, 1)) && !matches!(hop, NextHop::V4(it) if it.is_loopback()));
        let ids = of.send == PathIds::Present;
        let routes: Vec<(u32, IpNet)> =
            routes.into_iter().map(|(id, four, other)| (if ids { id } else { 0 }, if six { other } else { four })).collect();
        let listed = || routes.iter().map(|(id, net)| (*id, Nlri::Prefix(*net)));

        let mut bytes = Vec::new();
        Sheet::new(&attributes, hop, of, &terms).announce(listed(), &mut bytes).unwrap();
        let (mut found, mut count) = (Vec::new(), 0);
        messages(&bytes, &terms, |update| {
            count += 1;
            let expected = Attributes { partial: update.attributes.partial, ..attributes.clone() };
            assert_eq!(update.attributes, expected);
            for (with, list) in update.announced() {
                assert_eq!(*with, hop);
                found.extend(list.iter());
            }
            assert_eq!(update.faults, []);
        });
        prop_assert_eq!(&found, &listed().collect::<Vec<_>>());
        let bytes_of_routes = 25 * routes.len();
        prop_assert!(count <= 1 + bytes_of_routes.div_ceil(terms.limit.bytes() - 2500), "{} messages", count);

        let mut bytes = Vec::new();
        withdraw(of, &terms, listed(), &mut bytes);
        let mut found = Vec::new();
        messages(&bytes, &terms, |update| found.extend(update.withdrawn().flat_map(|list| list.iter())));
        prop_assert_eq!(&found, &listed().collect::<Vec<_>>());
    }

    #[test]
    fn evpn_routes_are_decoded_to_themselves(routes in vec(evpn(), 1..80)) {
        let (terms, of) = terms(Family::EVPN, (false, false, false));
        let encoded: Vec<Vec<u8>> = routes.iter().map(|route| { let mut out = Vec::new(); route.encode(&mut out); out }).collect();
        let mut bytes = Vec::new();
        let hop = NextHop::V4(Ipv4Addr::new(192, 0, 2, 1));
        Sheet::new(&Attributes::default(), hop, of, &terms)
            .announce(encoded.iter().map(|route| (0, Nlri::Evpn(route))), &mut bytes).unwrap();
        let mut found = Vec::new();
        messages(&bytes, &terms, |update| for (_, list) in update.announced() {
            found.extend(list.iter().map(|(_, nlri)| match nlri {
                Nlri::Evpn(route) => Route::decode(route).unwrap(),
                Nlri::Prefix(prefix) => panic!("{prefix}"),
            }));
        });
        prop_assert_eq!(found, routes);
    }
}
